"""No JSON body, however odd, makes a vendor fail: it answers, and its state stays readable."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standin_calls import BASIC, WEBHOOK

from consentry.standin.control import Mode, Moment
from consentry.standin.ga4 import GA4 as GA4Vendor
from consentry.standin.rudderstack import RudderStack
from consentry.standin.segment import Segment
from consentry.standin.vendor import Call, Vendor
from consentry.standin.webhook import Webhook as WebhookVendor

SOME = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
JSON = st.recursive(SOME, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x))
ITEM = st.fixed_dictionaries(
    {},
    optional={
        name: st.just("alice") | JSON
        for name in (
            *("type", "userId", "anonymousId", "messageId", "event", "groupId", "traits"),
            *("anonymousIds", "categories", "preferences", "subject", "previousId"),
        )
    },
)
BODIES = JSON | st.fixed_dictionaries(
    {},
    optional={
        "batch": JSON | st.lists(ITEM | st.builds(dict, ITEM, type=st.just("track")), max_size=3),
        "type": st.sampled_from(["event.forwarded", "subject.erase", "consent.granted"]) | JSON,
        "timestamp": st.just("2026-11-01T00:00:00Z") | JSON,
        "data": JSON | ITEM,
        "regulationType": JSON | st.sampled_from(["SUPPRESS_WITH_DELETE", "suppress"]),
        "subjectType": JSON | st.just("USER_ID"),
        "subjectIds": JSON | st.just(["alice"]),
        "users": JSON | st.just([{"userId": "alice"}]),
        "client_id": JSON | st.just("c"),
        "user_id": JSON,
        "consent": JSON,
        "user_properties": JSON | st.just({"plan": {"value": 1}}),
        "timestamp_micros": JSON,
        "events": JSON | st.lists(st.fixed_dictionaries({"name": st.just("e"), "params": JSON})),
    },
)
PLACES: list[tuple[Vendor, str, dict[str, str]]] = [
    (WebhookVendor(), "/", dict(WEBHOOK.headers)),
    (Segment(), "/v1/batch", {"authorization": BASIC}),
    (Segment(), "/v1/identify", {"authorization": BASIC}),
    (Segment(), "/regulations", {"authorization": "Bearer t"}),
    (RudderStack(), "/v1/batch", {"authorization": BASIC}),
    (RudderStack(), "/v2/regulations", {"authorization": "Bearer t"}),
    (GA4Vendor(), "/mp/collect", {}),
    (GA4Vendor(), "/debug/mp/collect", {}),
    (GA4Vendor(), "/v1alpha/properties/1:submitUserDeletion", {"authorization": "Bearer t"}),
]


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(body=BODIES)
@pytest.mark.parametrize("place", range(len(PLACES)))
def test_no_body_makes_a_vendor_stumble(place: int, body: Any) -> None:
    vendor, path, headers = PLACES[place]
    query = {"measurement_id": "G-1", "api_secret": "s"}
    raw = json.dumps(body).encode()
    call = Call("POST", "", path, query, headers, raw, body, False, Mode.OK, Moment.now())
    assert all(isinstance(x, str) for ids in vendor.ids(call).shown().values() for x in ids)
    assert vendor.answer(call).status in (200, 201, 204, 400, 422)
    json.dumps(vendor.persons.state())
