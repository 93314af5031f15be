"""The consent API: choices, withdrawal, subjects, suppression and imports (spec/api.md)."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

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
    message,
    proof,
    send,
    state,
    states,
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


# -- everything -----------------------------------------------------------------------------------
def exported(acme: Server, subject: dict[str, str]) -> list[dict[str, Any]]:
    answer = call(acme.base, "POST", "/v1/subjects/export", {"subject": subject}, key=BACKEND_KEY)
    assert answer.status == 200
    return [json.loads(line) for line in answer.body.splitlines()]


def test_everything_known_of_a_person_is_in_one_export(acme: Server) -> None:
    device, user, email = fresh("dev"), fresh("user"), f"{fresh('ada')}@example.com"
    chosen = choose(acme, {"anonymousId": device}, {"analytics": True}).json["recordId"]
    send(acme, message("identify", anonymousId=device, userId=user, traits={"email": email}))
    bought = message(anonymousId=device, userId=user, properties={"title": "a book"})
    send(acme, bought)
    choose(acme, {"anonymousId": fresh("dev")}, {"analytics": True})  # somebody else
    withdrawn = call(
        acme.base,
        "POST",
        "/v1/consent/withdraw",
        {"subject": {"userId": user}},
        key=BACKEND_KEY,
    ).json
    lines = exported(acme, {"userId": user})
    subject, end = lines[0], lines[-1]
    assert subject["kind"] == "subject"
    assert subject["identifiers"]["userIds"] == [user]
    assert (subject["identifiers"]["anonymousIds"], subject["identifiers"]["emails"]) == (
        [device],
        [email],
    )
    assert subject["preferences"]["analytics"]["state"] == "denied"
    records = [line["recordId"] for line in lines if line["kind"] == "record"]
    assert {chosen, withdrawn["recordId"]} <= set(records)
    assert len(records) == len(set(records))
    orders = [line for line in lines if line["kind"] == "order"]
    assert {order["orderId"] for order in orders} >= set(withdrawn["orders"])
    events = {line["messageId"]: line for line in lines if line["kind"] == "event"}
    assert events[bought["messageId"]]["message"]["properties"] == {"title": "a book"}
    counts = {k: sum(line["kind"] == k for line in lines) for k in end["counts"]}
    assert (end["kind"], end["counts"], end["leftOut"]) == ("end", counts, 0)


def test_what_names_another_account_of_a_shared_device_is_not_exported(acme: Server) -> None:
    device, mine, other = fresh("dev"), fresh("user"), fresh("user")
    for user in (mine, other):
        send(acme, message("identify", anonymousId=device, userId=user))
    theirs = message(anonymousId=device, userId=other, properties={"title": "a secret"})
    whose = message(anonymousId=device, properties={"title": "nobody was signed in"})
    choose(acme, {"anonymousId": device}, {"analytics": True})
    for event in (theirs, whose):
        send(acme, event)
    lines = exported(acme, {"userId": mine})
    assert other not in json.dumps(lines)
    assert "a secret" not in json.dumps(lines)
    assert "nobody was signed in" not in json.dumps(lines)
    assert lines[-1]["leftOut"] >= 3
    named = json.dumps(exported(acme, {"userId": mine, "anonymousId": device}))
    assert other not in named
    assert "nobody was signed in" in named


def test_only_servers_may_export(acme: Server) -> None:
    body = {"subject": {"anonymousId": fresh("dev")}, "writeKey": WRITE_KEY}
    assert call(acme.base, "POST", "/v1/subjects/export", body).status in (401, 403)
    assert call(acme.base, "POST", "/v1/subjects/export", body, basic=WRITE_KEY).status == 403
    nobody = exported(acme, {"userId": fresh("user")})
    assert [line["kind"] for line in nobody] == ["subject", "end"]


# -- reading --------------------------------------------------------------------------------------
def read(acme: Server, who: str, **more: Any) -> Answer:
    return call(acme.base, "GET", f"/v1/subjects/{who}", **more)


def test_what_a_public_key_may_read(acme: Server) -> None:
    device, user = fresh("dev"), fresh("user")
    choose(acme, {"anonymousId": device, "userId": user}, {"analytics": True})
    send(acme, message("identify", anonymousId=device, userId=user))
    own = read(acme, f"anonymous_id:{device}", basic=WRITE_KEY)
    assert own.status == 200
    assert own.json["subject"] == {"anonymousIds": [device], "userId": None}
    known, unknown = (read(acme, f"user_id:{u}", basic=WRITE_KEY) for u in (user, fresh("user")))
    assert (known.status, known.body) == (403, unknown.body)  # whether it exists or not
    for subject in ({"email": "a@example.com"}, {"anonymousId": device, "userId": user}):
        body = {"subject": subject, "writeKey": WRITE_KEY}
        assert call(acme.base, "POST", "/v1/subjects/lookup", body).status == 403
    proven = read(acme, f"user_id:{user}", basic=WRITE_KEY, headers=proof(user))
    assert (proven.status, proven.json["subject"]["userId"]) == (200, user)
    assert read(acme, f"user_id:{user}").status == 401
    full = read(acme, f"user_id:{user}", key=BACKEND_KEY)
    assert full.json["subject"] == {"anonymousIds": [device], "userId": user}


@pytest.mark.parametrize("key", [WRITE_KEY, BACKEND_KEY, ADMIN_KEY])
def test_a_subject_never_seen_looks_like_any_other(acme: Server, key: str) -> None:
    device = fresh("dev")
    answer = read(acme, f"anonymous_id:{device}?history=true", key=key)
    assert answer.status == 200
    assert answer.json == {
        "subject": {"anonymousIds": [device], "userId": None},
        "preferences": answer.json["preferences"],
        "topics": answer.json["topics"],
        "channels": answer.json["channels"],
        "signals": {},
        "suppressed": False,
        "history": [],
        "next": None,
    }
    assert state(answer.json["preferences"]) == UNKNOWN
    assert state(answer.json["topics"]["news"], "sms") == UNKNOWN


def test_linking_a_device_to_somebody_tells_nothing_of_them(acme: Server) -> None:
    """Anybody may say that a device is somebody's; the answer must be as if it were not."""
    answers = []
    for user in (fresh("victim"), fresh("nobody")):
        if user.startswith("victim"):
            choose(acme, {"userId": user}, {"analytics": True, "advertising": False})
        device = fresh("device")
        send(acme, message("identify", anonymousId=device, userId=user))
        answer = call(
            acme.base, "GET", f"/v1/subjects/anonymous_id:{device}?history=true", basic=WRITE_KEY
        )
        said = choose(acme, {"anonymousId": device}, {"unheard": True}, key=WRITE_KEY)
        answers.append(
            (answer.json["preferences"], answer.json["suppressed"], said.json["preferences"])
        )

    assert answers[0] == answers[1]


