"""TikTok: HTTP 200 to everything, so all is read from the code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consentry.core.delivery import Grade
from consentry.destinations import tiktok
from consentry.destinations.instruction import Person
from consentry.destinations.message import Response
from consentry.destinations.named import sha256
from consentry.destinations.steps import Spoiled
from consentry.secret import Secret

from .wire_server import message


def options(**more: Any) -> tiktok.Options:
    return tiktok.Options(event_source_id="C1", access_token=(Secret("t0ken"),), **more)


def test_an_event() -> None:
    context = {"page": {"url": "https://shop.example/?ttclid=c1"}, "userAgent": "UA", "ip": "::1"}
    traits = {"email": "Alice@example.com", "phone": "+49 151 1"}
    product = {"sku": "p1", "quantity": 1, "price": 3}
    properties = {"value": 3, "currency": "EUR", "products": [product]}
    body = {
        "event": "Product Added",
        "context": context,
        "traits": traits,
        "properties": properties,
    }
    request = tiktok.request_for([message(body=body)], options(limited_data_use=True))
    assert request.url == "https://business-api.tiktok.com/open_api/v1.3/event/track/"
    assert dict(request.headers)["Access-Token"] == "t0ken"
    assert json.loads(request.body) == {
        "event_source": "web",
        "event_source_id": "C1",
        "data": [
            {
                "event": "AddToCart",
                "event_time": 1_795_341_600,
                "event_id": "m-1",
                "user": {
                    "email": sha256("alice@example.com"),
                    "phone": sha256("+491511"),
                    "external_id": sha256("user-1"),
                    "ttclid": "c1",
                    "ip": "::1",
                    "user_agent": "UA",
                },
                "properties": {
                    "value": 3,
                    "currency": "EUR",
                    "content_type": "product",
                    "contents": [{"content_id": "p1", "quantity": 1, "price": 3}],
                },
                "limited_data_use": True,
                "page": {"url": "https://shop.example/?ttclid=c1"},
            }
        ],
    }


CODES: list[tuple[Any, Grade]] = [
    (0, Grade.ACCEPTED),
    (20001, Grade.NOOP),
    (40001, Grade.AUTH_BLOCKED),
    (40105, Grade.AUTH_BLOCKED),
    (40002, Grade.FAILED_FINAL),
    (40900, Grade.FAILED_FINAL),
    (40100, Grade.RATE_LIMITED),
    (40700, Grade.FAILED_RETRY),
    (50000, Grade.FAILED_RETRY),
    (51305, Grade.FAILED_RETRY),
    (None, Grade.FAILED_RETRY),
    ("0", Grade.FAILED_RETRY),
    (False, Grade.FAILED_RETRY),
]


def said(code: Any) -> Response:
    return Response(200, {}, json.dumps({"code": code, "message": "OK", "data": {}}).encode())


@pytest.mark.parametrize(("code", "grade"), CODES)
def test_http_200_says_nothing_and_the_code_everything(code: Any, grade: Grade) -> None:
    (outcome,) = tiktok.outcomes_of(said(code), (0,))
    assert outcome.grade is grade
    assert outcome.pause == (grade is Grade.AUTH_BLOCKED)


@pytest.mark.parametrize("code", [20001, 40002])
def test_which_of_several_failed_is_looked_for(code: int) -> None:
    with pytest.raises(Spoiled):
        tiktok.outcomes_of(said(code), (0, 1))


def test_another_status_is_read_as_usual() -> None:
    assert tiktok.outcomes_of(Response(502, {}, b""), (0, 1))[1].grade is Grade.FAILED_RETRY


def test_a_withdrawal() -> None:
    who = Person((), ("alice",), ("alice@example.com", "no address"), ("+49 151 1", "none"))
    rows = list(tiktok.rows_of(who))
    request = tiktok.order_request(rows, options(advertiser_ids=("1",), audience_ids=("2", "3")))
    assert request.url == "https://business-api.tiktok.com/open_api/v1.3/segment/mapping/"
    assert json.loads(request.body) == {
        "advertiser_ids": ["1"],
        "action": "delete",
        "id_schema": ["EMAIL_SHA256", "PHONE_SHA256"],
        "batch_data": [
            [{"id": sha256("alice@example.com"), "audience_ids": ["2", "3"]}, {}],
            [{}, {"id": sha256("+491511"), "audience_ids": ["2", "3"]}],
        ],
    }


def test_audiences_belong_to_advertisers() -> None:
    with pytest.raises(ValueError, match="both, or neither"):
        options(audience_ids=("2",))
