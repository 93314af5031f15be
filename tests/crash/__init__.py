"""What was acknowledged holds when the process dies, stops, runs out of disk or is cut off.

Every test runs the real server and the real stand-in. What clients were told and what was sent
is a history (``history.py``), and a pure program says whether the promises held on it.
"""