def test_identifiers_may_hold_anything(acme: Server) -> None:
    for device in ("a/b?c=d", "ü:x y", "50%25"):
        choose(acme, {"anonymousId": device}, {"analytics": True})
        found = read(acme, f"anonymous_id:{quote(device, safe='')}", basic=WRITE_KEY).json
        assert found["subject"]["anonymousIds"] == [device]
        assert state(found["preferences"]) == GRANTED


def test_e_mail_and_phone_are_the_same_however_they_are_written(acme: Server) -> None:
    name = fresh("ann")
    withdraw(acme, {"email": f" {name}@Example.COM"})
    assert state(lookup(acme, {"email": f"{name}@example.com"})["preferences"]) == DENIED
    withdraw(acme, {"phone": "+49 (30) 1234-567"})
    assert state(lookup(acme, {"phone": "+49301234567"})["preferences"]) == DENIED


def test_history_has_every_entry_page_by_page(acme: Server) -> None:
    subject = {"anonymousId": fresh("dev")}
    made = [choose(acme, subject, {"analytics": n % 2 == 0}).json["recordId"] for n in range(103)]
    first = lookup(acme, subject, history=True)
    assert len(first["history"]) == 100
    rest = lookup(acme, subject, history=True, cursor=first["next"])
    assert rest["next"] is None
    whole = [*first["history"], *rest["history"]]
    assert [r["recordId"] for r in whole] == made[::-1]
    newest = whole[0]
    assert (newest["type"], newest["source"]) == ("choice", "backend")
    assert (newest["before"], newest["after"]) == (
        {"analytics": "denied"},
        {"analytics": "granted"},
    )
    assert newest["leafIndex"] == newest["seq"]
    assert all(a["seq"] > b["seq"] for a, b in itertools.pairwise(whole))


