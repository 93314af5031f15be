"""Resident memory with 1,000,000 subjects in the store and 100,000 events waiting to be delivered.

The events are of as many different subjects, and no destination answers. VmRSS also counts pages of
files that are mapped, so the part that is the process's own is a figure beside it.
"""

from __future__ import annotations

from bench import rows
from bench.preload import preloaded
from bench.report import Limit, Result, Row
from bench.server import consentry, post_events, sink

ROW = Row(
    "memory",
    "resident, 1,000,000 subjects, 100,000 events queued",
    "-",
    (Limit("RSS MB", "MB", 500, 250, higher=False),),
)
SUBJECTS, QUEUED = 1_000_000, 100_000


def measure(quick: bool) -> Result:
    subjects = SUBJECTS // 10 if quick else SUBJECTS
    queued = QUEUED // 10 if quick else QUEUED
    with sink() as receiver, consentry(receiver.base, preloaded(subjects)) as running:
        receiver.mode("hold")
        idle = running.memory_mb()
        post_events(running, "memory", queued, subjects)
        rss, peak = running.memory_mb(), running.memory_mb("VmHWM")
        own = running.memory_mb("RssAnon")
    return Result(
        ROW,
        {ROW.limits[0].name: rss},
        {
            "MB before any event": idle,
            "MB at most": peak,
            "MB that are no file's": own,
            "subjects": float(subjects),
            "events queued": float(queued),
        },
    )


if __name__ == "__main__":
    rows.main(ROW, measure)
