"""The laws of the door: what a message can say of consent, and that nothing breaks the reader."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core import moment
from consentry.core.choice import answer_of_update
from consentry.core.decision import question_of
from consentry.core.event import (
    FUTURE_TOLERANCE,
    PREFERENCE_UPDATE,
    Envelope,
    Event,
    Malformed,
    made_at,
    narrowed,
    parse_event,
)
from consentry.core.moment import DAY, SECOND
from consentry.core.policy import Regime
from consentry.core.stamp import join_stamps, read_stamp

from . import strategies as s
from .clauses import holds
from .told import told

NOW = moment.parse("2026-11-01T10:00:00Z")
ENVELOPE = Envelope(NOW)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
times = st.one_of(
    st.datetimes().map(lambda d: d.isoformat()),
    st.sampled_from(
        (
            "0001-01-01T00:00:00+23:59",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59-23:59",
            "9999-12-31T23:59:59.999999Z",
            "2026-11-01T10:00:03Z",
            "1969-12-31T23:59:59Z",
            "yesterday",
        )
    ),
)
consent_objects = st.dictionaries(
    st.sampled_from(
        ("consent", "consentCategories", "consentManagement", "traits", "direct", "page")
    ),
    st.one_of(
        json_values,
        st.fixed_dictionaries({"categoryPreferences": json_values}),
        st.dictionaries(
            st.sampled_from(("allowedConsentIds", "deniedConsentIds", "ad")), json_values
        ),
    ),
    max_size=4,
)
messages = st.one_of(
    json_values,
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(("track", "identify", "alias", "group", "page", "nonsense")),
            "event": st.sampled_from((PREFERENCE_UPDATE, "Seen")) | json_values,
            "anonymousId": st.just("a-1") | json_values,
            "userId": st.just("u-1") | json_values,
            "previousId": json_values,
            "groupId": json_values,
            "messageId": json_values,
            "context": consent_objects | json_values,
            "integrations": s.integrations | json_values,
            "timestamp": times | json_values,
            "originalTimestamp": times | json_values,
            "sentAt": times | json_values,
            "traits": json_values,
            "properties": json_values,
        },
    ),
)


def envelopes() -> st.SearchStrategy[Envelope]:
    sent = st.none() | times.filter(_is_time).map(moment.parse)
    return st.builds(
        lambda sent_at, context, integrations: Envelope(
            NOW, sent_at, context, integrations, "192.0.2.1"
        ),
        sent,
        st.none() | consent_objects,
        s.integrations,
    )


def _is_time(text: str) -> bool:
    try:
        moment.parse(text)
    except ValueError:
        return False
    return True


def read(**fields: Any) -> Event | Malformed:
    message = {"type": "track", "event": "Seen", "anonymousId": "a-1", **fields}
    return parse_event(message, ENVELOPE, fallback_id="generated")


@given(messages, envelopes(), st.sampled_from((None, "track", "identify")))
def test_no_message_breaks_the_reader_and_what_it_reads_can_be_written(
    raw: Any, envelope: Envelope, expected: str | None
) -> None:
    parsed = parse_event(raw, envelope, fallback_id="generated", expected_type=expected)

    if isinstance(parsed, Event):
        assert parsed.anonymous_id or parsed.user_id
        assert parsed.made_at is None or 0 <= parsed.made_at <= NOW + FUTURE_TOLERANCE
        msgspec.json.encode(told(parsed))
    else:
        assert parsed.code
        assert parsed.message


@holds("S3")
@given(json_values, st.sampled_from(("consent", "consentCategories")))
def test_only_true_and_false_are_answers(answer: Any, form: str) -> None:
    said = {"ad": answer}
    context = {form: {"categoryPreferences": said} if form == "consent" else said}
    parsed = read(context=context)

    if answer is True or answer is False:
        assert isinstance(parsed, Event)
        assert parsed.stamp is not None
        assert ("ad" in parsed.stamp.granted) is answer
    else:
        assert isinstance(parsed, Malformed)
        assert parsed.field is not None
        assert parsed.field.endswith(".ad")


answers = st.none() | st.dictionaries(st.sampled_from(s.KNOWN), st.booleans(), max_size=3)


@holds("S1", "S2", "S6")
@given(answers, answers, answers, answers)
def test_of_several_forms_each_must_grant(current, draft, rudder, batch) -> None:
    context: dict[str, Any] = {}
    if current is not None:
        context["consent"] = {"categoryPreferences": current}
    if draft is not None:
        context["consentCategories"] = draft
    if rudder is not None:
        context["consentManagement"] = {
            "allowedConsentIds": [c for c, yes in rudder.items() if yes],
            "deniedConsentIds": [c for c, yes in rudder.items() if not yes],
            "resolutionStrategy": "or",
        }
    outer = None if batch is None else {"consent": {"categoryPreferences": batch}}
    parsed = parse_event(
        {"type": "track", "event": "Seen", "anonymousId": "a-1", "context": context},
        Envelope(NOW, context=outer),
        fallback_id="generated",
    )

    assert isinstance(parsed, Event)
    said = [form for form in (current, draft, rudder, batch) if form is not None]
    if not said:
        assert parsed.stamp is None
        return
    assert parsed.stamp is not None
    granted = {c for c in s.KNOWN if all(form.get(c) is True for form in said)}
    assert parsed.stamp.granted == granted
    written = told(parsed)["context"]["consent"]["categoryPreferences"]
    assert {c for c, yes in written.items() if yes} == granted


@holds("S2")
@given(st.lists(s.stamps, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_stamps_join_in_any_order_and_only_narrow(stamps, random) -> None:
    joined = join_stamps(stamps)
    shuffled = list(stamps)
    random.shuffle(shuffled)

    assert joined == join_stamps(shuffled)
    assert joined is not None
    assert all(joined.granted <= one.granted and joined.stated >= one.stated for one in stamps)


@holds("D4")
@given(s.integrations, s.integrations, st.sampled_from(("one", "two", "elsewhere", "other")))
def test_the_batchs_integrations_and_the_items_own_both_only_narrow(outer, inner, name) -> None:
    message = {"type": "track", "event": "Seen", "anonymousId": "a-1", "integrations": inner}
    parsed = parse_event(message, Envelope(NOW, integrations=outer), fallback_id="generated")

    assert isinstance(parsed, Event)
    either = narrowed(outer, name) or narrowed(inner, name)
    assert narrowed(parsed.integrations, name) == either


@holds("R2", "C3")
@given(
    st.none() | st.integers(-10 * DAY, NOW + 400 * DAY),
    st.none() | st.integers(-10 * DAY, NOW + 400 * DAY),
)
def test_a_claim_makes_nothing_younger_than_it_says_nor_than_its_reception(claimed, sent) -> None:
    made = made_at(claimed, sent, NOW)

    if claimed is None:
        assert made == NOW
    elif made is not None:
        assert made <= claimed
        assert made <= NOW + FUTURE_TOLERANCE
        assert sent is None or made <= NOW - (sent - claimed)


@holds("R2")
@pytest.mark.parametrize(
    ("after_s", "is_a_time"), [(0, True), (5, True), (5.001, False), (3600, False)]
)
def test_five_seconds_into_the_future_is_still_a_time(after_s: float, is_a_time: bool) -> None:
    made = made_at(NOW + int(after_s * SECOND), None, NOW)

    assert (made is not None) is is_a_time


@holds("S4", "C1")
@pytest.mark.parametrize(
    ("consent", "integrations", "stamped"),
    [
        ({}, None, False),
        ({}, {}, False),
        ({}, {"one": True}, True),
        ({"source": "cmp"}, None, True),
        ({"categoryPreferences": {}}, None, True),
    ],
)
def test_an_empty_consent_object_is_a_stamp_only_beside_integrations(
    consent: dict[str, Any], integrations: dict[str, Any] | None, stamped: bool
) -> None:
    stamp = read_stamp({"consent": consent}, has_integrations=bool(integrations))

    assert (stamp is not None) is stamped
    assert stamp is None or not stamp.granted


@holds("S3", "C2")
@given(json_values, st.booleans())
def test_a_consent_object_that_is_none_makes_the_event_malformed(
    value: Any, of_context: bool
) -> None:
    parsed = read(context=value) if of_context else read(context={"consent": value})

    assert isinstance(parsed, Event) is isinstance(value, dict)
    if isinstance(parsed, Malformed):
        assert parsed.field == ("context" if of_context else "context.consent")


@holds("S3")
@pytest.mark.parametrize("form", ["consentCategories", "consentManagement"])
@given(value=json_values)
def test_so_does_one_in_another_form(form: str, value: Any) -> None:
    if not isinstance(value, dict):
        assert isinstance(read(context={form: value}), Malformed)


@holds("S4", "C1")
@given(
    st.dictionaries(st.text(max_size=6).filter(lambda k: k != "categoryPreferences"), json_values),
    st.none() | st.dictionaries(st.text(max_size=4), st.booleans(), max_size=2),
)
def test_a_consent_object_without_preferences_grants_nothing_or_is_silence(
    consent: dict[str, Any], integrations: dict[str, bool] | None
) -> None:
    parsed = read(context={"consent": consent}, integrations=integrations)

    assert isinstance(parsed, Event)
    silent = not consent and not integrations
    assert (parsed.stamp is None) is silent
    assert silent or (parsed.stamp.granted, parsed.stamp.stated) == (frozenset(), frozenset())
    assert read(context={"app": {}}, integrations=integrations).stamp is None


@holds("S6")
@given(s.names, s.names, st.sampled_from(("or", "and", "any", None)), st.booleans())
def test_an_id_in_both_lists_is_denied_whatever_the_strategy_says(
    granted, denied, strategy, listed
) -> None:
    said = {"allowedConsentIds": sorted(granted), "deniedConsentIds": sorted(denied)}
    said = said if listed else {}
    parsed = read(context={"consentManagement": said | {"resolutionStrategy": strategy}})

    assert isinstance(parsed, Event)
    assert (parsed.stamp is not None) is listed
    assert not listed or parsed.stamp.granted == granted - denied
    assert not listed or parsed.stamp.stated == granted | denied


@holds("C3", "C4", "R2")
def test_a_choice_without_a_time_was_made_when_it_came_and_one_from_the_future_has_none() -> None:
    without = read()
    corrected = read(timestamp="2026-11-01T09:00:00Z", sentAt="2026-11-01T11:00:00Z")
    ahead = read(timestamp="2026-11-01T10:00:06Z")

    assert isinstance(without, Event)
    assert without.made_at == NOW
    assert isinstance(corrected, Event)
    assert corrected.made_at == NOW - 2 * 3600 * SECOND
    assert isinstance(ahead, Event)
    assert ahead.made_at is None


@holds("R11")
@given(st.dictionaries(st.sampled_from(s.NAMES), st.booleans()), s.policies())
def test_an_update_is_an_answer_for_every_category(answers, policy) -> None:
    event = read(event=PREFERENCE_UPDATE, context={"consent": {"categoryPreferences": answers}})

    assert isinstance(event, Event)
    answer = answer_of_update(event, policy)
    assert answer.granted == {c for c, yes in answers.items() if yes}
    assert answer.missing == set(policy.asked) - set(answers)
    assert answer.denied == {c for c, yes in answers.items() if not yes} | answer.missing
    assert answer.refusals.granted == frozenset()
    assert answer.refusals.denied == answer.denied


@given(messages, envelopes(), st.none() | st.sampled_from(Regime), st.booleans())
def test_the_question_is_about_the_event_as_it_was_read(raw, envelope, regime, superseded) -> None:
    event = parse_event(raw, envelope, fallback_id="generated")
    if not isinstance(event, Event):
        return

    question = question_of(event, regime, superseded=superseded)

    assert (question.accepted_at, question.made_at) == (NOW, event.made_at)
    assert (question.stamp, question.integrations) == (event.stamp, event.integrations)
    assert (question.regime, question.superseded) == (regime, superseded)
    assert question.preference_update is (event.type == "track" and event.name == PREFERENCE_UPDATE)
    assert question.prohibited == frozenset()


@pytest.mark.parametrize("regime", [None, *Regime])
@pytest.mark.parametrize("superseded", [False, True])
def test_the_question_about_a_choice_says_so(regime: Regime | None, superseded: bool) -> None:
    event = read(
        event=PREFERENCE_UPDATE, context={"consent": {"categoryPreferences": {"ad": True}}}
    )
    assert isinstance(event, Event)

    question = question_of(event, regime, superseded=superseded)

    assert question.preference_update
    assert (question.regime, question.superseded) == (regime, superseded)
    assert question_of(event).superseded is False
    assert question.stamp == event.stamp


@holds("S3")
def test_a_context_that_is_null_could_be_read_as_silence_so_it_is_refused() -> None:
    refused = read(context=None)

    assert isinstance(refused, Malformed)
    assert refused.field == "context"
    assert isinstance(read(), Event)
