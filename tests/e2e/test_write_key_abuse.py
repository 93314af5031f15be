"""What somebody can do who has read the write key in the page, as everybody can."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.e2e.asking import (
    BOTH,
    NEITHER,
    acme_with,
    choose,
    fresh,
    hook,
    logged,
    lookup,
    message,
    proof,
    send,
    states,
    token,
    update,
    withdraw,
)
from tests.running import (
    ADMIN_KEY,
    BACKEND_KEY,
    TOKEN_SECRET,
    WRITE_KEY,
    Answer,
    Server,
    StandIn,
    call,
)

OTHER = '[[source]]\nname = "other"\nwrite_key = "wk_other"\nsubject_token_secret = "env:TOKEN_SECRET"\n'
TOKEN = "Consentry-Subject-Token"


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    """As usual, with another public source."""
    with acme_with(tmp_path_factory.mktemp("acme"), vendors.base, more=OTHER) as running:
        yield running


# -- grants for somebody's account ----------------------------------------------------------------
def by_header(head: Any, claims: dict[str, Any], secret: str) -> str:
    """A token whose head says what it likes."""
    now = int(time.time())
    told = {"typ": "subject", "aud": "website", "iat": now, "exp": now + 600, **claims}
    signed = jwt.encode({"alg": "HS256"}, told, OctKey.import_key(secret))
    _, payload, signature = signed.split(".")
    first = jwt.encode({"alg": "HS256", **head}, told, OctKey.import_key(secret)).split(".")[0]
    return ".".join((first, payload, signature))


def alg_none(user: str) -> str:
    _, payload, _ = token(user).split(".")
    return f"eyJhbGciOiJub25lIn0.{payload}."


PUBLIC_TEXT = WRITE_KEY.ljust(32, "_")
BAD_TOKENS: dict[str, Callable[[str], str]] = {
    "alg none": alg_none,
    "alg none, with the signature": lambda u: f"eyJhbGciOiJub25lIn0.{token(u).partition('.')[2]}",
    "signed with the write key": lambda u: token(u, secret=WRITE_KEY.ljust(16, "_")),
    "signed with public text": lambda u: token(u, secret=PUBLIC_TEXT),
    "signed with the name of the source": lambda u: token(u, secret="website-website-"),
    "of another source": lambda u: token(u, aud="other"),
    "of a server source": lambda u: token(u, aud="backend"),
    "for another user": lambda _: token(fresh("mallory")),
    "expired": lambda u: token(u, iat=int(time.time()) - 1200, exp=int(time.time()) - 600),
    "without an end": lambda u: token(u, exp=None),
    "with a head of its own": lambda u: by_header({"kid": "x"}, {"sub": u}, PUBLIC_TEXT),
    "cut off": lambda u: token(u)[:-4],
    "with another user's payload": lambda u: _with_payload(token(fresh("mallory")), token(u)),
    "two in one": lambda u: f"{token(fresh('mallory'))}, {alg_none(u)}",
}


def _with_payload(signed: str, other: str) -> str:
    head, _, signature = signed.split(".")
    return f"{head}.{other.split('.')[1]}.{signature}"


def _event(acme: Server, user: str, **more: Any) -> None:
    send(acme, update(BOTH, userId=user, **more))


def _call(acme: Server, user: str, **more: Any) -> None:
    choose(acme, {"userId": user, **more.pop("subject", {})}, BOTH, key=WRITE_KEY, **more)


def _identify_and_grant(acme: Server, user: str) -> None:
    device = fresh("dev")
    send(
        acme,
        message("identify", anonymousId=device, userId=user),
        update(BOTH, anonymousId=device),
        update(BOTH, anonymousId=device, userId=user),
    )


def _alias(acme: Server, user: str) -> None:
    mine = fresh("mallory")
    choose(acme, {"userId": mine}, BOTH)
    for left, right in ((mine, user), (user, mine)):
        send(acme, message("alias", previousId=left, userId=right, anonymousId=None))


def _own_token_beside(acme: Server, user: str) -> None:
    mine, device = fresh("mallory"), fresh("dev")
    send(acme, message("identify", anonymousId=device, userId=user))
    send(acme, message("identify", anonymousId=device, userId=mine))
    for who in ({"userId": mine}, {"userId": user}, {"anonymousId": device, "userId": user}):
        choose(acme, who, BOTH, key=WRITE_KEY, headers=proof(mine))


def _refused(acme: Server, user: str) -> None:
    body = {"choices": [{"subject": {"userId": user}, "preferences": BOTH}]}
    assert call(acme.base, "POST", "/v1/imports", body, key=WRITE_KEY).status == 403
    suppress = {"subject": {"userId": user}}
    for path in ("suppress", "unsuppress"):
        assert (
            call(acme.base, "POST", f"/v1/subjects/{path}", suppress, key=WRITE_KEY).status == 403
        )


ROADS: dict[str, Callable[[Server, str], None]] = {
    "an event": _event,
    "an event of its own time": lambda s, u: _event(s, u, timestamp="2020-01-01T00:00:00Z"),
    "the consent API": _call,
    "the consent API, beside a device": lambda s, u: _call(
        s, u, subject={"anonymousId": fresh("d")}
    ),
    "the consent API, beside the e-mail": lambda s, u: _call(
        s, u, subject={"email": "a@b.example"}
    ),
    "identify, then grants": _identify_and_grant,
    "alias with an account that granted": _alias,
    "the token of an account of one's own": _own_token_beside,
    "what only others may call": _refused,
    **{
        f"a token: {name}": lambda s, u, bad=bad: (
            _call(s, u, headers={TOKEN: bad(u)}),
            _event(s, u),
            send(s, update(BOTH, userId=u), headers={TOKEN: bad(u)}),
        )
        for name, bad in BAD_TOKENS.items()
    },
}


@pytest.mark.parametrize("road", ROADS)
def test_no_road_leads_to_a_grant_for_an_account(acme: Server, road: str) -> None:
    asked, never = fresh("denied"), fresh("never")
    withdraw(acme, {"userId": asked})
    for user in (asked, never):
        ROADS[road](acme, user)
        found = lookup(acme, {"userId": user})["preferences"]
        assert {one["effective"] for one in found.values()} == {"denied"}
        one = message(anonymousId=None, userId=user)
        send(acme, one, key=BACKEND_KEY)
        assert set(states(acme, one["messageId"]).values()) == {"withheld"}


def test_the_good_token_does_lead_there(acme: Server) -> None:
    """Otherwise the roads above would lead nowhere for another reason."""
    user = fresh("user")
    withdraw(acme, {"userId": user})
    _call(acme, user, headers={TOKEN: token(user, secret=TOKEN_SECRET)})
    one = message(anonymousId=None, userId=user)
    send(acme, one, key=BACKEND_KEY)
    assert set(states(acme, one["messageId"]).values()) == {"delivered"}


def test_a_forged_withdrawal_closes_our_gate_alone(
    tmp_path_factory: pytest.TempPathFactory, vendors: StandIn
) -> None:
    """It counts, and no destination that shares consent is told of it as the person's choice."""
    more = hook(vendors.base, "partner", 'categories = ["advertising"]\nshare_consent = true')
    with acme_with(tmp_path_factory.mktemp("forged"), vendors.base, more=more) as server:
        user = {"userId": fresh("user")}
        choose(server, user, BOTH)
        assert withdraw(server, user, key=WRITE_KEY).status == 201
        one = message(anonymousId=None, **user)
        send(server, one, key=BACKEND_KEY)
        assert set(states(server, one["messageId"]).values()) == {"withheld"}
        assert one["messageId"] not in vendors.received("partner")
        choose(server, user, BOTH)  # and is undone by who may
        two = message(anonymousId=None, **user)
        send(server, two, key=BACKEND_KEY)
        assert set(states(server, two["messageId"]).values()) == {"delivered"}


