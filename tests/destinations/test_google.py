"""Access to Google: a signed claim, a token that is kept, and nothing of either shown."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import datamanager, ga4, google
from consentry.destinations.http import Unsendable
from consentry.destinations.instruction import Found, Person
from consentry.destinations.message import Attempted, Response
from consentry.destinations.named import sha256
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret

from .instructions import instruction
from .service_account import EMAIL, private_key, service_account
from .wire_server import answer, message, reset, serving

TOKEN = answer(200, b'{"access_token":"tok-1","expires_in":3599,"token_type":"Bearer"}')
SCOPE = "https://www.googleapis.com/auth/datamanager"


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


def access(url: str, key: str | None = None) -> google.Access:
    return google.Access(Secret(key or service_account()), None, f"{url}/token", SCOPE)


async def test_the_claim_is_signed_by_the_key_and_names_the_configured_place(
    client: OutboundClient,
) -> None:
    async with serving(TOKEN) as server:
        assert await google.token_for(client, access(server.url)) == "tok-1"
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        url = server.url
    assert head.startswith(b"POST /token ")
    form = parse_qs(body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    public = RSAKey.import_key(private_key().public_key())
    token = jwt.decode(form["assertion"][0], public, algorithms=["RS256"])
    assert token.header == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
    claims = token.claims
    assert claims["exp"] - claims["iat"] == 3600
    # The key file's own token_uri is not followed: the program sends where it was configured to.
    assert (claims["iss"], claims["aud"], claims["scope"]) == (EMAIL, f"{url}/token", SCOPE)


async def test_a_token_is_kept_until_it_is_refused(client: OutboundClient) -> None:
    async with serving(TOKEN) as server:
        asked = access(server.url)
        for _ in range(3):
            await google.token_for(client, asked)
        assert len(server.requests) == 1

        async def refused(token: str) -> Attempted:
            return Attempted((Outcome(Grade.AUTH_BLOCKED, 401),))

        await google.with_token(client, asked, 1, refused)
        await google.token_for(client, asked)
        assert len(server.requests) == 2


async def test_a_token_near_its_end_is_not_used(client: OutboundClient) -> None:
    short = answer(200, b'{"access_token":"tok-1","expires_in":100}')
    async with serving(short) as server:
        for _ in range(2):
            await google.token_for(client, access(server.url))
        assert len(server.requests) == 2


async def test_each_scope_has_a_token_of_its_own(client: OutboundClient) -> None:
    async with serving(TOKEN) as server:
        one = access(server.url)
        await google.token_for(client, one)
        other = google.Access(one.key, None, one.token_url, "https://www.googleapis.com/auth/x")
        await google.token_for(client, other)
        assert len(server.requests) == 2


REFUSED: dict[str, tuple[Any, Grade]] = {
    "the key was withdrawn": (answer(400, b'{"error":"invalid_grant"}'), Grade.AUTH_BLOCKED),
    "no right": (answer(403), Grade.AUTH_BLOCKED),
    "busy": (answer(429), Grade.RATE_LIMITED),
    "broken": (answer(500), Grade.FAILED_RETRY),
    "gone": (reset, Grade.FAILED_RETRY),
    "not its words": (answer(200, b"<html>"), Grade.FAILED_RETRY),
    "empty": (answer(200, b'{"access_token":"","expires_in":1}'), Grade.FAILED_RETRY),
}


@pytest.mark.parametrize(("given", "grade"), REFUSED.values(), ids=list(REFUSED))
async def test_without_a_token_nothing_is_asked_of_the_vendor(
    client: OutboundClient, given: Any, grade: Grade
) -> None:
    async def never(token: str) -> Attempted:
        raise AssertionError("there is no token")

    async with serving(given) as server:
        attempted = await google.with_token(client, access(server.url), 2, never)
    assert [outcome.grade for outcome in attempted.outcomes] == [grade, grade]


@pytest.mark.parametrize(
    "key",
    [
        "not JSON",
        "{}",
        service_account(private_key="-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----"),
        service_account(private_key=""),
    ],
    ids=["text", "empty", "broken", "none"],
)
async def test_what_is_no_key_blocks_and_is_not_shown(client: OutboundClient, key: str) -> None:
    with pytest.raises(google.NoToken) as caught:
        await google.token_for(client, access("http://127.0.0.1:1", key))
    outcome = caught.value.outcome
    assert (outcome.grade, outcome.pause) == (Grade.AUTH_BLOCKED, True)
    assert "service_account" in outcome.detail
    assert "PRIVATE" not in repr(caught.value) + outcome.detail + repr(access("http://x", key))


async def test_a_key_in_a_file(client: OutboundClient, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    async with serving(TOKEN) as server:
        from_file = google.Access(None, str(file), f"{server.url}/token", SCOPE)
        with pytest.raises(google.NoToken):
            await google.token_for(client, from_file)
        file.write_text(service_account())
        assert await google.token_for(client, from_file) == "tok-1"


# GA4's erasure


def ga4_options(url: str, **more: Any) -> ga4.Options:
    usual: dict[str, Any] = {
        "property_id": "7",
        "service_account": (Secret(service_account()),),
        "admin_url": url,
        "token_url": f"{url}/token",
    }
    stream = {} if "firebase_app_id" in more else {"measurement_id": "G-1"}
    return ga4.Options(api_secret=(Secret("s"),), **usual | stream | more)


@pytest.mark.parametrize(
    ("stream", "device"),
    [({}, "clientId"), ({"firebase_app_id": "1:2:web:3"}, "appInstanceId")],
)
async def test_every_identifier_is_deleted_by_a_call_of_its_own(
    client: OutboundClient, stream: dict[str, str], device: str
) -> None:
    done = answer(200, b'{"deletionRequestTime":"2026-11-22T10:00:00Z"}')
    order = instruction(Verb.ERASE, person=Person(("anon-1",), ("alice", "al")))
    async with serving(TOKEN, done) as server:
        attempted = await ga4.obey(client, [order], ga4_options(server.url, **stream), None)
        heads = [request.partition(b"\r\n")[0] for request in server.requests[1:]]
        bodies = [json.loads(r.rpartition(b"\r\n\r\n")[2]) for r in server.requests[1:]]
        assert all(b"Authorization: Bearer tok-1" in r for r in server.requests[1:])
    assert attempted.outcomes[0].grade is Grade.ACCEPTED
    assert set(heads) == {b"POST /v1alpha/properties/7:submitUserDeletion HTTP/1.1"}
    assert bodies == [{"userId": "alice"}, {"userId": "al"}, {device: "anon-1"}]


async def test_a_withdrawal_at_ga4_is_a_gate_and_an_erasure_without_a_key_stays_open(
    client: OutboundClient,
) -> None:
    options = ga4_options("http://127.0.0.1:1")
    withdrawn = await ga4.obey(client, [instruction(Verb.SUPPRESS)], options, None)
    assert withdrawn.outcomes[0].grade is Grade.GATED
    bare = ga4.Options(api_secret=(Secret("s"),), measurement_id="G-1")
    erased = await ga4.obey(client, [instruction(Verb.ERASE)], bare, None)
    assert erased.outcomes[0].grade is Grade.AUTH_BLOCKED


# Data Manager


def options(**more: Any) -> datamanager.Options:
    usual = {"account_id": "11", "conversion_id": "22", "audience_ids": ("33",)}
    return datamanager.Options(service_account=(Secret(service_account()),), **usual | more)


def test_a_conversion() -> None:
    traits = {"email": "A.Li.Ce@gmail.com", "phone": "+49 151 1"}
    bought = {"order_id": "o1", "value": 19, "currency": "EUR", "gclid": "g1"}
    sent = message(
        body={"event": "Order Completed", "traits": traits, "properties": bought},
        consent={"advertising": True},
    )
    request = datamanager.batch_request(
        [datamanager.item_of(sent, options(ad_personalization_category="personal"))],
        "tok",
        options(login_account_id="9"),
    )
    assert request.url == "https://datamanager.googleapis.com/v1/events:ingest"
    assert dict(request.headers)["Authorization"] == "Bearer tok"
    ads = {"accountType": "GOOGLE_ADS"}
    assert json.loads(request.body) == {
        "destinations": [
            {
                "operatingAccount": {**ads, "accountId": "11"},
                "productDestinationId": "22",
                "loginAccount": {**ads, "accountId": "9"},
            }
        ],
        "events": [
            {
                "eventTimestamp": "2026-11-22T10:00:00Z",
                "transactionId": "o1",
                "eventName": "Order Completed",
                "eventSource": "WEB",
                # Not GRANTED and DENIED, as the Measurement Protocol says it.
                "consent": {
                    "adUserData": "CONSENT_GRANTED",
                    "adPersonalization": "CONSENT_DENIED",
                },
                "userData": {
                    "userIdentifiers": [
                        {"emailAddress": sha256("a.li.ce@gmail.com")},
                        {"emailAddress": sha256("alice@gmail.com")},
                        {"phoneNumber": sha256("+491511")},
                    ]
                },
                "adIdentifiers": {"gclid": "g1"},
                "conversionValue": 19,
                "currency": "EUR",
            }
        ],
        "encoding": "HEX",
    }


def test_the_words_of_consent_are_each_vendors_own() -> None:
    event = message(consent={"advertising": True}, body={"traits": {"email": "a@b.example"}})
    there = datamanager.item_of(event, options())["consent"]
    analytics = json.loads(
        ga4.request_for(
            [event],
            ga4_options("https://www.google-analytics.com"),
            datamanager.moment_of(event),
        ).body
    )["consent"]
    assert set(there.values()) == {"CONSENT_GRANTED"}
    assert set(analytics.values()) == {"GRANTED"}


def test_a_conversion_of_nobody_is_not_sent() -> None:
    with pytest.raises(Unsendable, match="userData"):
        datamanager.item_of(message(), options())


def test_a_person_with_many_addresses_is_several_members() -> None:
    who = Person(emails=tuple(f"a{n}@example.com" for n in range(12)))
    members = [len(row["userData"]["userIdentifiers"]) for row in datamanager.rows_of(who)]
    assert members == [10, 2]


async def test_over_ten_audiences_are_several_requests(client: OutboundClient) -> None:
    taken = answer(200, b'{"requestId":"r-1"}')
    audiences = tuple(map(str, range(12)))
    async with serving(TOKEN, taken) as server:
        more: dict[str, Any] = {"base_url": server.url, "token_url": f"{server.url}/token"}
        attempted = await datamanager.obey(
            client, [instruction()], options(audience_ids=audiences, **more), None
        )
        bodies = [json.loads(r.rpartition(b"\r\n\r\n")[2]) for r in server.requests[1:]]
    assert [len(body["destinations"]) for body in bodies] == [10, 2]
    assert attempted.outcomes[0].grade is Grade.ACCEPTED
    assert attempted.outcomes[0].ref.split()[0] == "r-1"


STATES: list[tuple[list[str], Found]] = [
    (["SUCCESS", "SUCCESS"], Found.EQUAL),
    (["SUCCESS", "PROCESSING"], Found.PENDING),
    (["SUCCESS", "FAILED"], Found.DIFFERENT),
    (["PARTIAL_SUCCESS"], Found.DIFFERENT),
    (["REQUEST_STATUS_UNKNOWN", "SUCCESS"], Found.UNKNOWN),
    ([], Found.UNKNOWN),
]


@pytest.mark.parametrize(("states", "found"), STATES)
def test_the_worst_audience_counts(states: list[str], found: Found) -> None:
    each = [{"requestStatus": state} for state in states]
    body = json.dumps({"requestStatusPerDestination": each}).encode()
    assert datamanager.read(Response(200, {}, body)).found is found


def test_googles_reasons_are_told() -> None:
    reason = "PROCESSING_ERROR_REASON_DENIED_CONSENT"
    counts = {"errorCounts": [{"recordCount": "1", "reason": reason}]}
    each = [{"requestStatus": "FAILED", "errorInfo": counts}]
    body = json.dumps({"requestStatusPerDestination": each}).encode()
    assert reason in datamanager.read(Response(200, {}, body)).detail
