"""One subject's preferences read with the public key, 1,000,000 subjects in the store.

Against c15t's `GET /subjects/:id` with 100,000 subjects and the indexes that its queries ask for:
it has a tenth of the subjects. The ratio is the smaller of two: reads per second, and reads per
CPU second of the server.
"""

from __future__ import annotations

from bench import rows
from bench.choice import compared
from bench.load import Load, Loaded, loaded, wrk
from bench.peers import Unavailable, c15t
from bench.preload import preloaded
from bench.report import Limit, Result, Row
from bench.server import BASIC, consentry

ROW = Row(
    "read",
    "preferences read, 1,000,000 subjects",
    "c15t 2.2.1 at 100,000 subjects, indexes added",
    (Limit("reads / c15t", "x", 10, 20),),
)
SUBJECTS, PEER_SUBJECTS = 1_000_000, 100_000
CONNECTIONS = 64


def measure(quick: bool) -> Result:
    seconds = rows.seconds(quick)
    store = preloaded(SUBJECTS)
    try:
        with c15t(PEER_SUBJECTS) as peer, consentry("http://127.0.0.1:9", store) as running:

            def ours() -> Loaded:
                return loaded(lambda: reads(running.port, seconds), running.cpu_s)

            def reference() -> Loaded:
                return loaded(lambda: peer_reads(peer.port, seconds), peer.cpu_s)

            # Every request reads whole tables: a few connections, or none is answered in time.
            as_shipped = peer_reads(peer.port, 3.0, connections=4).per_second
            peer.add_indexes()
            ours()
            reference()
            left, right = rows.interleaved(rows.rounds(quick), ours, reference)
    except Unavailable as error:
        return Result(ROW, missing=str(error))
    return compared(ROW, left, right, "reads", as_shipped)


def reads(port: int, seconds: float) -> Load:
    """Load a Consentry with reads."""
    return wrk(port, "read.lua", str(SUBJECTS), BASIC, connections=CONNECTIONS, seconds=seconds)


def peer_reads(port: int, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Load a c15t with the same."""
    return wrk(port, "c15t_read.lua", str(PEER_SUBJECTS), connections=connections, seconds=seconds)


if __name__ == "__main__":
    rows.main(ROW, measure)
