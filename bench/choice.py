"""A choice recorded and durable, with 100,000 subjects there already.

Against c15t's backend on PostgreSQL, under the same load generator, with as many subjects and
with the indexes that its queries ask for. Half of the choices are of subjects that are there,
half of new ones. The server, and Node with PostgreSQL, have one core; the load has the other.
The ratio is the smaller of two: choices per second, and choices per CPU second of the server.
"""

from __future__ import annotations

from statistics import median

from bench import rows
from bench.load import Load, Loaded, loaded, wrk
from bench.peers import Unavailable, c15t
from bench.preload import preloaded
from bench.report import Limit, Result, Row, ratio
from bench.server import BASIC, consentry

ROW = Row(
    "choice",
    "choices recorded, durable, 100,000 subjects",
    "c15t 2.2.1 on PostgreSQL, indexes added",
    (Limit("choices / c15t", "x", 30, 100),),
)
SUBJECTS = 100_000
CONNECTIONS = 64


def measure(quick: bool) -> Result:
    seconds = rows.seconds(quick)
    store = preloaded(SUBJECTS)
    try:
        with c15t(SUBJECTS) as peer, consentry("http://127.0.0.1:9", store) as running:

            def ours() -> Loaded:
                return loaded(lambda: choices(running.port, SUBJECTS, seconds), running.cpu_s)

            def reference() -> Loaded:
                return loaded(lambda: peer_choices(peer.port, seconds), peer.cpu_s)

            # Every request reads whole tables: a few connections, or none is answered in time.
            as_shipped = peer_choices(peer.port, 3.0, connections=4).per_second
            peer.add_indexes()
            ours()
            reference()
            left, right = rows.interleaved(rows.rounds(quick), ours, reference)
    except Unavailable as error:
        return Result(ROW, missing=str(error))
    return compared(ROW, left, right, "choices", as_shipped)


def compared(
    row: Row, ours: list[Loaded], peer: list[Loaded], unit: str, as_shipped: float
) -> Result:
    """The smaller ratio of the two, with both and what is behind them as figures."""
    wall = ratio([one.per_second for one in ours], [one.per_second for one in peer])
    used = ratio([one.per_cpu_second for one in ours], [one.per_cpu_second for one in peer])
    return Result(
        row,
        {row.limits[0].name: min(wall, used)},
        {
            "ratio by wall clock": wall,
            "ratio by CPU": used,
            f"{unit}/s": median(one.per_second for one in ours),
            f"{unit}/CPU s": median(one.per_cpu_second for one in ours),
            "p50 ms": median(one.p50_ms for one in ours),
            "p99 ms": median(one.p99_ms for one in ours),
            f"c15t {unit}/s": median(one.per_second for one in peer),
            f"c15t {unit}/CPU s": median(one.per_cpu_second for one in peer),
            f"c15t as shipped, without indexes, {unit}/s": as_shipped,
        },
    )


def choices(port: int, subjects: int, seconds: float) -> Load:
    """Load a Consentry with choices."""
    return wrk(port, "choice.lua", str(subjects), BASIC, connections=CONNECTIONS, seconds=seconds)


def peer_choices(port: int, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Load a c15t with the same."""
    return wrk(port, "c15t_choice.lua", str(SUBJECTS), connections=connections, seconds=seconds)


if __name__ == "__main__":
    rows.main(ROW, measure)
