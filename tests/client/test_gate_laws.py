"""Laws of the gate, against ``parse_event`` and ``decide`` as every other door uses them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consentry.client import Gate, Refused, quick
from consentry.client.quick import Heard
from consentry.clock import Clock
from consentry.config import Source
from consentry.core.decision import Decisions
from consentry.core.event import Envelope, Event, Malformed, parse_event
from consentry.core.policy import Policy, Regime, StampRule, Unstamped
from consentry.core.record import Node, NodeKind
from consentry.core.stamp import Stamp
from consentry.flow.accept import nodes_of
from consentry.flow.explain import explain_event
from consentry.flow.offline import Held, NoRecords, world_of
from consentry.flow.records import Origin
from tests.client.gates import UPDATE, Kept, track
from tests.core.strategies import KNOWN, NAMES, policies

ABSENT = object()
TIME = "2026-11-01T10:00:00Z"
ODD = [None, "", 0, 1, 1.0, True, False, [], {}, "x", ["x"], {"x": 1}, b"x", {"email": "a@b.cd"}]
IDS = ["a-1", "u-1", "", None, "x" * 512, "x" * 513, 7, True]
PREFERENCES = st.dictionaries(st.sampled_from(NAMES), st.booleans(), max_size=4)
ODD_PREFERENCES = st.dictionaries(
    st.sampled_from((*NAMES, "", 1, True)),
    st.sampled_from((True, False, True, False, 1, 0, None, "true", 1.0)),
    max_size=3,
)
TIMES = [
    TIME,
    "2026-11-01T10:00:00.123+02:00",
    "20261101T100000Z",
    "0001-01-01T00:00:00+09:00",
    "9999-12-31T23:59:59-09:00",
    "2026-11-01",
    "2026-13-01T00:00:00Z",
    "2026-11-01T10:00:00." + "1" * 30 + "Z",
    "now",
]
MEMBERS: dict[str, list[Any]] = {
    "type": ["track", "page", "screen", "identify", "group", "alias", "noise"],
    "event": ["Seen", UPDATE, ""],
    "name": ["Home"],
    "messageId": ["m-1", "x" * 100, "x" * 101],
    "anonymousId": IDS,
    "userId": IDS,
    "previousId": ["a-0"],
    "groupId": ["g-1"],
    "timestamp": TIMES,
    "originalTimestamp": TIMES,
    "sentAt": TIMES,
    "properties": [{"email": "ann@shop.example"}, {"phone": "+43 123456"}],
    "traits": [{"email": "ann@shop.example"}],
    "integrations": [{"All": False}, {"All": True}, {"one": False}, {"All": False, "two": True}],
    "writeKey": ["wk"],
    "_metadata": [{}],
    "unheard": ["of"],
}
FORMS: dict[str, list[Any]] = {
    "consentCategories": [{"ad": False}, {"ad": True, "analytics": True}],
    "consentManagement": [
        {"deniedConsentIds": ["ad"]},
        {"allowedConsentIds": ["analytics"], "deniedConsentIds": []},
        {"provider": "x"},
    ],
    "traits": [{"email": "ann@shop.example"}, {"phone": "123456789"}],
}


@st.composite
def contexts(draw: st.DrawFn) -> Any:
    context: dict[Any, Any] = {}
    preferences = draw(PREFERENCES | PREFERENCES | ODD_PREFERENCES | st.sampled_from(ODD))
    context["consent"] = draw(
        st.sampled_from(
            [{"categoryPreferences": preferences}] * 4
            + [{"categoryPreferences": preferences, "provider": "x"}, {"provider": "x"}, *ODD]
        )
    )
    for name in draw(st.lists(st.sampled_from(sorted(FORMS)), max_size=1)):
        context[name] = draw(st.sampled_from(FORMS[name] + ODD))
    if draw(st.integers(0, 9)) == 0:
        del context["consent"]
    return context


@st.composite
def events(draw: st.DrawFn) -> Any:
    """A plain, stamped event with up to three members changed, added or taken out."""
    event = track("a-1", "u-1")
    event["context"] = draw(contexts())
    for name in draw(st.lists(st.sampled_from(sorted(MEMBERS)), max_size=3)):
        event[name] = draw(st.sampled_from([*MEMBERS[name], *ODD, ABSENT]))
    if draw(st.integers(0, 19)) == 0:
        event["context"] = draw(st.sampled_from([*ODD, ABSENT]))
    return {name: value for name, value in event.items() if value is not ABSENT}


def parsed(event: Any) -> Event | Malformed:
    return parse_event(event, Envelope(Clock().now()), fallback_id="")


def explained(policy: Policy, event: Event, source: Source) -> Decisions:
    """As POST /v1/decisions answers where nothing is recorded."""
    regimes = {} if source.regime is None else {source.name: source.regime}
    world = world_of(Held(NoRecords()), policy, regimes)
    return explain_event(world, event, Origin(source.name, "public"))


def stated_yes(event: Event) -> set[str]:
    return set() if event.stamp is None else set(event.stamp.granted)


@settings(max_examples=200, deadline=None)
@given(policies(), events(), st.none() | st.sampled_from(Regime))
def test_push_goes_where_the_decision_allows_and_nowhere_else(
    policy: Policy, event: Any, regime: Regime | None
) -> None:
    source = Source("site", regime=regime)
    gate = Gate(policy, source=source)
    kept = Kept(gate, *policy.mapping)
    read = parsed(event)
    for _ in range(2):  # by the long way, and where there is one by the plan
        if isinstance(read, Malformed):
            with pytest.raises(Refused) as refused:
                gate.push(event)
            assert (refused.value.field, refused.value.code) == (read.field, read.code)
            assert kept.called == []
            continue
        kept.events = {name: [] for name in kept.events}
        expected = explained(policy, read, source)
        answer = gate.decide(event)
        result = gate.push(event)
        assert list(map(_plain, answer)) == list(map(_plain, expected))
        assert set(answer.allowed) == set(result.delivered) == set(kept.called)
        reasons = {one.destination: one.reason for one in expected if not one.allow}
        assert result.withheld == reasons
        assert not result.failed
        if read.is_preference_update:
            return  # it is recorded now, so what follows is decided by more than itself


def _plain(one: Any) -> tuple[Any, ...]:
    return one.destination, one.allow, one.reason, one.verdicts and [v.id for v in one.verdicts]


@settings(max_examples=150, deadline=None)
@given(policies(), events(), PREFERENCES)
def test_no_destination_is_told_more_than_was_said_or_holds(
    policy: Policy, event: Any, answers: dict[str, bool]
) -> None:
    """After a choice, as before it: what an event tells as granted was stated so, and holds."""
    gate = Gate(policy)
    kept = Kept(gate, *policy.mapping)
    read = parsed(event)
    if isinstance(read, Malformed) or read.is_preference_update:
        return
    gate.push(event)
    for said in (None, answers):
        if said and read.anonymous_id:
            gate.record({"anonymousId": read.anonymous_id}, said)
        gate.push(event)
        for body in (events[-1] for events in kept.events.values() if events):
            told = body["context"]["consent"]["categoryPreferences"]
            yes = {category for category, granted in told.items() if granted}
            if read.stamp is not None:
                assert yes <= stated_yes(read)
            denied = {c for c, granted in (said or {}).items() if not granted and c in KNOWN}
            if read.anonymous_id:
                assert not yes & (denied - {"necessary"}), "what is essential is granted anyway"
            assert "writeKey" not in body
            assert "_metadata" not in body


@settings(max_examples=150, deadline=None)
@given(
    # Where a stamp or silence decides alone, a denial counts for what was accepted before it.
    policies(stamp=StampRule.BOTH, unstamped=Unstamped.RECORDED),
    events(),
    st.sampled_from(("anonymousId", "userId")),
)
def test_after_a_withdrawal_nobody_who_needs_the_category_is_called(
    policy: Policy, event: Any, member: str
) -> None:
    gate = Gate(policy)
    kept = Kept(gate, *policy.mapping)
    read = parsed(event)
    if isinstance(read, Malformed) or read.is_preference_update or not event.get(member):
        return
    gate.push(event)
    gate.record({member: event[member]}, dict.fromkeys(KNOWN, False))
    kept.events = {name: [] for name in kept.events}

    result = gate.push(event)

    for name in result.delivered:
        mapping = policy.mapping[name]
        needed = {c for c in mapping.categories if c not in KNOWN or policy.category[c].enabled}
        assert needed <= {"necessary"}, "what is essential is granted, whatever was answered"
    assert kept.called == sorted(result.delivered)


# -- the short way ------------------------------------------------------------------------------
def check_plain(text_of: Callable[[Any, Any], bytes | None], event: Any) -> None:
    """A plain event is well formed, says only its own consent, and names nobody that is known.

    Or its preferences are odd: then it has the text of no event that was ever accepted.
    """
    heard = Heard()
    heard.add([Node(NodeKind.DEVICE, "known"), Node(NodeKind.EMAIL, "ann@shop.example")])
    text = text_of(event, heard)
    if text is None:
        return
    answers = msgspec.msgpack.decode(text)
    if any(answer is not True and answer is not False for answer in answers.values()):
        return
    read = parsed(event)
    assert isinstance(read, Event)
    assert not read.integrations
    assert not read.is_preference_update
    assert read.previous_id is None
    assert read.type in ("track", "page", "screen")
    assert read.message is event, "nothing has to be taken out before it is handed over"
    assert not any(node.value in heard.values for node in nodes_of(read))
    yes = frozenset(category for category, answer in answers.items() if answer)
    assert read.stamp == Stamp(yes, frozenset(answers))


UNTIMED = {name: value for name, value in track(ad=True).items() if name != "timestamp"}
ODD_EVENTS: list[Any] = [
    *(
        {**track(advertising=True), name: value}
        for name in MEMBERS
        for value in MEMBERS[name] + ODD
    ),
    *(
        {**track(), "context": {"consent": {"categoryPreferences": {"a": True}}, name: value}}
        for name in FORMS
        for value in FORMS[name] + ODD
    ),
    *({**track(), "context": {"consent": {"categoryPreferences": {"a": odd}}}} for odd in ODD),
    *({**track(), "context": {"consent": {"categoryPreferences": odd}}} for odd in ODD),
    *({**track(), "context": {"consent": odd}} for odd in ODD),
    *({**track(), "context": odd} for odd in ODD),
    *({**UNTIMED, "originalTimestamp": odd} for odd in TIMES + ODD),
    track(None, advertising=True),
    track("known", advertising=True),
    track(None, "known", advertising=True),
    *ODD,
]


@settings(max_examples=500, deadline=None)
@given(events())
@example(track(advertising=True))
def test_what_takes_the_short_way_is_plain(event: Any) -> None:
    check_plain(quick.text_of, event)


def test_odd_events_do_not_take_the_short_way() -> None:
    for event in ODD_EVENTS:
        check_plain(quick.text_of, event)


def test_most_events_take_the_short_way() -> None:
    """Else the laws above would hold of nothing."""
    page = {**track(), "type": "page", "name": "Home"}
    stamped = {"consent": {"categoryPreferences": {"ad": True}}}
    del page["event"]
    for event in (track(ad=True), track(None, "u-1", ad=False), {**page, "context": stamped}):
        assert quick.text_of(event, Heard()) is not None


MUTATIONS = {
    "another form": ('"consentCategories" in context or ', ""),
    "lists": (' or "consentManagement" in context', ""),
    "integrations": (' is not dict or event["integrations"])', " is not dict)"),
    "integrations of another type": ('type(event["integrations"]) is not dict or', ""),
    "a choice": (" or name == PREFERENCE_UPDATE", ""),
    "any type": ('(kind != "page" and kind != "screen")', "False"),
    "a known device": ("device in known or account in known", "account in known"),
    "a known account": ("device in known or account in known", "device in known"),
    "a known address": ("if heard.addresses and", "if False and"),
    "nobody": ("(not device and not account)", "False"),
    "long ids": ("len(device) > LONGEST_ID", "False"),
    "long message ids": ("len(message_id) > LONGEST_MESSAGE_ID", "False"),
    "times": ("or not 1 < _time(at).year < 9999", "or not _time(at)"),
    "long times": ("not 10 <= len(at) <= 40", "False"),
    "properties": ('type(get("properties", _EMPTY)) is not dict', "False"),
    "traits": ('("traits" in event and type(event["traits"]) is not dict)', "False"),
    "transport": ('"writeKey" in event', "False"),
    "the batch's own": ('"_metadata" in event', "False"),
    "when it was sent": ('"sentAt" in event', "False"),
    "linked ids": ('"previousId" in event', "False"),
    "other times": ('"originalTimestamp" in event', "False"),
    "truth for true": (
        'text = _encode(consent["categoryPreferences"])',
        'text = _encode({c: bool(v) for c, v in consent["categoryPreferences"].items()})',
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_gate_that_reads_less_would_be_caught(mutation: str, tmp_path: Path) -> None:
    """Each check of the short way is needed: a copy without it lets something through."""
    source = Path(quick.__file__).read_text()
    before, after = MUTATIONS[mutation]
    assert source.count(before) == 1
    copy = tmp_path / "mutated.py"
    copy.write_text(source.replace(before, after))
    spec = importlib.util.spec_from_file_location("mutated", copy)
    assert spec is not None
    assert spec.loader is not None
    mutated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutated)

    def passes(event: Any) -> bool:
        try:
            check_plain(mutated.text_of, event)
        except AssertionError:
            return False
        return True

    assert not all(map(passes, ODD_EVENTS))
