"""No odd member of a body makes one of these vendors stumble."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.standin.amplitude import Amplitude
from consentry.standin.control import Mode, Moment
from consentry.standin.datamanager import DataManager
from consentry.standin.meta import Meta
from consentry.standin.mixpanel import Mixpanel
from consentry.standin.posthog import PostHog
from consentry.standin.tiktok import TikTok
from consentry.standin.vendor import Call, Vendor

PAIR = {"authorization": "Basic " + base64.b64encode(b"user:secret").decode()}
TOKEN = {"authorization": "Bearer t", "access-token": "t"}
HASH = "0" * 64
GOOD: list[tuple[type[Vendor], str, dict[str, str], Any]] = [
    (
        Amplitude,
        "/2/httpapi",
        {},
        {"api_key": "k", "events": [{"event_type": "e", "user_id": "alice", "time": 1}]},
    ),
    (
        Amplitude,
        "/api/2/deletions/users",
        PAIR,
        {"user_ids": ["alice"], "requester": "me", "ignore_invalid_id": "true"},
    ),
    (
        Mixpanel,
        "/import",
        PAIR,
        [{"event": "e", "properties": {"time": 1e9, "distinct_id": "alice", "$insert_id": "i"}}],
    ),
    (Mixpanel, "/track", {}, [{"event": "e", "properties": {"token": "t", "distinct_id": "a"}}]),
    (Mixpanel, "/engage", {}, [{"$token": "t", "$distinct_id": "alice", "$set": {"a": 1}}]),
    (Mixpanel, "/api/app/data-deletions/v3.0", TOKEN, {"distinct_ids": ["alice"]}),
    (
        Meta,
        "/v25.0/1/events",
        TOKEN,
        {
            "data": [
                {
                    "event_name": "e",
                    "event_time": 4_000_000_000,
                    "action_source": "other",
                    "user_data": {"em": [HASH]},
                }
            ]
        },
    ),
    (
        Meta,
        "/v25.0/act_1/usersofanyaudience",
        TOKEN,
        {"payload": {"schema": ["EMAIL"], "data": [[HASH]]}},
    ),
    (
        TikTok,
        "/open_api/v1.3/event/track/",
        TOKEN,
        {
            "event_source": "web",
            "event_source_id": "1",
            "data": [{"event": "e", "event_time": 1, "user": {"email": HASH}}],
        },
    ),
    (
        TikTok,
        "/open_api/v1.3/segment/mapping/",
        TOKEN,
        {
            "action": "delete",
            "id_schema": ["EMAIL_SHA256"],
            "advertiser_ids": ["1"],
            "batch_data": [[{"id": HASH, "audience_ids": ["2"]}]],
        },
    ),
    (
        DataManager,
        "/v1/events:ingest",
        TOKEN,
        {
            "destinations": [
                {"operatingAccount": {"accountType": "A"}, "productDestinationId": "1"}
            ],
            "encoding": "HEX",
            "events": [
                {
                    "eventTimestamp": "2026-11-01T00:00:00Z",
                    "userData": {"userIdentifiers": [{"emailAddress": HASH}]},
                    "consent": {"adUserData": "CONSENT_GRANTED"},
                }
            ],
        },
    ),
    (PostHog, "/batch/", {}, {"api_key": "k", "batch": [{"event": "e", "distinct_id": "a"}]}),
    (PostHog, "/api/projects/1/persons/bulk_delete/", TOKEN, {"distinct_ids": ["alice"]}),
]
ODD = st.sampled_from([None, True, -1, 1.5, "", "x", [], [None], [[]], [{}], {}, {"a": 1}])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a body, the whole included."""
    found = [path]
    if isinstance(value, dict):
        for name, part in value.items():
            found += places(part, (*path, name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            found += places(part, (*path, index))
    return found


def put(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """The body with something else at a place."""
    if not path:
        return odd
    first, *rest = path
    if isinstance(value, dict):
        return {**value, first: put(value[first], tuple(rest), odd)}
    return [put(part, tuple(rest), odd) if n == first else part for n, part in enumerate(value)]


def answer(vendor: Vendor, path: str, headers: dict[str, str], body: Any) -> int:
    raw = json.dumps(body).encode()
    call = Call("POST", "", path, {"token": "t"}, headers, raw, body, False, Mode.OK, Moment.now())
    assert all(isinstance(x, str) for ids in vendor.ids(call).shown().values() for x in ids)
    status = vendor.answer(call).status
    json.dumps(vendor.persons.state())
    return status


@pytest.mark.parametrize("good", GOOD, ids=lambda good: f"{good[0].__name__} {good[1]}")
@given(data=st.data())
def test_no_odd_member_makes_a_vendor_stumble(good: Any, data: st.DataObject) -> None:
    vendor, path, headers, body = good
    where = data.draw(st.sampled_from(places(body)))
    status = answer(vendor(), path, headers, put(body, where, data.draw(ODD)))
    assert status in (200, 201, 202, 400, 401, 403, 413)


@pytest.mark.parametrize("good", GOOD, ids=lambda good: f"{good[0].__name__} {good[1]}")
def test_as_it_is_each_is_taken(good: Any) -> None:
    vendor, path, headers, body = good
    assert answer(vendor(), path, headers, body) in (200, 201, 202)
