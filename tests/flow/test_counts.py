"""What a choice is counted as, and the signal that came with it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.moment import DAY, SECOND
from consentry.core.preference import Why
from consentry.core.record import Node, NodeKind
from consentry.core.rule import UNKNOWN, How, Place
from consentry.flow.counts import region_of
from consentry.flow.record_choice import answer_of, record_choice
from consentry.flow.records import Origin, Said
from consentry.jurisdictions import rows
from consentry.ports import StoreUnavailable
from consentry.store.memory import MemoryStore
from tests.flow.stage import PUBLIC, world

DEV = Node(NodeKind.DEVICE, "dev")
BANNER = {"action": "accept_all", "surface": "banner", "noticeVersion": "1", "language": "en"}


async def choose(
    made: Any,
    made_before_us: int = 0,
    gpc: bool | None = None,
    origin: Origin = PUBLIC,
    **answers: bool,
) -> Any:
    """One answer of the device, given so long before it was received."""
    now = made.clock.now()
    said = Said((DEV,), answer_of(answers, None), now, now - made_before_us, None, BANNER)
    return await record_choice(made, said, origin, gpc=gpc)


def standing(made: Any) -> Any:
    return made.subjects.standing((DEV,), made.policy, made.clock.now())


@pytest.mark.parametrize(
    ("surface", "analytics", "counted"),
    [("preference_centre", None, 0), ("preference_centre", True, 1), ("link", None, 1)],
)
async def test_topics_beside_an_answer_are_not_counted_twice(
    surface: str, analytics: bool | None, counted: int
) -> None:
    made = await world()
    answers = {} if analytics is None else {"analytics": analytics}
    answer = answer_of(answers, {"news": {"email": True}})
    said = Said((DEV,), answer, 0, 0, None, {**BANNER, "surface": surface})

    assert len((await record_choice(made, said, PUBLIC)).tallies) == counted


@pytest.mark.parametrize("late_us", [0, SECOND, 60 * SECOND])
async def test_an_explicit_yes_given_just_now_outweighs_the_signal_of_its_request(
    late_us: int,
) -> None:
    made = await world()
    await choose(made, late_us, gpc=True, advertising=True)

    assert standing(made).of("advertising").grant is not None
    assert standing(made).of("advertising").signal is None
    assert standing(made).of("analytics").signal.why is Why.SIGNAL


@pytest.mark.parametrize("late_us", [61 * SECOND, DAY])
async def test_a_yes_that_comes_late_may_be_older_than_the_signal_so_it_is_refused(
    late_us: int,
) -> None:
    """A page that was away sends what was chosen in it; the signal may have been turned on since."""
    made = await world()
    await choose(made, analytics=True)
    await choose(made, late_us, gpc=True, advertising=True)

    assert standing(made).of("advertising").signal is not None
    assert standing(made).of("analytics").signal is not None


async def test_a_signal_seen_later_refuses_again() -> None:
    made = await world()
    await choose(made, gpc=False, analytics=True, advertising=True)
    await choose(made, gpc=True, advertising=True)

    assert standing(made).of("analytics").signal is not None
    assert standing(made).of("advertising").signal is None


async def test_a_choice_that_was_not_written_is_not_counted() -> None:
    made = await world()
    store = made.store
    assert isinstance(store, MemoryStore)
    store.fail_next = StoreUnavailable("the disk is full")
    with pytest.raises(StoreUnavailable):
        await choose(made, analytics=True)
    assert store.tallies("") == []
    await choose(made, analytics=True)
    assert [one.what for one in store.tallies("")] == ["accepted"]


KNOWN = {row_country for row in rows() for row_country in row.countries}
places = st.builds(
    Place,
    st.none() | st.sampled_from(sorted(KNOWN)) | st.text(max_size=3),
    st.none() | st.sampled_from(["CA", "QC", "TX"]) | st.text(max_size=3),
    st.just(How.HEADER),
)


@given(places)
def test_a_region_is_one_that_rules_tell_apart(place: Place) -> None:
    found = region_of(place)
    country, _, part = found.partition("-")

    assert found in ("unknown", "elsewhere") or country in KNOWN
    assert not part or country == place.country


def test_who_is_nowhere_is_counted_as_unknown() -> None:
    assert region_of(UNKNOWN) == "unknown"
    assert region_of(Place("AQ", how=How.HEADER)) == "elsewhere"
    assert region_of(Place("US", "CA", How.HEADER)) == "US-CA"
    assert region_of(Place("DE", "BY", How.HEADER)) == "DE"


async def test_a_count_says_where() -> None:
    made = await world()
    origin = msgspec.structs.replace(PUBLIC, place=Place("US", "CA", How.HEADER))
    await choose(made, origin=origin, analytics=True)
    (one,) = made.store.tallies("")
    assert (one.region, one.what, one.times) == ("US-CA", "accepted", 1)