# -- finding out ----------------------------------------------------------------------------------
def seen(answer: Answer, *names: str) -> tuple[Any, ...]:
    """All that can be told of an answer, without the names that were asked and what is new."""
    text = answer.body.decode()
    for name in names:
        text = text.replace(name, "NAME")
    text = re.sub(r'"(recordId|receivedAt|at)":"[^"]*"', r'"\1":"…"', text)
    text = re.sub(r'"seq":\d+', '"seq":0', text)
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    if '"seq"' in text:
        headers.pop("content-length")  # of a number that grows
    return answer.status, headers, text


ASKED: dict[str, Callable[[Server, dict[str, str]], Answer]] = {
    "the account": lambda s, who: call(
        s.base, "GET", f"/v1/subjects/user_id:{who['userId']}", key=WRITE_KEY
    ),
    "its history": lambda s, who: call(
        s.base, "GET", f"/v1/subjects/user_id:{who['userId']}?history=true", key=WRITE_KEY
    ),
    "the e-mail": lambda s, who: _lookup(s, {"email": who["email"]}),
    "the account beside a device": lambda s, who: _lookup(
        s, {"anonymousId": "x", "userId": who["userId"]}
    ),
    "with a token for another": lambda s, who: call(
        s.base, "GET", f"/v1/subjects/user_id:{who['userId']}", key=WRITE_KEY, headers=proof("me")
    ),
    "the event": lambda s, who: call(s.base, "GET", f"/v1/events/{who['message']}", key=WRITE_KEY),
    "a decision": lambda s, who: call(
        s.base,
        "POST",
        "/v1/decisions",
        {"items": [{"id": "1", "subject": {"userId": who["userId"]}}]},
        key=WRITE_KEY,
    ),
    "a yes": lambda s, who: choose(
        s, {"userId": who["userId"]}, {"analytics": True}, key=WRITE_KEY
    ),
    "a no": lambda s, who: withdraw(s, {"email": who["email"]}, key=WRITE_KEY),
    "an event of it": lambda s, who: s.track(message(userId=who["userId"])),
    "an update of it": lambda s, who: s.track(update(NEITHER, userId=who["userId"])),
    "suppressing": lambda s, who: call(
        s.base,
        "POST",
        "/v1/subjects/suppress",
        {"subject": {"userId": who["userId"]}},
        key=WRITE_KEY,
    ),
}


