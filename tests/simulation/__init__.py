"""Simulation: the real flows in a world whose time, disk and destinations are played.

``model`` says what may be sent; ``world`` is what happens; ``checks`` compares the two. What
is done next is chosen by a seed (``run``, ``test_seeds``) or by Hypothesis (``test_machine``).
"""
