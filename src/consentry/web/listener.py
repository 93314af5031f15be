"""The HTTP server, and what it does when it is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

import uvicorn

ASKED_TO_STOP = (signal.SIGINT, signal.SIGTERM)


class Listener(uvicorn.Server):
    """uvicorn, which ends by itself after SIGTERM or SIGINT.

    uvicorn raises the signal once more when it has stopped, so that the process would die of
    it; here that it was heard is enough, and the exit code says that all went well.
    ``on_stop`` is called at once, on the loop: connections without an end must be ended.
    """

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen for signals while serving. Only the main thread may."""
        loop = asyncio.get_running_loop()
        for number in ASKED_TO_STOP:
            loop.add_signal_handler(number, self._asked, number)
        try:
            yield
        finally:
            for number in ASKED_TO_STOP:
                loop.remove_signal_handler(number)

    def _asked(self, number: int) -> None:
        self._on_stop()
        self.handle_exit(number, None)