def _lookup(server: Server, subject: dict[str, str]) -> Answer:
    return call(server.base, "POST", "/v1/subjects/lookup", {"subject": subject}, key=WRITE_KEY)


@pytest.mark.parametrize("case", ASKED)
@pytest.mark.parametrize("life", ["a full life", "suppressed"])
def test_who_is_known_answers_as_who_is_not(acme: Server, case: str, life: str) -> None:
    known, unknown = (
        {"userId": fresh(who), "email": f"{fresh(who)}@shop.example", "message": fresh(who)}
        for who in ("knownn", "nobody")
    )
    whole = {"userId": known["userId"], "email": known["email"]}
    choose(acme, whole, {"analytics": True, "advertising": False})
    send(acme, message("identify", userId=known["userId"], messageId=known["message"]))
    if life == "suppressed":
        call(acme.base, "POST", "/v1/subjects/suppress", {"subject": whole}, key=BACKEND_KEY)
    first, second = (seen(ASKED[case](acme, who), *who.values()) for who in (known, unknown))
    assert first == second


def test_who_may_read_does_see_a_difference(acme: Server) -> None:
    """Otherwise the comparison above would compare nothing."""
    known, unknown = fresh("knownn"), fresh("nobody")
    choose(acme, {"userId": known}, {"analytics": True})
    first, second = (
        seen(call(acme.base, "GET", f"/v1/subjects/user_id:{user}", key=BACKEND_KEY), user)
        for user in (known, unknown)
    )
    assert first != second


def test_no_answer_says_which_keys_there_are(acme: Server) -> None:
    for path in ("/v1/projects/{}/settings", "/v1/projects/{}/settings?x=1"):
        found = {
            seen(call(acme.base, "GET", path.format(quote(key, safe=""))), key)[::2]
            for key in (BACKEND_KEY, ADMIN_KEY, "wk_nobody", "..%2f", "\0")
        }
        assert len(found) == 1
    first = seen(acme.track(message(), key=ADMIN_KEY))
    assert first == seen(acme.track(message(), key="wk_nobody"))


