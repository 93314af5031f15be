"""An event and the place it was accepted in: decided there, kept, and decided there again."""

from __future__ import annotations

from typing import Any

import pytest

from consentry.clock import Clock
from consentry.core.event import Envelope
from consentry.core.moment import DAY, parse
from consentry.core.policy import Category, Mapping, Policy, Regime, Settings
from consentry.core.rule import NOBODY_LOOKED, UNKNOWN, How, Place
from consentry.flow.accept import Incoming, accept
from consentry.flow.asked import Owed, decide_now, decide_then
from consentry.flow.configure import take_policy
from consentry.flow.explain import explain_stored
from consentry.flow.records import Origin
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ports import Positioned
from consentry.store.memory import MemoryStore
from tests.core.clauses import holds
from tests.flow.stage import track
from tests.store.makers import notary

MAPPINGS = (
    Mapping("ads", "webhook", ("advertising",)),
    Mapping("stats", "webhook", ("analytics",)),
    Mapping("sold", "webhook", ("sale",)),
)
CATEGORIES = (Category("advertising"), Category("analytics"), Category("sale"))


class Day:
    """A wall clock that a test sets."""

    def __init__(self, date: str) -> None:
        self.at = parse(date)

    def __call__(self) -> int:
        return self.at * 1000


async def at(day: Day, regimes: dict[str, Regime] | None = None, **settings: Any) -> World:
    clock = Clock(wall_ns=day, elapsed_ns=lambda: 0)
    store = MemoryStore(notary(), clock=clock.now)
    made = World(store, Subjects(store), clock, Policy("shop"), 0, regimes or {})
    await take_policy(made, Policy("shop", Settings(**settings), CATEGORIES, MAPPINGS))
    return made


async def come(made: World, place: Place, trust: str = "public", **more: Any) -> set[str]:
    """The destinations that an event of this place may go to."""
    message = {**track(f"m{made.store.end}", f"d{made.store.end}"), **more}
    incoming = Incoming(Origin("web", trust, None, place), [message], Envelope(made.clock.now()))
    accepted = await accept(made, incoming)
    assert not accepted.refused
    return {d.destination for d in accepted.decided[0].decisions if d.allow}


def last(made: World) -> Positioned:
    return made.store.events_from(made.store.end - 1, 1)[0]


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        (Place("DE"), set()),
        (Place("CH"), {"stats"}),
        (Place("US", "CA"), {"ads", "stats", "sold"}),
        (Place("US"), {"ads", "stats", "sold"}),
        (Place("CA"), set()),
        (Place("CA", "ON"), {"ads", "stats"}),
        (Place("NZ"), {"ads", "stats"}),
        (Place("NG"), set()),
        (UNKNOWN, set()),
        (NOBODY_LOOKED, set()),
    ],
)
async def test_the_rule_of_the_place_decides_where_nothing_is_stated(
    place: Place, allowed: set[str]
) -> None:
    made = await at(Day("2026-11-27"))
    assert await come(made, place) == allowed
    assert last(made).event.place == place.code


@holds("P1", "P2")
@pytest.mark.parametrize(
    ("place", "stated", "allowed"),
    [
        (Place("DE"), Regime.NOTICE, set()),
        (UNKNOWN, Regime.NOTICE, set()),
        (NOBODY_LOOKED, Regime.NOTICE, {"ads", "stats", "sold"}),
        (Place("US", "CA"), Regime.OPT_IN, set()),
        (Place("US", "CA"), Regime.NOTICE, {"ads", "stats", "sold"}),
    ],
)
async def test_what_a_source_or_the_workspace_states_only_tightens(
    place: Place, stated: Regime, allowed: set[str]
) -> None:
    assert await come(await at(Day("2026-11-27"), {"web": stated}), place) == allowed
    assert await come(await at(Day("2026-11-27"), regime=stated), place) == allowed


@holds("P5")
async def test_a_law_that_begins_while_an_event_waits_is_asked_before_it_goes() -> None:
    day = Day("2027-05-12")
    made = await at(day)
    assert await come(made, Place("IN")) == {"ads", "stats"}
    owed = Owed(made, last(made), "ads")
    assert owed.allowed()
    assert owed.consent()["advertising"]
    day.at = parse("2027-05-13")
    assert not owed.allowed()
    assert not owed.consent()["advertising"]
    event = last(made).event
    now, then = decide_now(made, event, "ads"), decide_then(made, event, "ads")
    assert now is not None
    assert then is not None
    assert (then.allow, now.allow, now.reason) == (True, False, "filtered_by_end_user_consent")
    assert [g.as_json() for g in now.grounds] == [{"regime": "opt_in", "rule": "in"}]
    assert [g.as_json() for g in then.grounds] == [{"regime": "notice", "rule": "in-before-dpdp"}]