def test_the_notice_that_was_shown_is_archived_by_its_hash(acme: Server) -> None:
    text = f"We use cookies. {fresh('notice')} \u2603"
    digest = hashlib.sha256(text.encode()).hexdigest()
    subject = {"anonymousId": fresh("dev")}
    evidence = {
        "action": "accept_all",
        "surface": "banner",
        "noticeId": "n1",
        "noticeVersion": "3",
        "noticeHash": digest,
        "noticeText": text,
        "language": "de",
        "page": "https://shop.example/",
        "sdkVersion": "1.0",
    }
    assert choose(acme, subject, BOTH, evidence=evidence).status == 201
    archived = acme.admin("GET", f"/v1/notices/{digest}")
    assert (archived.status, archived.body.decode()) == (200, text)
    kept = lookup(acme, subject, history=True)["history"][0]["evidence"]
    said = {name: value for name, value in evidence.items() if name != "noticeText"}
    page = "https://shop.example/"
    assert kept == {**said, "page": page, "noticeKnown": False, "noticeBy": "sender"}
    assert acme.admin("GET", f"/v1/notices/{'0' * 64}").status == 404


# -- signals --------------------------------------------------------------------------------------
def test_a_signal_is_recorded_when_it_appears_not_when_it_repeats(acme: Server) -> None:
    device = fresh("dev")
    here, gone = {"Sec-GPC": "1", "Origin": "https://a.example"}, {"Origin": "https://a.example"}

    def visit(headers: dict[str, str]) -> Any:
        send(acme, message("page", anonymousId=device), headers=headers)
        return lookup(acme, {"anonymousId": device}, history=True)

    first = visit(here)
    assert first["signals"]["gpc"]["covers"] == ["advertising"]
    assert state(first["preferences"], "advertising")[1:] == ("denied", "signal")
    assert state(first["preferences"])[2] == "never_collected"  # not covered
    again = visit(here)
    assert again["signals"] == first["signals"]
    assert len(again["history"]) == 1
    absent = visit(gone)
    assert absent["preferences"]["advertising"]["effective"] == "denied"  # absence is no consent
    chosen = choose(acme, {"anonymousId": device}, BOTH, key=WRITE_KEY).json["preferences"]
    assert state(chosen, "advertising") == GRANTED  # a later choice outweighs it
    back = visit(here)
    assert back["signals"]["gpc"]["firstSeenAt"] > first["signals"]["gpc"]["firstSeenAt"]
    assert state(back["preferences"], "advertising")[1:] == ("denied", "signal")
    assert [r["type"] for r in back["history"]] == ["signal", "choice", "signal", "signal"]


@pytest.mark.parametrize("value", ["0", "true", "11", ""])
def test_only_1_is_a_signal(acme: Server, value: str) -> None:
    device = fresh("dev")
    send(acme, message("page", anonymousId=device), headers={"Sec-GPC": value})
    assert lookup(acme, {"anonymousId": device})["signals"] == {}


def test_a_server_source_speaks_for_no_browser(acme: Server) -> None:
    device = fresh("dev")
    one = message("page", anonymousId=device)
    send(acme, one, key=BACKEND_KEY, headers={"Sec-GPC": "1"})
    assert lookup(acme, {"anonymousId": device})["signals"] == {}


# -- suppression ----------------------------------------------------------------------------------
def suppress(
    acme: Server, subject: dict[str, str], *, on: bool = True, key: str = ADMIN_KEY
) -> Any:
    path = "/v1/subjects/suppress" if on else "/v1/subjects/unsuppress"
    return call(acme.base, "POST", path, {"subject": subject, "reason": "asked"}, key=key)


def test_events_of_the_suppressed_are_not_stored(acme: Server, vendors: StandIn) -> None:
    device, user, email = fresh("dev"), fresh("user"), f"{fresh('e')}@example.com"
    choose(acme, {"anonymousId": device, "userId": user}, BOTH)
    identify = message("identify", anonymousId=device, userId=user, traits={"email": email})
    send(acme, identify)
    answer = suppress(acme, {"email": email}, key=BACKEND_KEY)
    assert (answer.status, answer.json["suppressed"]) == (200, True)
    # by any identifier that is linked to it
    ids: list[dict[str, Any]] = [{"anonymousId": device}, {"anonymousId": None, "userId": user}]
    for who in ids:
        one = message(stamp=BOTH, **who)
        send(acme, one)
        assert acme.admin("GET", f"/v1/events/{one['messageId']}").status == 404
    found = lookup(acme, {"userId": user})
    assert found["suppressed"] is True
    assert found["preferences"]["analytics"]["effective"] == "denied"
    decided = decide(acme, {"event": message(stamp=BOTH, anonymousId=device)})
    assert {d["reason"] for d in decided.values()} == {"suppressed"}
    listed = acme.admin("GET", "/v1/suppressions").json["suppressions"]
    assert {"email": email} in [s["subject"] for s in listed]
    assert (
        next(s for s in listed if s["subject"] == {"email": email})["recordId"]
        == (answer.json["recordId"])
    )