# -- two workspaces -------------------------------------------------------------------------------
def test_a_workspace_knows_nothing_of_another(
    tmp_path_factory: pytest.TempPathFactory, vendors: StandIn, acme: Server
) -> None:
    theirs = Server(tmp_path_factory.mktemp("theirs"), 0)
    with acme_with(theirs.folder, vendors.base) as other:
        other.stop()
        text = other.config.read_text().replace("wk_website", "wk_theirs").replace("Acme", "Theirs")
        other.config.write_text(text)
        other.environment.update(
            CONSENTRY_ADMIN_KEY="theirs-" + ADMIN_KEY,
            CONSENTRY_BACKEND_KEY="theirs-" + BACKEND_KEY,
            TOKEN_SECRET="theirs-" + TOKEN_SECRET,
        )
        other.start()
        user, one = {"userId": fresh("user")}, message(stamp=BOTH)
        choose(acme, user, BOTH)
        send(acme, one)
        mine = "theirs-" + ADMIN_KEY
        assert call(other.base, "GET", f"/v1/events/{one['messageId']}", key=mine).status == 404
        found = call(other.base, "POST", "/v1/subjects/lookup", {"subject": user}, key=mine).json
        assert found["preferences"]["analytics"]["state"] == "never_collected"
        for key in (ADMIN_KEY, BACKEND_KEY, WRITE_KEY):
            body = {"subject": user, "preferences": BOTH}
            assert call(other.base, "POST", "/v1/consent", body, key=key).status == 401
            assert other.track(message(), key=key).status == 401
            assert call(other.base, "GET", "/v1/destinations", key=key).status == 401
        told = call(
            other.base,
            "POST",
            "/v1/consent",
            {"subject": user, "preferences": BOTH},
            key="wk_theirs",
            headers=proof(user["userId"]),
        )
        assert told.json["unverified"] == ["advertising", "analytics"]


# -- where a key may stand ------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["writeKey", "write_key", "api_key", "key", "token", "authorization"]
)
def test_a_key_in_the_url_opens_nothing(acme: Server, name: str) -> None:
    for key in (WRITE_KEY, BACKEND_KEY, ADMIN_KEY):
        query = f"?{name}={key}"
        body = {"subject": {"anonymousId": fresh("dev")}, "preferences": BOTH}
        assert call(acme.base, "POST", f"/v1/track{query}", message()).status == 401
        assert call(acme.base, "POST", f"/v1/consent{query}", body).status == 401
        assert call(acme.base, "GET", f"/v1/destinations{query}").status == 401
        assert call(acme.base, "GET", f"/v1/subjects/user_id:u{query}").status == 401


# -- what the log is told -------------------------------------------------------------------------
FORGED = '{"event": "forged", "level": "error"}'
NASTY = (
    f"a\r\n{FORGED}",
    f'a"}}\n{FORGED}',
    "a\x1b[2J\x1b[31m",
    "a\u2028b\u0085c\0d",
    f"a%0d%0a{FORGED}",
)


def test_nobody_writes_the_log_but_us(acme: Server) -> None:
    begun = len(logged(acme))
    for text in NASTY:
        one = message(event=text, messageId=text[:100], userId=text, properties={text: text})
        acme.track(one)
        call(acme.base, "POST", "/v1/batch", {"batch": [{**one, "type": text}]}, basic=WRITE_KEY)
        acme.track({**one, "context": {"consent": {"categoryPreferences": {text: text}}}})
        choose(acme, {"userId": text, "email": text}, {text: True}, key=WRITE_KEY)
        acme.track(message(), key=text)
        path = f"/v1/nothing/{quote(text, safe='')}"
        call(acme.base, "GET", path, key=ADMIN_KEY)
        for header in ("Origin", "User-Agent", TOKEN, "Idempotency-Key", "X-Forwarded-For"):
            plain = re.sub(r"[^\x20-\x7e\x80-\xff]", "~", text)
            acme.track(message(), headers={header: plain})
    lines = logged(acme)  # every line is one document, or this fails
    assert not [line for line in lines if line.get("event") == "forged"]
    raw = acme.log
    assert "forged" not in raw
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u0085\u2028]", raw)
    assert {line["event"] for line in lines[begun:]} <= {"attempt_failed", "library"}
    assert json.dumps(NASTY[0]) not in raw
