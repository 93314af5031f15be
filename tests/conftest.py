"""Hypothesis profiles: the same few examples each time, or many new ones.

``HYPOTHESIS_PROFILE=soak`` searches for as long as somebody cares to wait.

And the one browser of a run, which is started by the first test that needs it.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:  # a mutant's tests have none of it
    from tests.browser import Browser
    from tests.sdk.site import Site

_SLOW_MACHINES = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "default",
    max_examples=60,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=_SLOW_MACHINES,
)
settings.register_profile(
    "soak",
    max_examples=2000,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=_SLOW_MACHINES,
)
settings.register_profile(
    "mutants",
    max_examples=30,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # a mutant that is found needs no smaller example
    suppress_health_check=_SLOW_MACHINES,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

MOST_CPU_S = 60  # for one mutant: an endless loop is noticed
MOST_MEMORY = 4 << 30  # bytes


def pytest_configure(config: pytest.Config) -> None:
    """The clock of a run; and limits for a mutant, which mutmut runs in a process of its own.

    mutmut's own time limit is out of the way (pyproject.toml), because it is never called off: it
    signals whatever process bears the number by then.
    """
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Clocked(config))
    if "__mutmut_" in os.environ.get("MUTANT_UNDER_TEST", ""):
        until = math.ceil(time.process_time()) + MOST_CPU_S
        resource.setrlimit(resource.RLIMIT_CPU, (until, until + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Of several workers each reads another part of the tests first: so each file is compiled by
    one of them, and the others find it compiled."""
    told = getattr(session.config, "workerinput", None)
    if told is None:
        return
    files = sorted(Path(__file__).parent.glob("*/test_*.py"))
    for file in files[int(told["workerid"].removeprefix("gw")) :: told["workercount"]]:
        if (file.parent / "__init__.py").exists():  # of the others pytest alone knows the name
            with contextlib.suppress(Exception):  # it is collected below, which says what is wrong
                importlib.import_module(f"tests.{file.parent.name}.{file.stem}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the driven browser cannot do is left out; files that run side by side are begun in an
    order of their own."""
    from tests.browsers import not_here

    for item in items:
        name = item.nodeid.removeprefix("tests/")
        if why := not_here(name):
            item.add_marker(pytest.mark.skip(reason=f"{name}: {why}"))
    if not hasattr(config, "workerinput"):
        return
    from tests.pace import in_turns

    here = Path(__file__).parent
    files = [Path(os.path.relpath(item.path, here)).as_posix() for item in items]
    place = {file: n for n, file in enumerate(in_turns(Counter(files)))}
    order = sorted(range(len(items)), key=lambda n: place[files[n]])
    items[:] = [items[n] for n in order]


SLOW_S = 30  # for one test


class Clocked:
    """Says how long it has taken so far, and which tests took long: a run that is cut off has said
    where its time went."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._began = self._said = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        now = time.monotonic()
        if report.duration >= SLOW_S:
            self._say(f"{report.nodeid} took {report.duration:.0f} s")
        if now - self._said >= 60:
            self._said = now
            self._say(f"{now - self._began:.0f} s so far")

    def _say(self, text: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"\n  {text}")


@pytest.fixture(scope="session")
def town() -> Iterator[Site]:
    """What every name that ends in ``.test`` leads to."""
    from tests.sdk.site import site

    with site() as running:
        yield running


@pytest.fixture(scope="session")
def browser(town: Site) -> Iterator[Browser]:
    """Once for all tests of a worker."""
    from tests.browser import launched

    with launched({"*.test": town.port}, third_party_cookies=False) as running:
        yield running
