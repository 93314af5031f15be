"""Commands that ask a server: what they send, what they print, how failures are worded."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.place import ADMIN_KEY, Answer, Answering, error_of, lines_of, run

PREFS = {
    "analytics": {
        "state": "granted",
        "effective": "granted",
        "why": None,
        "at": "2026-11-01T00:00:00Z",
        "recordId": "rec_1",
    }
}
CHOICE = {"recordId": "rec_2", "seq": 7, "preferences": PREFS, "unverified": [], "orders": []}
DELIVERY = {
    "destination": "ads",
    "position": 4,
    "messageId": "m-4",
    "state": "waiting",
    "attempts": 3,
    "firstAt": "2026-11-01T00:00:00Z",
    "nextAt": "2026-11-01T00:10:00Z",
    "grade": "rate_limited",
    "detail": "slow down",
}
DESTINATIONS = {
    "destinations": [
        {
            "name": "ads",
            "kind": "webhook",
            "categories": ["advertising", "analytics"],
            "match": "all",
            "enabled": True,
            "exempt": None,
            "shadow": False,
            "paused": {"reason": "401 from the endpoint", "since": "2026-11-01T00:00:00Z"},
            "waiting": 3,
            "dead": 0,
            "lag": 12,
            "oldestSeconds": 61.2,
            "proves": "it took it",
        },
        {"name": "backup", "kind": "parquet", "categories": [], "exempt": "legal archive"},
    ]
}
DECISION = {
    "destination": "ads",
    "decision": "withhold",
    "reason": "filtered_by_end_user_consent",
    "categories": [{"id": "advertising", "effective": "denied", "why": "denied"}],
    "grounds": [{"recordId": "rec_9"}, {"stamp": True}],
}
HISTORY = {
    "recordId": "rec_1",
    "seq": 3,
    "type": "choice",
    "receivedAt": "2026-11-01T00:00:00Z",
    "source": "website",
    "before": {"analytics": "denied"},
    "after": {"analytics": "granted"},
}
SUBJECT = {
    "subject": {"anonymousIds": ["a-1"], "userId": "u-1"},
    "preferences": PREFS,
    "topics": {"news": {"email": PREFS["analytics"]}},
    "channels": {
        "sms": {"state": "denied", "at": "2026-11-02T00:00:00Z", "recordId": "rec_5"},
        "email": {"state": "never_collected", "at": None, "recordId": None},
    },
    "signals": {"gpc": {"firstSeenAt": "2026-11-01T00:00:00Z", "covers": ["advertising"]}},
    "suppressed": True,
    "history": [HISTORY],
    "next": None,
}
TAIL = [
    {
        "kind": "event",
        "messageId": "m-1",
        "type": "track",
        "event": "Order\x1b[31m",
        "source": "website",
        "receivedAt": "2026-11-01T12:34:56Z",
        "subject": {"anonymousId": "a-1"},
        "decisions": [DECISION, {**DECISION, "destination": "crm", "decision": "allow"}],
    },
    {
        "kind": "attempt",
        "destination": "crm",
        "messageId": "m-1",
        "grade": "accepted",
        "state": "delivered",
        "at": "2026-11-01T12:34:57Z",
        "crossed": True,
    },
    {
        "kind": "choice",
        "recordId": "rec_1",
        "type": "choice",
        "subject": {"userId": "u-1"},
        "before": {},
        "after": {"analytics": "denied"},
        "receivedAt": "2026-11-01T12:34:58Z",
    },
]
WHO = ["--user-id", "u-1", "--email", "a@b.example"]
SUBJECT_SENT = {"userId": "u-1", "email": "a@b.example"}

# What is typed; the path; what is answered; what must have been sent; words that must be shown.
COMMANDS: dict[str, tuple[list[str], str, Any, Any, Sequence[str]]] = {
    "subject show": (
        ["subject", "show", *WHO],
        "/v1/subjects/lookup",
        SUBJECT,
        {"subject": SUBJECT_SENT, "history": True},
        [
            "u-1",
            "a-1",
            "SUPPRESSED",
            "news:email",
            "channel sms refused as a whole",
            "gpc",
            "rec_1",
        ],
    ),
    "link that is bound": (
        [
            "link",
            "withdraw",
            *WHO,
            "--category",
            "ads",
            "--topic",
            "news:email",
            "--channel",
            "sms",
        ],
        "/v1/links",
        {"url": "https://c.example/unsubscribe?t=x", "expiresAt": "2028", "headers": {"A": "<b>"}},
        {
            "subject": SUBJECT_SENT,
            "type": "withdraw",
            "categories": ["ads"],
            "topics": {"news": {"email": False}},
            "channels": ["sms"],
        },
        ["https://c.example/unsubscribe?t=x", "expires: 2028", "A: <b>"],
    ),
    "link to edit": (
        ["link", "edit", *WHO],
        "/v1/links",
        {"url": "https://c.example/preferences?t=x", "expiresAt": "2026"},
        {"subject": SUBJECT_SENT, "type": "edit"},
        ["https://c.example/preferences?t=x"],
    ),
    "subject withdraw of everything": (
        ["subject", "withdraw", *WHO],
        "/v1/consent/withdraw",
        CHOICE,
        {"subject": SUBJECT_SENT},
        ["recorded as rec_2 (seq 7)", "analytics"],
    ),
    "subject withdraw of some": (
        ["subject", "withdraw", *WHO, "--category", "ads", "--topic", "news:email"],
        "/v1/consent/withdraw",
        CHOICE,
        {"subject": SUBJECT_SENT, "categories": ["ads"], "topics": {"news": {"email": False}}},
        ["rec_2"],
    ),
    "subject withdraw of a channel": (
        ["subject", "withdraw", *WHO, "--channel", "sms", "--channel", "phone"],
        "/v1/consent/withdraw",
        CHOICE,
        {"subject": SUBJECT_SENT, "channels": ["sms", "phone"]},
        ["rec_2"],
    ),
    "subject suppress": (
        ["subject", "suppress", *WHO, "--reason", "asked by phone"],
        "/v1/subjects/suppress",
        {"recordId": "rec_3", "suppressed": True},
        {"subject": SUBJECT_SENT, "reason": "asked by phone"},
        ["rec_3: suppressed"],
    ),
    "subject unsuppress": (
        ["subject", "unsuppress", "--anonymous-id", "a", "--phone", "+4912345678"],
        "/v1/subjects/unsuppress",
        {"recordId": "rec_4", "suppressed": False},
        {"subject": {"anonymousId": "a", "phone": "+4912345678"}},
        ["rec_4: not suppressed"],
    ),
    "deliveries list": (
        ["deliveries", "list"],
        "/v1/deliveries",
        {"deliveries": [DELIVERY], "next": None},
        None,
        ["ads", "m-4", "rate_limited: slow down"],
    ),
    "deliveries retry": (
        ["deliveries", "retry", "--destination", "ads", "--message-id", "m-4"],
        "/v1/deliveries/retry",
        {"retried": 3, "resumed": ["ads"]},
        {"destination": "ads", "messageIds": ["m-4"]},
        ["3 are tried again; resumed: ads"],
    ),
    "deliveries retry of all": (
        ["deliveries", "retry", "--all"],
        "/v1/deliveries/retry",
        {"retried": 0, "resumed": []},
        {},
        ["0 are tried again"],
    ),
    "dead-letters list": (
        ["dead-letters", "list"],
        "/v1/dead-letters",
        {"deadLetters": [{**DELIVERY, "state": "dead"}], "next": None},
        None,
        ["ads", "m-4", "dead"],
    ),
    "dead-letters list of none": (
        ["dead-letters", "list"],
        "/v1/dead-letters",
        {"deadLetters": [], "next": None},
        None,
        ["there are no dead letters"],
    ),
    "dead-letters replay": (
        ["dead-letters", "replay", "--all"],
        "/v1/dead-letters/replay",
        {"replayed": 2},
        {},
        ["2 are replayed"],
    ),
    "destinations": (
        ["destinations"],
        "/v1/destinations",
        DESTINATIONS,
        None,
        [
            "advertising and analytics",
            "61 s",
            "ads is paused since",
            "401 from the endpoint",
            "consentry deliveries retry --destination ads",
            "exempt: legal archive",
        ],
    ),
}


@pytest.mark.parametrize(
    ("args", "path", "answer", "sent", "words"), COMMANDS.values(), ids=COMMANDS.keys()
)
def test_a_command_sends_and_shows(
    server: Answering,
    args: list[str],
    path: str,
    answer: Any,
    sent: Any,
    words: Sequence[str],
) -> None:
    server.answer(path, answer)
    result = run(*args, "--server", server.url)
    assert result.exit_code == 0, result.output
    assert [(asked.path, asked.body) for asked in server.asked] == [(path, sent)]
    assert server.asked[0].key == f"Bearer {ADMIN_KEY}"
    for word in words:
        assert word in result.stdout
    as_json = run(*args, "--json", CONSENTRY_SERVER=server.url)
    assert as_json.exit_code == 0
    assert json.loads(as_json.stdout) == answer
    assert ADMIN_KEY not in result.output + as_json.output


def test_an_export_that_was_cut_off_leaves_no_file(server: Answering, tmp_path: Path) -> None:
    server.answer("/v1/subjects/export", {"kind": "subject"})
    path = tmp_path / "ada.jsonl"
    result = run("subject", "export", *WHO, "--output", str(path), "--server", server.url)
    assert (result.exit_code, "cut off" in result.output) == (4, True)
    assert not path.exists()
    assert server.asked[0].body == {"subject": SUBJECT_SENT}


def test_lists_follow_their_pages_up_to_the_limit(server: Answering) -> None:
    rows = [{**DELIVERY, "position": n} for n in range(4)]
    server.answer(
        "/v1/deliveries",
        {"deliveries": rows[:2], "next": "c2"},
        {"deliveries": rows[2:], "next": "c4"},
    )
    args = ["deliveries", "list", "--destination", "ads", "--state", "waiting", "--limit", "3"]
    result = run(*args, "--json", "--server", server.url)
    assert json.loads(result.stdout) == {"deliveries": rows, "next": "c4"}
    filters = {"destination": "ads", "state": "waiting"}
    assert [asked.query for asked in server.asked] == [filters, {**filters, "cursor": "c2"}]
    assert "--cursor c4" in run(*args, "--server", server.url).stdout


def test_a_history_follows_its_pages_up_to_the_limit(server: Answering) -> None:
    page = {**SUBJECT, "history": [HISTORY] * 2}
    server.answer("/v1/subjects/lookup", {**page, "next": "c"}, {**page, "next": None})
    result = run("subject", "show", *WHO, "--limit", "3", "--json", "--server", server.url)
    assert len(json.loads(result.stdout)["history"]) == 3
    assert server.asked[1].body["cursor"] == "c"


# -- explain and tail ---------------------------------------------------------------------------


def test_explain_asks_the_server(server: Answering) -> None:
    events = [{"type": "track", "event": "Order", "messageId": "m-1"}, {"type": "page"}]
    answer = {
        "decidedAt": "2026-11-01T00:00:00Z",
        "policyVersion": "v",
        "items": [
            {"id": "m-1", "decisions": [DECISION]},
            {"id": "event 2", "error": {"code": "missing_id", "message": "no id"}},
        ],
    }
    server.answer("/v1/decisions", answer)
    text = "\n".join(map(json.dumps, events))
    result = run("explain", "--server", server.url, stdin=text)
    assert result.exit_code == 1
    assert server.asked[0].body == {
        "items": [{"id": "m-1", "event": events[0]}, {"id": "event 2", "event": events[1]}]
    }
    for word in ("track Order (m-1)", "advertising: denied", "record rec_9, stamp", "missing_id"):
        assert word in result.stdout
    as_json = run("explain", "--server", server.url, "--json", stdin=text)
    assert json.loads(as_json.stdout) == answer


def test_explain_asks_in_parts(server: Answering) -> None:
    server.answer("/v1/decisions", {"items": [{"id": "x", "decisions": []}]})
    text = json.dumps([{"messageId": f"m-{n}"} for n in range(2001)])
    result = run("explain", "--server", server.url, "--json", stdin=text)
    assert [len(asked.body["items"]) for asked in server.asked] == [1000, 1000, 1]
    assert len(json.loads(result.stdout)["items"]) == 3
    server.asked.clear()
    long = [{"messageId": f"m-{n}", "properties": {"text": "x" * 900_000}} for n in range(5)]
    run("explain", "--server", server.url, stdin=json.dumps(long))
    assert [len(asked.body["items"]) for asked in server.asked] == [2, 2, 1]


def test_explain_does_not_lose_what_a_batch_says(server: Answering) -> None:
    batch = {"batch": [{"type": "page"}], "context": {"consent": {}}}
    result = run("explain", "--server", server.url, stdin=json.dumps(batch))
    assert result.exit_code == 2
    assert "--config" in error_of(result)
    assert server.asked == []


def test_tail_shows_what_happens(server: Answering) -> None:
    lines = "\n".join(map(json.dumps, TAIL)) + "\n\n"
    server.answer("/v1/tail", Answer(raw=lines.encode()))
    result = run("tail", "--server", server.url)
    assert result.exit_code == 0
    event, attempt, choice = result.stdout.splitlines()
    assert event.startswith("12:34:56 event    track Order\\x1b[31m from website")
    assert event.endswith("ads: withhold (filtered_by_end_user_consent)  crm: allow")
    assert attempt.endswith("crm: accepted, delivered (m-1) crossed a withdrawal")
    assert "analytics: never_collected -> denied" in choice
    as_json = run("tail", "--server", server.url, "--json", "--count", "2")
    assert lines_of(as_json.stdout) == TAIL[:2]


# -- failures -------------------------------------------------------------------------------------

FAILURES = {
    "the wrong key": (
        Answer({"code": "unauthorized", "message": "no"}, 401),
        3,
        "CONSENTRY_ADMIN_KEY",
    ),
    "not allowed": (Answer({"code": "forbidden", "message": "no"}, 403), 3, "CONSENTRY_ADMIN_KEY"),
    "a refusal": (
        Answer({"code": "invalid", "message": "no such thing", "field": "cursor"}, 400),
        2,
        "the server refused this: no such thing (invalid, cursor)",
    ),
    "another program": (Answer(raw=b"<html>", status=404), 4, "answered 404 for /v1/destinations"),
    "a page": (Answer(raw=b"<html>"), 4, "not Consentry's"),
    "a list": (Answer([1]), 4, "not Consentry's"),
    "a redirect": (Answer({}, 302, {"Location": "http://elsewhere.example/"}), 4, "302"),
    "busy": (Answer({"code": "x", "message": "slow"}, 503), 4, "busy: slow (x); try again"),
    "broken": (Answer(raw=b"oops", status=500), 4, "failed: 500; see its log"),
    "cut off": (Answer({"a": 1}, close_early=True), 4, "IncompleteRead"),
    "a control character": (
        Answer({"code": "c", "message": "a\x1b[2Jb\nc"}, 400),
        2,
        "a\\x1b[2Jb c (c)",
    ),
}


@pytest.mark.parametrize(("answer", "code", "words"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_is_one_line_and_a_code(
    server: Answering, answer: Answer, code: int, words: str
) -> None:
    server.answer("/v1/destinations", answer)
    result = run("destinations", "--server", server.url)
    assert result.exit_code == code
    assert words in error_of(result)
    assert ADMIN_KEY not in result.output
    assert len(server.asked) == 1


def test_without_a_key_the_variable_is_named(server: Answering) -> None:
    server.answer("/v1/destinations", Answer({"code": "unauthorized", "message": "no"}, 401))
    result = run("destinations", "--server", server.url, CONSENTRY_ADMIN_KEY=None)
    assert result.exit_code == 3
    assert error_of(result) == "this needs the admin key: set CONSENTRY_ADMIN_KEY to it"
    assert server.asked[0].key is None


@pytest.mark.parametrize("key", ["two\nlines", "café", "a\rb"])
def test_a_key_that_cannot_be_one_is_not_sent(server: Answering, key: str) -> None:
    result = run("destinations", "--server", server.url, CONSENTRY_ADMIN_KEY=key)
    assert result.exit_code == 3
    assert key not in result.output
    assert server.asked == []


def test_a_server_that_is_not_there_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = run("destinations", "--server", url)
    assert result.exit_code == 4
    assert "consentry serve" in error_of(result)


def test_a_key_that_goes_out_unencrypted_is_remarked() -> None:
    result = run("destinations", "--server", "http://no-such-host.invalid:9")
    assert result.exit_code == 4
    remark, error = result.stderr.splitlines()
    assert "unencrypted" in remark
    assert "no-such-host.invalid" in error


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("stand-in", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 4
    assert "choose another --port" in error_of(result)