@holds("P5")
async def test_an_event_is_decided_where_it_was_accepted_and_not_where_others_are() -> None:
    made = await at(Day("2026-11-27"))
    assert "ads" in await come(made, Place("US", "CA"))
    american = last(made)
    assert await come(made, Place("DE")) == set()
    german = last(made)
    assert Owed(made, american, "ads").allowed()
    assert not Owed(made, german, "ads").allowed()
    told = explain_stored(made, american.position, american.event)
    assert told["place"] == "US-CA"
    assert told["rule"]["id"] == "us-ca"
    assert told["rule"]["laws"][0]["section"].startswith("Civ. Code")
    assert told["deliveries"][0]["decision"]["grounds"] == [{"regime": "opt_out", "rule": "us-ca"}]


async def test_an_event_of_before_there_were_places_is_asked_as_it_was() -> None:
    made = await at(Day("2026-11-27"), regime=Regime.NOTICE)
    assert await come(made, NOBODY_LOOKED) == {"ads", "stats", "sold"}
    assert last(made).event.place is None
    told = explain_stored(made, 0, last(made).event)
    assert (told["place"], told["rule"]) == (None, None)
    assert told["deliveries"][0]["decision"]["grounds"] == [{"regime": "notice"}]


@holds("P6", "D6")
@pytest.mark.parametrize(
    ("place", "traits", "allowed", "reason"),
    [
        (Place("US", "CT"), {"age": 17}, {"stats"}, "prohibited"),
        (Place("US", "CT"), {"age": "17"}, {"stats"}, "prohibited"),
        (Place("US", "CT"), {"birthday": "2012-03-01"}, {"stats"}, "prohibited"),
        (Place("US", "CT"), {"age": 40, "birthday": "2012-03-01"}, {"stats"}, "prohibited"),
        (Place("US", "CT"), {"age": 18}, {"ads", "stats", "sold"}, "consented"),
        (Place("US", "CT"), {}, {"ads", "stats", "sold"}, "consented"),
        (Place("US", "CT"), {"age": True}, {"ads", "stats", "sold"}, "consented"),
        (Place("US", "CT"), {"birthday": "soon"}, {"ads", "stats", "sold"}, "consented"),
        (Place("US", "CT"), {"age": 12}, set(), "prohibited"),
        (Place("US", "CO"), {"age": 17}, {"stats"}, "filtered_by_end_user_consent"),
        (Place("US", "PA"), {"age": 17}, {"ads", "stats", "sold"}, "consented"),
        (Place("US"), {"age": 17}, {"stats"}, "prohibited"),
    ],
)
async def test_a_known_age_is_asked_and_an_unknown_one_prohibits_nothing(
    place: Place, traits: dict[str, Any], allowed: set[str], reason: str
) -> None:
    made = await at(Day("2026-11-27"))
    assert await come(made, place, context={"traits": traits}) == allowed
    now = decide_now(made, last(made).event, "ads")
    assert now is not None
    assert now.reason == reason


async def test_no_grant_lifts_a_prohibition() -> None:
    made = await at(Day("2026-11-27"))
    yes = {"consent": {"categoryPreferences": {"advertising": True}}}
    grown = {**yes, "traits": {"age": 30}}
    young = {**yes, "traits": {"age": 15}}
    assert "ads" in await come(made, Place("US", "CT"), context=grown)
    assert "ads" not in await come(made, Place("US", "CT"), context=young)


@pytest.mark.parametrize("state", ["OR", "VA"])
async def test_a_precise_location_is_not_sold_where_that_is_banned(state: str) -> None:
    made = await at(Day("2026-11-27"))
    where = {"location": {"latitude": 45.5, "longitude": -122.7}}
    assert "sold" in await come(made, Place("US", state), context={"location": {"city": "Salem"}})
    assert "sold" not in await come(made, Place("US", state), context=where)
    assert "sold" in await come(made, Place("US", "PA"), context=where)


