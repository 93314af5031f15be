"""Delivery by the real server to real HTTP destinations that misbehave."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.e2e.asking import (
    BOTH,
    NEITHER,
    acme_with,
    choose,
    config,
    delivery,
    destination,
    fresh,
    hook,
    lookup,
    message,
    send,
    states,
    tried,
    update,
    withdraw,
)
from tests.running import Server, StandIn, call, wait_for

ANALYTICS = {"analytics": True}
RESEARCH = '[[category]]\nid = "research"\nname = "Research"\n'
BRIEF = 'categories = ["research"]\nretry_hours = 0.0001'
SHARING = 'categories = ["advertising"]\nshare_consent = true'


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    """As usual, with a destination that is told of choices, and one that is given up soon."""
    more = RESEARCH + hook(vendors.base, "partner", SHARING) + hook(vendors.base, "brief", BRIEF)
    with acme_with(tmp_path_factory.mktemp("acme"), vendors.base, more=more) as running:
        yield running


def tries(vendors: StandIn, message_id: str, instance: str = "warehouse") -> list[Any]:
    """Every request that brought this event."""
    return [
        entry
        for entry in vendors.journal()
        if entry["path"] == f"/webhook/{instance}" and message_id in entry["ids"]["messageIds"]
    ]


def taken(vendors: StandIn, device: str, instance: str = "warehouse") -> list[str]:
    """What the destination took of a device, in order."""
    return [
        entry["ids"]["messageIds"][0]
        for entry in vendors.journal()
        if entry["path"] == f"/webhook/{instance}"
        and device in entry["ids"]["anonymousIds"]
        and entry["status"] == 200
    ]


def retry(server: Server, *message_ids: str, name: str = "warehouse") -> Any:
    body: dict[str, Any] = {"destination": name}
    if message_ids:
        body["messageIds"] = message_ids
    answer = server.admin("POST", "/v1/deliveries/retry", body)
    assert answer.status == 200, answer.body
    return answer.json


def replay(server: Server, *message_ids: str) -> Any:
    answer = server.admin("POST", "/v1/dead-letters/replay", {"messageIds": message_ids})
    assert answer.status == 200, answer.body
    return answer.json


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# -- trying again ---------------------------------------------------------------------------------
def test_a_server_error_is_tried_again(acme: Server, well: StandIn) -> None:
    well.mode("webhook", "5xx", count=1)
    one = message(stamp=ANALYTICS)
    send(acme, one)
    found = acme.event(one["messageId"])["warehouse"]
    assert found["state"] == "delivered"
    assert [(a["grade"], a["status"]) for a in found["attempts"]] == [
        ("failed_retry", 500),
        ("confirmed", 200),
    ]
    first, second = tries(well, one["messageId"])
    assert first["body"] == second["body"]
    assert len({a["requestDigest"] for a in found["attempts"]}) == 1


def test_a_connection_that_breaks_is_tried_again(acme: Server, well: StandIn) -> None:
    well.mode("webhook", "reset", count=1)
    one = message(stamp=ANALYTICS)
    send(acme, one)
    tried(acme, one["messageId"], "warehouse")
    retry(acme, one["messageId"])
    found = acme.event(one["messageId"])["warehouse"]
    assert [(a["grade"], a["status"]) for a in found["attempts"]] == [
        ("failed_retry", None),
        ("confirmed", 200),
    ]


def test_a_destination_says_when_to_come_back(acme: Server, well: StandIn) -> None:
    well.mode("webhook", "429", count=1, retry_after=2)
    one = message(stamp=ANALYTICS)
    send(acme, one)
    tried(acme, one["messageId"], "warehouse")
    meanwhile = message(stamp=ANALYTICS)
    send(acme, meanwhile)
    first, second = acme.event(one["messageId"])["warehouse"]["attempts"]
    assert first["grade"] == "rate_limited"
    # It is waited by a clock that nobody sets. Attempts have the time of the day, whose clock may be
    # slewed by 500 parts in a million meanwhile (adjtimex(2)).
    due = moment(first["endedAt"]) + timedelta(seconds=2) * (1 - 500e-6)
    assert moment(second["startedAt"]) >= due
    # it is the destination that is busy, so nobody else is sent either
    (other,) = acme.event(meanwhile["messageId"])["warehouse"]["attempts"]
    assert moment(other["startedAt"]) >= due


def test_what_waits_can_be_tried_at_once(acme: Server, well: StandIn) -> None:
    well.mode("webhook", "429", count=1, retry_after=3600)
    one = message(stamp=ANALYTICS)
    send(acme, one)
    tried(acme, one["messageId"], "warehouse")
    rows = acme.admin("GET", "/v1/deliveries?destination=warehouse&state=waiting").json
    (row,) = [r for r in rows["deliveries"] if r["messageId"] == one["messageId"]]
    assert (row["attempts"], row["grade"]) == (1, "rate_limited")
    assert destination(acme, "warehouse")["waiting"] == 1
    assert retry(acme, one["messageId"]) == {"retried": 1, "resumed": []}
    assert states(acme, one["messageId"])["warehouse"] == "delivered"
    assert destination(acme, "warehouse")["waiting"] == 0


def test_refused_credentials_pause_the_destination(acme: Server, well: StandIn) -> None:
    well.mode("webhook", "401", count=1)
    device = fresh("dev")
    one, two = (message(stamp=ANALYTICS, anonymousId=device) for _ in range(2))
    other = message(stamp=BOTH)
    send(acme, one)
    paused = wait_for(lambda: destination(acme, "warehouse")["paused"], what="the pause")
    assert "401" in paused["reason"]
    assert paused["since"]
    send(acme, two, other)
    assert tried(acme, other["messageId"], "ads")["state"] == "delivered"
    for waiting in (two, other):
        found = delivery(acme, waiting["messageId"], "warehouse")
        assert (found["state"], found["attempts"]) == ("waiting", [])
    metrics = acme.admin("GET", "/metrics").body.decode()
    assert 'consentry_destination_paused{destination="warehouse"} 1.0' in metrics
    assert retry(acme)["resumed"] == ["warehouse"]
    for each in (one, two, other):
        assert states(acme, each["messageId"])["warehouse"] == "delivered"
    assert taken(well, device) == [one["messageId"], two["messageId"]]
    assert destination(acme, "warehouse")["paused"] is None


# -- giving up ------------------------------------------------------------------------------------
def dead(acme: Server, vendors: StandIn, **more: Any) -> Any:
    """An event that ended in the dead-letter store: a success status that did nothing."""
    vendors.mode("webhook", "noop", count=1)
    one = message(**more)
    send(acme, one)
    assert acme.event(one["messageId"])["warehouse"]["state"] == "dead"
    return one


def letter(server: Server, message_id: str) -> Any:
    letters = server.admin("GET", "/v1/dead-letters?destination=warehouse").json["deadLetters"]
    return next((x for x in letters if x["messageId"] == message_id), None)


def test_dead_letters_say_why_and_can_be_replayed(acme: Server, well: StandIn) -> None:
    one = dead(acme, well, stamp=ANALYTICS)
    found = letter(acme, one["messageId"])
    assert (found["destination"], found["grade"], found["attempts"]) == ("warehouse", "noop", 1)
    assert found["detail"]
    assert replay(acme, one["messageId"]) == {"replayed": 1}
    assert states(acme, one["messageId"])["warehouse"] == "delivered"
    assert letter(acme, one["messageId"]) is None


def test_a_replay_decides_again_now(acme: Server, well: StandIn) -> None:
    one = dead(acme, well, stamp=ANALYTICS)
    withdrawn = withdraw(acme, {"anonymousId": one["anonymousId"]}).json
    before = len(tries(well, one["messageId"]))
    assert replay(acme, one["messageId"]) == {"replayed": 1}
    found = acme.event(one["messageId"])["warehouse"]
    assert found["state"] == "withheld"
    assert found["decision"]["reason"] == "filtered_by_end_user_consent"
    assert found["decision"]["grounds"] == [{"recordId": withdrawn["recordId"]}]
    assert [a["grade"] for a in found["attempts"]] == ["noop", "withheld"]
    assert len(tries(well, one["messageId"])) == before


def test_a_later_grant_does_not_send_what_was_withheld(acme: Server, well: StandIn) -> None:
    one = message(stamp=NEITHER)
    send(acme, one)
    assert states(acme, one["messageId"])["warehouse"] == "withheld"
    choose(acme, {"anonymousId": one["anonymousId"]}, BOTH)
    assert replay(acme, one["messageId"]) == {"replayed": 0}
    assert states(acme, one["messageId"])["warehouse"] == "withheld"


def test_dead_letters_are_counted(acme: Server, well: StandIn) -> None:
    before = destination(acme, "warehouse")["dead"]
    one = dead(acme, well, stamp=ANALYTICS)
    assert destination(acme, "warehouse")["dead"] == before + 1
    metrics = call(acme.base, "GET", "/metrics").body.decode()
    counted = f'consentry_dead_letters{{destination="warehouse"}} {before + 1:.1f}'
    assert counted in metrics.splitlines()
    replay(acme, one["messageId"])


def test_replays_of_what_there_is_not(acme: Server) -> None:
    assert replay(acme, "nobody-sent-this") == {"replayed": 0}
    answer = acme.admin("POST", "/v1/dead-letters/replay", {"destination": "nowhere"})
    assert (answer.status, answer.json["field"]) == (404, "destination")


def test_what_was_tried_for_too_long_is_given_up(acme: Server, well: StandIn) -> None:
    well.mode("webhook", "5xx")
    one = message(stamp={"research": True})
    send(acme, one)
    found = acme.event(one["messageId"])["brief"]
    assert (found["state"], found["decision"]["decision"]) == ("dead", "allow")
    assert {a["grade"] for a in found["attempts"]} == {"failed_retry"}
    well.mode("webhook", "ok")
    assert replay(acme, one["messageId"]) == {"replayed": 1}
    assert states(acme, one["messageId"])["brief"] == "delivered"


# -- order ----------------------------------------------------------------------------------------
def test_one_subject_is_served_in_order_and_holds_up_nobody(acme: Server, well: StandIn) -> None:
    device, other = fresh("dev"), fresh("dev")
    well.mode("webhook", "5xx", count=1)
    mine = [message(stamp=ANALYTICS, anonymousId=device) for _ in range(4)]
    send(acme, mine[0])
    tried(acme, mine[0]["messageId"], "warehouse")
    theirs = [message(stamp=ANALYTICS, anonymousId=other) for _ in range(3)]
    send(acme, *(m for pair in zip(mine[1:], theirs, strict=True) for m in pair))
    for one in theirs:
        assert states(acme, one["messageId"])["warehouse"] == "delivered"
    now, ids = taken(well, device), [one["messageId"] for one in mine]
    assert now == ids[: len(now)]  # while the first of them waits, so do all
    retry(acme)
    for one in mine:
        assert states(acme, one["messageId"])["warehouse"] == "delivered"
    assert taken(well, device) == ids
    assert taken(well, other) == [one["messageId"] for one in theirs]


def test_a_subject_that_always_fails_does_not_hold_up_others(acme: Server, well: StandIn) -> None:
    well.mode("webhook", "5xx", count=7)
    bad = message(stamp=ANALYTICS)
    send(acme, bad)
    for times in range(1, 7):
        tried(acme, bad["messageId"], "warehouse", times)
        retry(acme, bad["messageId"])
    tried(acme, bad["messageId"], "warehouse", 7)
    others = [message(stamp=ANALYTICS) for _ in range(3)]
    send(acme, *others)
    for one in others:
        assert wait_for(lambda m=one["messageId"]: tries(well, m), 3.0)
    retry(acme)
    assert states(acme, bad["messageId"])["warehouse"] == "delivered"


def test_after_an_outage_everything_arrives_in_order(acme: Server, well: StandIn) -> None:
    well.mode("webhook", "5xx")
    devices = [fresh("dev") for _ in range(8)]
    sent = [message(stamp=ANALYTICS, anonymousId=d) for _ in range(3) for d in devices]
    send(acme, *sent)
    tried(acme, sent[0]["messageId"], "warehouse")
    wait_for(lambda: destination(acme, "warehouse")["waiting"] >= 5, what="five failures")
    well.mode("webhook", "ok")

    def settled() -> bool:
        retry(acme)
        return all(delivery(acme, m["messageId"], "warehouse")["state"] != "waiting" for m in sent)

    wait_for(settled, what="everything delivered")
    for device in devices:
        expected = [m["messageId"] for m in sent if m["anonymousId"] == device]
        assert taken(well, device) == expected


# -- withdrawal -----------------------------------------------------------------------------------
def test_a_withdrawal_stops_what_is_queued(acme: Server, well: StandIn) -> None:
    well.mode("webhook", "5xx")
    device = fresh("dev")
    queued = [message(stamp=BOTH, anonymousId=device) for _ in range(3)]
    send(acme, *queued)
    for name in ("warehouse", "ads"):
        tried(acme, queued[0]["messageId"], name)
    answer = withdraw(acme, {"anonymousId": device}, categories=["advertising"])
    acknowledged = time.monotonic_ns()
    well.mode("webhook", "ok")
    retry(acme, name="ads")
    retry(acme, name="warehouse")
    for one in queued:
        found = acme.event(one["messageId"])
        assert found["warehouse"]["state"] == "delivered"  # analytics was not withdrawn
        assert found["ads"]["state"] == "withheld"
        last = found["ads"]["attempts"][-1]
        assert (last["grade"], last["status"]) == ("withheld", None)
        assert last["decision"] == found["ads"]["decision"]
        assert last["decision"]["grounds"] == [{"recordId": answer.json["recordId"]}]
        late = [
            t
            for t in tries(well, one["messageId"], "ads")
            if t["started_monotonic_ns"] > acknowledged
        ]
        assert late == []


def test_nothing_starts_after_a_withdrawal_is_acknowledged(acme: Server, well: StandIn) -> None:
    """A long queue of one subject, and a withdrawal in the middle of it."""
    well.mode("webhook", "ok", delay_ms=20)
    device = fresh("dev")
    queued = [message(stamp=ANALYTICS, anonymousId=device) for _ in range(100)]
    send(acme, *queued)
    wait_for(lambda: len(taken(well, device)) >= 5, what="the queue under way")
    withdraw(acme, {"anonymousId": device})
    acknowledged = time.monotonic_ns()
    ended = [states(acme, m["messageId"])["warehouse"] for m in queued]
    assert set(ended) == {"delivered", "withheld"}
    assert ended == sorted(ended)  # in order: first those that went, then those that did not
    began = [
        e["started_monotonic_ns"]
        for e in well.journal()
        if device in e["ids"]["anonymousIds"] and e["body"]["type"] == "event.forwarded"
    ]
    assert len(began) == ended.count("delivered")
    assert max(began) < acknowledged


def test_an_attempt_on_the_wire_is_recorded_as_crossed(acme: Server, well: StandIn) -> None:
    well.mode("webhook", "ok", delay_ms=500)
    one = message(stamp=ANALYTICS)
    send(acme, one)
    wait_for(lambda: tries(well, one["messageId"]), what="the attempt on the wire")
    withdrawn = withdraw(acme, {"anonymousId": one["anonymousId"]}).json
    (made,) = acme.event(one["messageId"])["warehouse"]["attempts"]
    assert made["crossed"] is True
    assert moment(made["startedAt"]) < moment(withdrawn["receivedAt"]) < moment(made["endedAt"])


# -- choices that are shared ----------------------------------------------------------------------
def shared(vendors: StandIn, device: str) -> list[Any]:
    return [
        entry["body"]
        for entry in vendors.journal()
        if entry["path"] == "/webhook/partner" and device in entry["ids"]["anonymousIds"]
        if entry["status"] == 200 and entry["body"]["type"] == "consent.updated"
    ]


def test_a_choice_is_shared_whatever_it_says(acme: Server, well: StandIn) -> None:
    device = fresh("dev")
    one = update(
        {"analytics": True, "advertising": False},
        anonymousId=device,
        properties={"secret": "x"},
        integrations={"All": False},
    )
    one["context"]["ip"] = "203.0.113.7"
    send(acme, one)
    found = acme.event(one["messageId"])
    assert {n: d["state"] for n, d in found.items()} == {
        "warehouse": "withheld",
        "ads": "withheld",
        "brief": "withheld",
        "partner": "delivered",
    }
    assert found["partner"]["decision"]["reason"] == "preference_update"
    (body,) = shared(well, device)
    assert body["type"] == "consent.updated"
    assert body["data"].keys() <= {
        *("type", "event", "messageId", "anonymousId", "userId", "timestamp", "receivedAt"),
        "context",
    }
    effective = {"analytics": True, "advertising": False, "research": False}
    assert body["data"]["context"] == {"consent": {"categoryPreferences": effective}}


def test_a_choice_that_was_overtaken_is_not_shared(acme: Server, well: StandIn) -> None:
    device = fresh("dev")
    well.mode("webhook", "5xx")
    old, new = update(BOTH, anonymousId=device), update(NEITHER, anonymousId=device)
    one = message(anonymousId=device)
    # only the partner is asked, so that the failure is its own
    old["integrations"] = new["integrations"] = {"All": False}
    send(acme, old)
    tried(acme, old["messageId"], "partner")
    well.mode("webhook", "ok")
    send(acme, new, one)
    retry(acme, name="partner")
    assert states(acme, new["messageId"])["partner"] == "delivered"
    assert states(acme, old["messageId"])["partner"] == "withheld"
    assert [b["data"]["messageId"] for b in shared(well, device)] == [new["messageId"]]
    assert states(acme, one["messageId"])["partner"] == "withheld"  # an event like any other


# -- configuration --------------------------------------------------------------------------------
def named(server: Server) -> set[str]:
    listed = server.admin("GET", "/v1/destinations").json["destinations"]
    return {d["name"] for d in listed}


def test_a_destination_that_is_added_later_gets_what_comes_later(
    tmp_path_factory: pytest.TempPathFactory, vendors: StandIn
) -> None:
    with acme_with(tmp_path_factory.mktemp("later"), vendors.base) as server:
        before = message(stamp=BOTH)
        send(server, before)
        server.event(before["messageId"])
        later = hook(vendors.base, "later")
        server.config.write_text(config(vendors.base, more=later))
        wait_for(lambda: "later" in named(server), what="the new configuration")
        after = message(stamp=BOTH, anonymousId=before["anonymousId"])
        send(server, after)
        assert states(server, after["messageId"]) == dict.fromkeys(
            ("warehouse", "ads", "later"), "delivered"
        )
        assert vendors.received("later") == [after["messageId"]]
        entries = server.admin("GET", "/v1/ledger").body.decode().splitlines()
        assert sum('"config"' in entry for entry in entries) == 2


def test_shadow_mode_decides_everything_and_sends_nothing(
    tmp_path_factory: pytest.TempPathFactory, vendors: StandIn
) -> None:
    folder = tmp_path_factory.mktemp("shadow")
    with acme_with(folder, vendors.base, workspace="shadow = true") as server:
        one = message(stamp=ANALYTICS)
        send(server, one)
        found = tried(server, one["messageId"], "warehouse")
        assert (found["state"], found["decision"]["decision"]) == ("withheld", "allow")
        assert [a["grade"] for a in found["attempts"]] == ["shadow"]
        assert delivery(server, one["messageId"], "ads")["decision"]["decision"] == "withhold"
        choose(server, {"anonymousId": one["anonymousId"]}, BOTH)
        assert lookup(server, {"anonymousId": one["anonymousId"]})["preferences"]
        assert destination(server, "warehouse")["shadow"] is True
        server.config.write_text(config(vendors.base))
        wait_for(lambda: not destination(server, "warehouse")["shadow"], what="the switch-over")
        two = message(stamp=ANALYTICS, anonymousId=one["anonymousId"])
        send(server, two)
        assert states(server, two["messageId"])["warehouse"] == "delivered"
        assert taken(vendors, one["anonymousId"]) == [two["messageId"]]
