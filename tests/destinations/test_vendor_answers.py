"""Whatever a vendor answers: nothing stumbles, and nothing but its own words is a success."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core.delivery import Grade, Outcome
from consentry.destinations import (
    amplitude,
    datamanager,
    ga4,
    google,
    meta,
    mixpanel,
    posthog,
    rudderstack,
    segment,
    tiktok,
    twilio,
)
from consentry.destinations.batches import object_of
from consentry.destinations.instruction import Found, Reading
from consentry.destinations.message import Response
from consentry.destinations.steps import Spoiled
from tests.destinations.service_account import service_account
from tests.destinations.vendors import VENDORS, Vendor

Judge = Callable[[Response, Sequence[Any]], Sequence[Outcome]]
JUDGES: dict[str, Judge] = {
    "amplitude events": amplitude.outcomes_of,
    "amplitude erase": lambda r, whom: amplitude.erase_outcomes(r, whom, len(whom)),
    "mixpanel events": mixpanel.outcomes_of,
    "mixpanel suppress": mixpanel.suppress_outcomes,
    "mixpanel erase": mixpanel.erase_outcomes,
    "meta events": meta.outcomes_of,
    "meta orders": lambda r, whom: meta.order_outcomes(r, whom, len(whom)),
    "tiktok": tiktok.outcomes_of,
    "datamanager": datamanager.outcomes_of,
    "ga4 erase": ga4.erase_outcomes,
    "posthog events": posthog.outcomes_of,
    "posthog erase": posthog.erase_outcomes,
    "segment orders": segment.order_outcomes,
    "rudderstack orders": lambda r, whom: [rudderstack.order_outcome(r, "alice") for _ in whom],
    "twilio orders": lambda r, whom: [twilio.order_outcome(r, "c") for _ in whom],
}
READERS: dict[str, Callable[[Response], Reading]] = {
    "amplitude": lambda response: amplitude.read(response, "2026-12-06"),
    "mixpanel": mixpanel.read,
    "datamanager": datamanager.read,
    "posthog": posthog.read,
    "segment": segment.read,
}
PROOF = {Grade.CONFIRMED, Grade.JOB_DONE, Grade.ACCEPTED, Grade.SENT_UNVERIFIABLE}

SOME = (
    st.none()
    | st.booleans()
    | st.integers(-2, 50_000)
    | st.sampled_from(["alice", "c", "SUCCESS", "FINISHED", "done", "2026-12-06", "ok", ""])
    | st.text(max_size=4)
)
NAMES = st.sampled_from(
    [
        *("code", "error", "status", "results", "result", "data", "items", "id", "day", "index"),
        *("events_ingested", "events_with_invalid_fields", "silenced_events", "throttled_events"),
        *("amplitude_ids", "num_records_imported", "failed_records", "task_id", "requestId"),
        *("events_received", "num_received", "num_invalid_entries", "deletionRequestTime"),
        *("persons_found", "persons_deleted", "events_queued_for_deletion", "quota_limited"),
        *("regulateId", "regulation", "overallStatus", "streamStatus", "destinationStatus"),
        *("requestStatusPerDestination", "requestStatus", "errorInfo", "errorCounts", "reason"),
        *(
            "access_token",
            "expires_in",
            "attributes",
            "userId",
            "correlation_id",
            "error_code",
            "error_messages",
        ),
    ]
)
BODIES = st.recursive(
    SOME, lambda x: st.lists(x, max_size=3) | st.dictionaries(NAMES, x, max_size=5), max_leaves=12
)
RAW = BODIES.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=20)
STATUSES = st.sampled_from([200, 201, 202, 204, 301, 400, 401, 403, 404, 413, 429, 500, 503])


@pytest.mark.parametrize("name", JUDGES)
@given(status=STATUSES, raw=RAW, count=st.integers(1, 3))
def test_an_answer_is_judged_for_everybody_and_a_refusal_is_no_success(
    name: str, status: int, raw: bytes, count: int
) -> None:
    try:
        outcomes = JUDGES[name](Response(status, {}, raw), tuple(range(count)))
    except Spoiled:
        assert count > 1, "one alone cannot be halved"
        return
    assert len(outcomes) == count
    for outcome in outcomes:
        partial = name == "mixpanel events" and status == 400  # which takes the others
        assert outcome.grade not in PROOF or 200 <= status <= 299 or partial
        assert outcome.detail.isprintable()
        assert len(outcome.detail) < 200


@pytest.mark.parametrize("name", JUDGES)
@settings(max_examples=20)
@given(raw=st.binary(max_size=20) | st.sampled_from([b"", b"null", b"[]", b"{}", b"0", b'""']))
def test_an_empty_success_proves_nothing(name: str, raw: bytes) -> None:
    (outcome,) = JUDGES[name](Response(200, {}, raw), (0,))
    assert outcome.grade not in PROOF


@pytest.mark.parametrize("name", READERS)
@given(status=STATUSES, raw=RAW)
def test_a_question_that_failed_is_no_proof(name: str, status: int, raw: bytes) -> None:
    reading = READERS[name](Response(status, {}, raw))
    assert status == 200 or reading.found is Found.UNKNOWN
    assert reading.detail.isprintable()
    assert len(reading.detail) < 400


@given(status=STATUSES, raw=RAW)
def test_a_token_is_text_of_a_success(status: int, raw: bytes) -> None:
    response = Response(status, {}, raw)
    body = object_of(response)
    well = isinstance(body.get("access_token"), str) and isinstance(body.get("expires_in"), int)
    if 200 <= status <= 299 and well and body["access_token"]:
        token, lasts_s = google.read_token(response)
        assert token
        assert lasts_s <= google.LIFETIME_S
    else:
        with pytest.raises(google.NoToken) as caught:
            google.read_token(response)
        assert caught.value.outcome.grade not in PROOF


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_options_show_no_secret(vendor: Vendor) -> None:
    shown = repr(vendor.options("https://host.example"))
    key = json.loads(service_account())["private_key"]
    for secret in ("k3y", "t0ken", key[40:80]):
        assert secret not in shown
