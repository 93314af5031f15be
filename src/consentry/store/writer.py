"""Group commit: many callers, one thread, one transaction.

Callers queue work and wait. The thread takes all that is waiting, up to a bound, writes it in
one transaction, and wakes every caller of the group at once. While one group is being made
durable the next one gathers, so the cost of durability is shared by whoever came meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from consentry.ports import StoreError, StoreRefused, StoreUnavailable

MOST_EVENTS = 2_000
MOST_BYTES = 8 * 1024 * 1024
LINGER_S = 0.001
"""How long a group may wait for others, while groups hold several: a commit costs the same
for one as for fifty. Whoever writes alone waits for nobody."""
MOST_WAITING_BYTES = 256 * 1024 * 1024
PROBE_EVERY_S = 1.0


@dataclass(slots=True)
class _Work:
    task: Any
    count: int
    size: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class GroupWriter:
    """Runs tasks in groups, in a thread of its own.

    ``run`` gets the tasks of a group and returns one result for each; a result that is a
    StoreError is raised in its caller. It raises StoreUnavailable when nothing was written
    because of the database. If it raises anything else, a task is at fault: the tasks are
    then run one by one, so that only the callers of bad ones hear of it.
    ``probe`` tries to write; it is called every second while writes fail, because callers may
    have stopped trying. A group holds at most 2,000 events or 8 MiB, or one larger task.
    """

    def __init__(
        self, run: Callable[[Sequence[Any]], Sequence[Any]], probe: Callable[[], None]
    ) -> None:
        self.groups = 0
        self.available = True
        self._run = run
        self._probe = probe
        self._urgent: deque[_Work] = deque()
        self._ordinary: deque[_Work] = deque()
        # Callers only ever add and the thread only ever takes, so neither needs a lock: of these
        # counts each has one writer, and whoever finds the thread asleep leaves it a word.
        self._added = 0
        self._written = 0
        self._asleep = False
        self._words: SimpleQueue[None] = SimpleQueue()
        self._expected = 1
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(
        self, task: Any, count: int = 1, size: int = 0, *, urgent: bool = False
    ) -> Any:
        """The result of one task, once it is durable; ``count`` events of ``size`` bytes.

        What is urgent is taken before all that waits and is not. Each kind keeps its order.
        All callers are of one event loop's thread.
        """
        loop = asyncio.get_running_loop()
        if self._closed:
            raise StoreUnavailable("the store is closed")
        waiting = self._added - self._written
        if not urgent and waiting and waiting + size > MOST_WAITING_BYTES:
            raise StoreUnavailable("too much is waiting to be written")
        work = _Work(task, count, size, loop, loop.create_future())
        self._added += size
        (self._urgent if urgent else self._ordinary).append(work)
        self._wake()
        return await work.future

    def close(self) -> None:
        """Write what is queued, then end the thread."""
        self._closed = True
        self._words.put(None)
        self._thread.join()

    def _wake(self) -> None:
        if self._asleep:
            self._asleep = False
            self._words.put(None)

    def _serve(self) -> None:
        while True:
            group = self._gather()
            if group:
                self._finish(group, self._results(group))
                # Nothing of the group may stay referenced while the thread waits.
                del group
            elif not self._idle():
                return

    def _gather(self) -> list[_Work]:
        """All that is waiting, up to the bound, what is urgent first."""
        group: list[_Work] = []
        count = size = 0
        self._linger()
        # A flood of urgent work leaves half a group to the rest.
        for queue, most in ((self._urgent, MOST_EVENTS // 2), (self._ordinary, MOST_EVENTS)):
            while queue:
                work = queue[0]
                full = count + work.count > most or size + work.size > MOST_BYTES
                if full and group:
                    break
                group.append(queue.popleft())
                count += work.count
                size += work.size
        self._expected = len(group)
        return group

    def _linger(self) -> None:
        """Give as many as came together the last time the chance to come together again."""
        waiting = len(self._urgent) + len(self._ordinary)
        if 0 < waiting < self._expected and not self._closed:
            time.sleep(LINGER_S)  # and not until woken: to be woken for each would cost more

    def _idle(self) -> bool:
        """Wait for work, trying the database now and then while it fails; False at the end."""
        self._asleep = True
        # Whoever added something before this thread said that it sleeps left no word.
        if self._urgent or self._ordinary:
            return True
        if self._closed:
            return False
        try:
            self._words.get(timeout=None if self.available else PROBE_EVERY_S)
        except Empty:
            self._try_again()
        return True

    def _try_again(self) -> None:
        try:
            self._probe()
        except Exception:
            return  # still failing; ``available`` says so
        self.available = True

    def _results(self, group: list[_Work]) -> Sequence[Any]:
        try:
            results = self._run([work.task for work in group])
        except StoreUnavailable as error:
            self.available = False
            return [_unavailable(error) for _ in group]
        except Exception as error:
            if len(group) == 1:
                return [_refused(error)]
            return [self._results([work])[0] for work in group]
        self.groups += 1
        self.available = True
        return results

    def _finish(self, group: list[_Work], results: Sequence[Any]) -> None:
        self._written += sum(work.size for work in group)
        done: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]]
        done = defaultdict(list)
        for work, result in zip(group, results, strict=True):
            done[work.loop].append((work.future, result))
        for loop, answers in done.items():
            try:
                loop.call_soon_threadsafe(_answer, answers)
            except RuntimeError:
                continue  # the loop is closed: nobody waits any more


def _answer(answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in answers:
        if future.done():
            continue  # the caller went away; what it asked for is written all the same
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _unavailable(error: StoreUnavailable) -> StoreUnavailable:
    """One for each caller: an exception that is raised twice mixes up its tracebacks."""
    copy = StoreUnavailable(*error.args)
    copy.__cause__ = error.__cause__
    return copy


def _refused(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    refused = StoreRefused(f"this cannot be stored: {type(error).__name__}")
    refused.__cause__ = error
    return refused
