"""The consent API: choices, withdrawal, subjects, suppression and imports (spec/api.md)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.asking import (
    BOTH,
    DENIED,
    GRANTED,
    NEITHER,
    UNKNOWN,
    acme_with,
    choose,
    decide,
    dumped,
    fresh,
    lookup,
    proof,
    send,
    state,
    token,
    update,
    withdraw,
)
from tests.running import (
    ADMIN_KEY,
    BACKEND_KEY,
    WRITE_KEY,
    Answer,
    Server,
    StandIn,
    call,
)

TOPICS = '[[topic]]\nid = "news"\nname = "News"\nchannels = ["email", "sms"]\n'


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    """As usual, with a topic and another public source."""
    more = TOPICS + '[[source]]\nname = "other"\nwrite_key = "wk_other"\n'
    with acme_with(tmp_path_factory.mktemp("acme"), vendors.base, more=more) as running:
        yield running


# -- choices --------------------------------------------------------------------------------------
def test_a_choice_is_answered_with_what_it_came_to(acme: Server) -> None:
    subject = {"anonymousId": fresh("dev")}
    answer = choose(acme, subject, {"analytics": True}, key=WRITE_KEY)
    assert answer.status == 201, answer.body
    reply = answer.json
    assert reply.keys() >= {"recordId", "seq", "receivedAt", "preferences", "unverified", "orders"}
    assert state(reply["preferences"]) == GRANTED
    assert reply["preferences"]["analytics"]["recordId"] == reply["recordId"]
    assert state(reply["preferences"], "advertising") == UNKNOWN
    assert reply["preferences"]["advertising"]["recordId"] is None
    assert (reply["unverified"], reply["orders"]) == ([], [])
    later = choose(acme, subject, {"advertising": False}).json
    assert later["seq"] > reply["seq"]  # what an order came to may lie between
    assert state(later["preferences"]) == GRANTED  # not named, so unchanged
    assert state(later["preferences"], "advertising") == DENIED


def test_topics_are_chosen_per_channel(acme: Server) -> None:
    subject = {"email": f"{fresh('a')}@example.com"}
    answer = choose(acme, subject, {}, topics={"news": {"email": True, "sms": False}})
    assert answer.status == 201, answer.body
    topics = lookup(acme, subject)["topics"]["news"]
    assert state(topics, "email") == GRANTED
    assert state(topics, "sms") == DENIED
    left = withdraw(acme, subject, topics={"news": {"email": True}}).json["topics"]["news"]
    assert state(left, "email") == DENIED


def test_withdrawing_takes_back_what_is_named(acme: Server) -> None:
    subject = {"anonymousId": fresh("dev")}
    choose(acme, subject, BOTH)
    answer = withdraw(acme, subject, categories=["advertising"])
    assert answer.status == 201
    assert state(answer.json["preferences"]) == GRANTED
    assert state(answer.json["preferences"], "advertising") == DENIED


def test_withdrawing_without_names_takes_back_everything(acme: Server) -> None:
    subject = {"anonymousId": fresh("dev")}
    choose(acme, subject, BOTH, topics={"news": {"email": True}})
    found = withdraw(acme, subject).json
    assert state(found["preferences"]) == state(found["preferences"], "advertising") == DENIED
    assert state(found["topics"]["news"], "email") == DENIED


def test_a_grant_made_before_the_latest_denial_lifts_nothing(acme: Server) -> None:
    subject = {"anonymousId": fresh("dev")}
    withdraw(acme, subject)
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    late = choose(acme, subject, BOTH, key=WRITE_KEY, timestamp=hour_ago)
    assert state(late.json["preferences"]) == DENIED
    ahead = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert state(choose(acme, subject, BOTH, timestamp=ahead).json["preferences"]) == DENIED
    assert state(choose(acme, subject, BOTH).json["preferences"]) == GRANTED


def test_a_preference_update_states_every_category(acme: Server) -> None:
    device = fresh("dev")
    choose(acme, {"anonymousId": device}, BOTH)
    send(acme, update({"analytics": True}, anonymousId=device))
    found = lookup(acme, {"anonymousId": device})["preferences"]
    assert state(found) == GRANTED
    assert state(found, "advertising") == ("denied", "denied", "missing")


REFUSED: dict[str, tuple[Any, str, str | None]] = {
    # name: (body, code, field)
    "an unknown member": (
        {"subject": {"anonymousId": "d"}, "preferences": {}, "preference": {}},
        "invalid_body",
        None,
    ),
    "an unknown member of the subject": (
        {"subject": {"anonymousID": "d"}, "preferences": {"analytics": False}},
        "invalid_body",
        "subject",
    ),
    "an unknown member of the evidence": (
        {
            "subject": {"anonymousId": "d"},
            "preferences": {"analytics": False},
            "evidence": {"who": "x"},
        },
        "invalid_body",
        "evidence",
    ),
    "an action that there is not": (
        {
            "subject": {"anonymousId": "d"},
            "preferences": {"analytics": False},
            "evidence": {"action": "guess"},
        },
        "invalid_body",
        "evidence.action",
    ),
    "no subject": ({"preferences": {"analytics": True}}, "invalid_body", None),
    "nobody": ({"subject": {}, "preferences": {"analytics": True}}, "missing_id", "subject"),
    "no preferences": ({"subject": {"anonymousId": "d"}}, "invalid_body", None),
    "nothing chosen": (
        {"subject": {"anonymousId": "d"}, "preferences": {}},
        "empty_choice",
        "preferences",
    ),
    "a preference that is text": (
        {"subject": {"anonymousId": "d"}, "preferences": {"analytics": "true"}},
        "invalid_body",
        "preferences[...]",
    ),
    "a number as id": (
        {"subject": {"anonymousId": 7}, "preferences": {"analytics": True}},
        "invalid_body",
        "subject.anonymousId",
    ),
    "no e-mail": (
        {"subject": {"email": "nobody"}, "preferences": {"analytics": True}},
        "invalid_type",
        "subject.email",
    ),
    "no phone": (
        {"subject": {"phone": "12"}, "preferences": {"analytics": True}},
        "invalid_type",
        "subject.phone",
    ),
    "no time": (
        {"subject": {"anonymousId": "d"}, "preferences": {"analytics": True}, "timestamp": "now"},
        "invalid_time",
        "timestamp",
    ),
    "half of an emoji": (
        b'{"subject": {"anonymousId": "\\ud83d"}, "preferences": {"analytics": true}}',
        "invalid_value",
        None,
    ),
    "a repeated key": (
        b'{"subject": {"anonymousId": "d"}, "preferences": {"analytics": false, "analytics": true}}',
        "repeated_member",
        None,
    ),
    "another notice than its hash": (
        {
            "subject": {"anonymousId": "d"},
            "preferences": {"analytics": True},
            "evidence": {"noticeText": "x", "noticeHash": "0" * 64},
        },
        "notice_mismatch",
        "evidence.noticeHash",
    ),
    "an object": (b"[]", "invalid_json", None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_choices(acme: Server, case: str) -> None:
    body, code, field = REFUSED[case]
    answer = call(acme.base, "POST", "/v1/consent", body, basic=WRITE_KEY)
    assert (answer.status, answer.json["code"], answer.json.get("field")) == (400, code, field)


@pytest.mark.parametrize("body", [{"categories": []}, {"topics": {}}, {"category": "analytics"}])
def test_refused_withdrawals(acme: Server, body: dict[str, Any]) -> None:
    assert withdraw(acme, {"anonymousId": fresh("dev")}, **body).status == 400


def test_a_page_that_closes_sends_its_choice_as_a_beacon(acme: Server) -> None:
    subject = {"anonymousId": fresh("dev")}
    plain = {"Content-Type": "text/plain;charset=UTF-8"}
    body = {"subject": subject, "preferences": BOTH, "writeKey": WRITE_KEY}
    assert call(acme.base, "POST", "/v1/consent", body, headers=plain).status == 201
    body = {"subject": subject, "writeKey": WRITE_KEY}
    answer = call(acme.base, "POST", "/v1/consent/withdraw", body, headers=plain)
    assert (answer.status, state(answer.json["preferences"])) == (201, DENIED)


KEYS: dict[str, tuple[dict[str, Any], int]] = {
    "none": ({}, 401),
    "unknown": ({"key": "wk_nobody"}, 401),
    "two that differ": ({"key": BACKEND_KEY, "body": WRITE_KEY}, 400),
    "public": ({"key": WRITE_KEY}, 201),
    "secret": ({"key": BACKEND_KEY}, 201),
    "the operator's": ({"key": ADMIN_KEY}, 201),
}


@pytest.mark.parametrize("case", KEYS)
def test_who_may_choose(acme: Server, case: str) -> None:
    found, status = KEYS[case]
    body: dict[str, Any] = {"subject": {"anonymousId": fresh("dev")}, "preferences": BOTH}
    if "body" in found:
        body["writeKey"] = found["body"]
    answer = call(acme.base, "POST", "/v1/consent", body, key=found.get("key"))
    assert answer.status == status, answer.body


# -- once -----------------------------------------------------------------------------------------
def once(acme: Server, key: str, subject: dict[str, str], said: dict[str, bool]) -> Answer:
    return choose(acme, subject, said, key=WRITE_KEY, headers={"Idempotency-Key": key})


def test_the_same_key_and_body_get_the_same_reply(acme: Server) -> None:
    subject, key = {"anonymousId": fresh("dev")}, fresh("key")
    first = once(acme, key, subject, BOTH)
    withdraw(acme, subject)
    again = once(acme, key, subject, BOTH)
    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json
    assert state(lookup(acme, subject)["preferences"]) == DENIED  # the repetition grants nothing
    other = once(acme, key, subject, NEITHER)
    assert (other.status, other.json["code"]) == (409, "key_reused")


def test_a_key_belongs_to_its_door_and_path(acme: Server) -> None:
    subject, key = {"anonymousId": fresh("dev")}, fresh("key")
    header = {"Idempotency-Key": key}
    assert choose(acme, subject, BOTH, key=WRITE_KEY, headers=header).status == 201
    assert choose(acme, subject, BOTH, key=BACKEND_KEY, headers=header).status == 201
    body = {"subject": subject}
    path = "/v1/consent/withdraw"
    assert call(acme.base, "POST", path, body, key=WRITE_KEY, headers=header).status == 409


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_keys_that_are_none(acme: Server, key: str) -> None:
    assert once(acme, key, {"anonymousId": fresh("dev")}, BOTH).status == 400


def test_of_many_at_once_one_is_recorded(acme: Server) -> None:
    subject, key = {"anonymousId": fresh("dev")}, fresh("key")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: once(acme, key, subject, BOTH), range(16)))
    assert sorted(a.status for a in answers) == [200] * 15 + [201]
    assert len({a.body for a in answers}) == 1
    assert len(lookup(acme, subject, history=True)["history"]) == 1


# -- who may grant --------------------------------------------------------------------------------
def test_a_public_key_grants_for_its_device_alone(acme: Server) -> None:
    device, user = {"anonymousId": fresh("dev")}, {"userId": fresh("user")}
    answer = choose(acme, {**device, **user}, BOTH, key=WRITE_KEY)
    assert answer.json["unverified"] == ["advertising", "analytics"]
    assert state(lookup(acme, device)["preferences"]) == GRANTED
    assert state(lookup(acme, user)["preferences"])[:2] == ("never_collected", "denied")
    alone = choose(acme, user, BOTH, key=WRITE_KEY)
    assert alone.json["unverified"] == ["advertising", "analytics"]
    assert alone.json["preferences"]["analytics"]["effective"] == "denied"


@pytest.mark.parametrize("member", ["userId", "email"])
@pytest.mark.parametrize("said", [{"zzz": True}, {"advertising": True}, {"advertising": False}])
def test_a_public_key_learns_nothing_of_others_by_choosing_for_them(
    acme: Server, member: str, said: dict[str, bool]
) -> None:
    victim, nobody = ({member: f"{fresh('v')}@example.com"} for _ in range(2))
    choose(acme, victim, {"analytics": True}, topics={"news": {"email": True, "sms": False}})
    known, unknown = (
        [
            choose(acme, subject, said, key=WRITE_KEY).json,
            withdraw(acme, subject, key=WRITE_KEY, categories=["advertising"]).json,
        ]
        for subject in (victim, nobody)
    )
    assert [plain(reply) for reply in known] == [plain(reply) for reply in unknown]
    assert state(known[0]["preferences"]) == UNKNOWN
    found = known[1]["preferences"]["advertising"]
    assert (found["recordId"], found["at"]) == (known[1]["recordId"], known[1]["receivedAt"])
    assert state(known[1]["preferences"], "advertising") == DENIED


def plain(reply: dict[str, Any]) -> Any:
    """What a reply says, without what is of this one request."""
    return [
        {key: (found["state"], found["effective"], found["why"]) for key, found in part.items()}
        for part in (reply["preferences"], reply["topics"]["news"])
    ]


def test_beside_an_account_a_public_key_is_told_of_its_device(acme: Server) -> None:
    device, victim = {"anonymousId": fresh("dev")}, {"userId": fresh("user")}
    choose(acme, victim, NEITHER)
    choose(acme, device, {"advertising": True}, key=WRITE_KEY)
    reply = choose(acme, {**device, **victim}, {"analytics": True}, key=WRITE_KEY).json
    assert state(reply["preferences"]) == GRANTED
    assert state(reply["preferences"], "advertising") == GRANTED
    assert reply["unverified"] == ["analytics"]


def test_a_repetition_without_the_token_learns_nothing(acme: Server) -> None:
    user, key = fresh("user"), {"Idempotency-Key": fresh("key")}
    choose(acme, {"userId": user}, {"analytics": True})
    said = {"userId": user}, {"advertising": True}
    first = choose(acme, *said, key=WRITE_KEY, headers={**key, **proof(user)})
    assert state(first.json["preferences"]) == GRANTED
    bare, proven = (
        choose(acme, *said, key=WRITE_KEY, headers={**key, **more}) for more in ({}, proof(user))
    )
    assert (bare.status, proven.status) == (200, 200)
    assert proven.json == first.json
    assert state(bare.json["preferences"]) == UNKNOWN
    assert state(bare.json["preferences"], "advertising")[:2] == ("never_collected", "denied")


def test_a_public_key_may_deny_for_an_account(acme: Server) -> None:
    user = {"userId": fresh("user")}
    choose(acme, user, BOTH)
    assert state(withdraw(acme, user, key=WRITE_KEY).json["preferences"]) == DENIED
    assert state(lookup(acme, user)["preferences"]) == DENIED


HOUR = 3600
TOKENS: dict[str, tuple[dict[str, Any], bool]] = {
    "good": ({}, True),
    "as long as it may live": ({"exp": HOUR}, True),
    "expired": ({"iat": -1200, "exp": -600}, False),
    "lives too long": ({"exp": HOUR + 1}, False),
    "of the future": ({"iat": 600, "exp": 1200}, False),
    "for another source": ({"aud": "backend"}, False),
    "of another type": ({"typ": "preferences"}, False),
    "without a type": ({"typ": None}, False),
    "without an end": ({"exp": None}, False),
    "without a beginning": ({"iat": None}, False),
    "for another user": ({"sub": "somebody-else"}, False),
    "without a user": ({"sub": None}, False),
    "signed by somebody else": ({"secret": "another-0123456789-0123456789-012345"}, False),
}


@pytest.mark.parametrize("case", TOKENS)
def test_subject_tokens(acme: Server, case: str) -> None:
    claims, good = TOKENS[case]
    now = int(time.time())
    claims = {
        name: now + value if name in ("iat", "exp") and value is not None else value
        for name, value in {"iat": 0, **claims}.items()
    }
    user = fresh("user")
    headers = proof(user, **claims)
    answer = choose(acme, {"userId": user}, BOTH, key=WRITE_KEY, headers=headers)
    assert answer.status == 201
    found = lookup(acme, {"userId": user})["preferences"]
    assert answer.json["unverified"] == ([] if good else ["advertising", "analytics"])
    assert (state(found) == GRANTED) is good
    seen = call(acme.base, "GET", f"/v1/subjects/user_id:{user}", key=WRITE_KEY, headers=headers)
    assert seen.status == (200 if good else 403)


@pytest.mark.parametrize("text", ["x", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_token_proves_nothing(acme: Server, text: str) -> None:
    user = fresh("user")
    headers = {"Consentry-Subject-Token": text}
    answer = choose(acme, {"userId": user}, BOTH, key=WRITE_KEY, headers=headers)
    assert answer.json["unverified"] == ["advertising", "analytics"]


def test_a_token_is_good_for_events_too(acme: Server) -> None:
    user = fresh("user")
    one = update(BOTH, userId=user)
    send(acme, one, headers=proof(user))
    assert state(lookup(acme, {"userId": user})["preferences"]) == GRANTED
    stored = dumped(lookup(acme, {"userId": user}, history=True))
    assert token(user).split(".")[0] not in stored


def test_taken_as_given_a_grant_by_a_public_key_is_told_and_holds(
    tmp_path: Path, vendors: StandIn
) -> None:
    """What the reply says is what the gate does."""
    with acme_with(tmp_path, vendors.base, workspace='account_choices = "as_given"') as loose:
        user = fresh("user")
        reply = choose(loose, {"userId": user}, {"analytics": True}, key=WRITE_KEY).json
        allowed = decide(loose, {"subject": {"userId": user}})["warehouse"]["decision"]

    assert reply["preferences"]["analytics"]["effective"] == "granted"
    assert reply["unverified"] == []
    assert allowed == "allow"


def test_a_category_that_the_workspace_lacks_is_named_in_the_reply(acme: Server) -> None:
    subject = {"anonymousId": fresh("device")}
    before = acme.admin("GET", "/metrics").body
    reply = choose(acme, subject, {"analytics": True, "advertisng": False}).json

    assert reply["unknown"] == ["advertisng"]
    assert acme.admin("GET", "/metrics").body != before


def test_a_grant_whose_time_cannot_be_true_is_unverified(acme: Server) -> None:
    subject = {"anonymousId": fresh("device")}
    reply = choose(acme, subject, {"analytics": True}, timestamp="2199-01-01T00:00:00Z").json

    assert reply["preferences"]["analytics"]["why"] == "unverified"
    assert reply["unverified"] == ["analytics"]
