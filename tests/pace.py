"""In which order the files of tests are begun when several run side by side.

Most of some files is waiting (for processes, browsers, time-outs), most of others is work. They take
turns, the longest of each first: so no long file is begun last, and the cores have work meanwhile.
By itself pytest-xdist begins with the files that hold the most tests, and ends with those that hold
one test of half a minute.
"""

from __future__ import annotations

from collections.abc import Mapping

WAITING = frozenset({"cli", "crash", "e2e", "sdk", "standin", "web"})
"""Folders of tests that mostly wait."""

SECONDS = {
    "crash/test_kill.py": 60,
    "e2e/test_schemathesis.py": 60,
    "crash/test_checkers_can_fail.py": 45,
    "e2e/test_sdks.py": 45,
    "sdk/test_page.py": 42,
    "e2e/test_sdk_browser.py": 30,
    "sdk/test_ui_places.py": 30,
    "simulation/test_seeds.py": 30,
    "simulation/test_defects.py": 25,
    "e2e/test_vectors.py": 25,
    "sdk/test_segment.py": 21,
    "simulation/test_machine.py": 20,
    "sdk/test_whole.py": 18,
    "e2e/test_api_operations.py": 18,
    "sdk/test_guard.py": 16,
    "core/test_laws_plain_records.py": 16,
    "crash/test_pause.py": 15,
    "crash/test_full_disk.py": 15,
    "e2e/test_forms.py": 15,
    "core/test_laws_plain.py": 14,
    "e2e/test_flood.py": 14,
    "e2e/test_demo.py": 14,
    "destinations/test_postgres.py": 14,
    "sdk/test_asked_again.py": 13,
    "e2e/test_api_delivery.py": 13,
    "e2e/test_api_places.py": 12,
    "core/test_laws_decision.py": 11,
    "fuzz/test_fuzz.py": 11,
    "crash/test_cut_off.py": 11,
    "crash/test_damage.py": 10,
    "crash/test_history_run.py": 9,
    "flow/test_lane_laws.py": 8,
}
"""About how long those take that take long. Of the rest each test counts as a tenth of a second."""


def in_turns(counts: Mapping[str, int]) -> list[str]:
    """Files, as paths within ``tests``, in the order in which to begin them. ``counts`` says how
    many tests each holds."""

    def seconds(file: str) -> float:
        return SECONDS.get(file, counts[file] / 10)

    longest_first = sorted(counts, key=lambda file: (-seconds(file), file))
    kinds: tuple[list[str], list[str]] = ([], [])
    for file in longest_first:
        kinds[file.partition("/")[0] not in WAITING].append(file)
    whole = [sum(map(seconds, kind)) or 1.0 for kind in kinds]
    begun = [0.0, 0.0]
    order = []
    while kinds[0] or kinds[1]:
        # The kind of which the smaller part was begun.
        kind = min((n for n in (0, 1) if kinds[n]), key=lambda n: begun[n] / whole[n])
        order.append(kinds[kind].pop(0))
        begun[kind] += seconds(order[-1])
    return order