@holds("P4")
@pytest.mark.parametrize(
    ("address", "stated", "allowed"),
    [
        ("203.0.113.9", Regime.NOTICE, set()),  # Germany
        ("198.51.100.9", None, set()),  # California, and nothing is stated
        ("198.51.100.9", Regime.NOTICE, {"ads", "stats", "sold"}),
        ("192.0.2.1", Regime.NOTICE, set()),  # nowhere
        (None, Regime.NOTICE, {"ads", "stats", "sold"}),
        (7, Regime.NOTICE, {"ads", "stats", "sold"}),
    ],
)
async def test_an_address_in_a_servers_event_can_only_tighten(
    address: Any, stated: Regime | None, allowed: set[str]
) -> None:
    made = await at(Day("2026-11-27"), regime=stated)
    known = {"203.0.113.9": Place("DE", None, How.ADDRESS), "198.51.100.9": Place("US", "CA")}
    made.locate = lambda asked: known.get(asked, UNKNOWN)
    context = {} if address is None else {"ip": address}
    assert await come(made, NOBODY_LOOKED, "server", context=context) == allowed
    assert Owed(made, last(made), "ads").allowed() is ("ads" in allowed)
    assert await come(made, NOBODY_LOOKED, "public", context=context) == (
        set() if stated is None else {"ads", "stats", "sold"}
    ), "a page's event has the place of its request, and no other"


async def test_a_record_says_by_which_rule_it_was_made() -> None:
    made = await at(Day("2026-11-27"))
    update = {
        **track("u", "d"),
        "event": "Segment Consent Preference Updated",
        "context": {"consent": {"categoryPreferences": {"advertising": True}}},
    }
    origin = Origin("web", "public", None, Place("CH"))
    await accept(made, Incoming(origin, [update], Envelope(made.clock.now())))
    [entry] = [e for e in made.store.ledger() if e.record.type == "choice"]
    place = entry.record.place
    assert (place["jurisdiction"], place["regime"], place["rule"]) == ("CH", "opt_in", "ch")
    assert len(place["ruleVersion"]) == 16


async def test_the_day_of_a_law_is_not_missed_by_what_was_remembered() -> None:
    day = Day("2027-05-10")
    made = await at(day)
    for _ in range(6):
        allowed = await come(made, Place("IN"))
        began = day.at >= parse("2027-05-13")
        assert allowed == (set() if began else {"ads", "stats"}), day.at
        day.at += DAY


@holds("P7")
async def test_a_grant_grows_old_in_france_while_its_event_waits() -> None:
    day = Day("2026-12-01")
    made = await at(day)
    yes = {"consent": {"categoryPreferences": {"advertising": True}}}
    name = "Segment Consent Preference Updated"
    update = {**track("u", "d"), "event": name, "context": yes}
    origin = Origin("web", "public", None, Place("FR"))
    await accept(made, Incoming(origin, [update], Envelope(made.clock.now())))
    day.at += 180 * DAY
    assert "ads" in await come(made, Place("FR"), anonymousId="d", context=yes)
    french = last(made)
    assert "ads" in await come(made, Place("DE"), anonymousId="d")
    german = last(made)
    owed = Owed(made, french, "ads")
    assert owed.allowed()
    assert Owed(made, german, "ads").allowed()
    day.at += 2 * DAY
    assert not owed.allowed()
    assert Owed(made, german, "ads").allowed(), "no law of Germany states a life for a grant"
    now = decide_now(made, french.event, "ads")
    assert now is not None
    assert [v.why for v in now.verdicts] == ["expired"]
    assert "ads" not in await come(made, Place("FR"), anonymousId="d")
    assert "ads" not in await come(made, UNKNOWN, anonymousId="d")


@holds("P7")
async def test_a_grant_grows_old_at_its_moment_and_not_before() -> None:
    day = Day("2026-12-01")
    made = await at(day)
    name = "Segment Consent Preference Updated"
    yes = {"consent": {"categoryPreferences": {"advertising": True}}}
    origin = Origin("web", "public", None, Place("IE"))
    update = {**track("u", "d"), "event": name, "context": yes}
    await accept(made, Incoming(origin, [update], Envelope(made.clock.now())))
    assert "ads" in await come(made, Place("IE"), anonymousId="d")
    owed = Owed(made, last(made), "ads")
    grant = made.subjects.standing(last(made).event.nodes, made.policy, made.clock.now())
    made_at = grant.of("advertising").grant.made_at
    day.at = made_at + 181 * DAY - 1
    assert owed.allowed()  # the clock goes on by a microsecond each time it is read
    day.at = made_at + 181 * DAY + 1
    assert not owed.allowed()