def test_after_unsuppressing_earlier_grants_were_never_collected(acme: Server) -> None:
    subject = {"anonymousId": fresh("dev")}
    choose(acme, subject, BOTH)
    suppress(acme, subject)
    answer = suppress(acme, subject, on=False)
    assert (answer.status, answer.json["suppressed"]) == (200, False)
    found = lookup(acme, subject, history=True)
    assert (found["suppressed"], state(found["preferences"])) == (False, UNKNOWN)
    assert [r["type"] for r in found["history"]] == ["unsuppress", "suppress", "choice"]
    one = message(**subject)
    send(acme, one)
    assert set(states(acme, one["messageId"]).values()) == {"withheld"}
    choose(acme, subject, BOTH)
    assert state(lookup(acme, subject)["preferences"]) == GRANTED


def test_public_keys_suppress_nobody(acme: Server) -> None:
    assert suppress(acme, {"anonymousId": fresh("dev")}, key=WRITE_KEY).status == 403
    assert suppress(acme, {"anonymousId": fresh("dev")}, key="wk_nobody").status == 401
    for key, status in ((WRITE_KEY, 403), (BACKEND_KEY, 403), (ADMIN_KEY, 200)):
        assert call(acme.base, "GET", "/v1/suppressions", key=key).status == status


def test_suppressions_page_by_page(acme: Server) -> None:
    for _ in range(101):
        suppress(acme, {"anonymousId": fresh("gone")})
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        page = acme.admin("GET", f"/v1/suppressions{cursor and f'?cursor={cursor}'}").json
        seen += [dumped(s["subject"]) for s in page["suppressions"]]
        cursor, pages = page["next"], pages + 1
    assert pages >= 2
    assert len(seen) == len(set(seen)) >= 101


# -- imports --------------------------------------------------------------------------------------
def bring(acme: Server, *choices: Any, key: str = ADMIN_KEY) -> Answer:
    return call(acme.base, "POST", "/v1/imports", {"choices": choices}, key=key)


def test_imports(acme: Server) -> None:
    new, known, dateless = ({"userId": fresh("user")} for _ in range(3))
    withdraw(acme, known)
    when = "2026-01-02T03:04:05Z"
    answer = bring(
        acme,
        {"subject": new, "preferences": {"analytics": True}, "timestamp": when, "key": fresh("k")},
        {"subject": known, "preferences": BOTH, "timestamp": when},
        {"subject": dateless, "preferences": BOTH},
        {"subject": {}, "preferences": BOTH},
        {"subject": new, "preferences": BOTH, "colour": "blue"},
        7,
    )
    assert answer.status == 200
    assert (answer.json["recorded"], answer.json["repeated"]) == (3, 0)
    assert [(r["index"], r["code"]) for r in answer.json["rejected"]] == [
        (3, "missing_id"),
        (4, "invalid_body"),
        (5, "invalid_body"),
    ]
    found = lookup(acme, new, history=True)
    assert state(found["preferences"]) == GRANTED
    assert found["preferences"]["analytics"]["at"].startswith("2026-01-02T03:04:05")
    assert found["history"][0]["type"] == "import"
    assert state(lookup(acme, known)["preferences"]) == DENIED
    assert state(lookup(acme, dateless)["preferences"])[1:] == ("denied", "expired")


def test_an_import_that_is_repeated_is_recorded_once(acme: Server) -> None:
    one = {"subject": {"userId": fresh("user")}, "preferences": BOTH, "key": fresh("key")}
    assert bring(acme, one).json["recorded"] == 1
    again = bring(acme, one, {**one, "preferences": NEITHER}).json
    assert (again["recorded"], again["repeated"]) == (0, 1)
    assert [r["code"] for r in again["rejected"]] == ["key_reused"]


def test_only_the_operator_imports(acme: Server) -> None:
    for key in (WRITE_KEY, BACKEND_KEY):
        assert bring(acme, key=key).status == 403
