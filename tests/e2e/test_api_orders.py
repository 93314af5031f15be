"""Choices and what other systems hear of them, from a real server to a real stand-in."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.asking import BOTH, NEITHER, choose, consentry, fresh, update, verify
from tests.running import WRITE_KEY, Server, StandIn, call, server, wait_for

MORE = """
[[topic]]
id = "news"
channels = ["email", "sms"]
[[destination]]
name = "mailer"
kind = "webhook"
categories = ["analytics"]
topics = ["news"]
url = "{stand_in}/webhook/mailer"
secret = "env:HOOK_SECRET"
[[destination]]
name = "files"
kind = "console"
categories = ["analytics"]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Any:
    folder = tmp_path_factory.mktemp("orders")
    with server(folder, vendors.base, more=MORE.format(stand_in=vendors.base)) as running:
        yield running


def orders_of(shop: Server, **subject: str) -> list[dict[str, Any]]:
    """Oldest first."""
    answer = shop.admin("POST", "/v1/propagation/lookup", {"subject": subject})
    assert answer.status == 200, answer.body
    return list(reversed(answer.json["orders"]))


def settled(shop: Server, **subject: str) -> list[dict[str, Any]]:
    """The orders about somebody, once none of them is open."""

    def all_settled() -> list[dict[str, Any]] | None:
        found = orders_of(shop, **subject)
        return None if any(o["state"] in ("waiting", "sending") for o in found) else found

    found: list[dict[str, Any]] = wait_for(all_settled, what=f"orders of {subject}")
    return found


def asked_of(shop: Server, *arguments: str) -> str:
    """What `consentry propagation` prints."""
    return consentry(shop, "propagation", *arguments, "--server", shop.base).stdout


def by(orders: list[dict[str, Any]], destination: str) -> list[tuple[str, str, str | None]]:
    return [(o["verb"], o["state"], o["grade"]) for o in orders if o["destination"] == destination]


def told(vendors: StandIn, instance: str, user: str) -> list[dict[str, Any]]:
    return [b for b in vendors.orders(instance) if user in b["data"]["subject"]["userIds"]]


def test_a_withdrawal_is_told_and_its_proof_is_on_the_ledger(shop: Server, well: StandIn) -> None:
    user = fresh("user")
    choose(shop, {"userId": user}, BOTH)
    settled(shop, userId=user)
    answer = choose(shop, {"userId": user, "email": f"{user}@shop.example"}, NEITHER)
    assert answer.status == 201
    found = settled(shop, userId=user)
    assert set(answer.json["orders"]) == {
        o["orderId"] for o in found if o["recordId"] == answer.json["recordId"]
    }
    assert by(found, "warehouse") == [
        ("grant", "terminal", "confirmed"),
        ("gate", "terminal", "gated"),
        ("suppress", "terminal", "confirmed"),
    ]
    assert by(found, "files") == [("gate", "terminal", "gated")]
    grant, withdrawn = told(well, "warehouse", user)
    assert (grant["type"], withdrawn["type"]) == ("consent.granted", "consent.withdrawn")
    assert withdrawn["data"]["preferences"] == NEITHER
    assert withdrawn["data"]["subject"]["emails"] == [f"{user}@shop.example"]
    last = next(o for o in found if (o["destination"], o["verb"]) == ("ads", "suppress"))
    (attempt,) = last["attempts"]
    assert attempt["requestDigest"]
    assert attempt["responseDigest"]
    lines = shop.admin("GET", "/v1/ledger").body.decode().splitlines()
    assert sum('"outcome"' in line for line in lines) >= 2
    verify(shop)


def test_an_unproven_no_for_an_account_reaches_nobody(shop: Server, well: StandIn) -> None:
    user = fresh("user")
    body = {"subject": {"anonymousId": fresh("dev"), "userId": user}, "preferences": NEITHER}
    answer = call(shop.base, "POST", "/v1/consent", body, basic=WRITE_KEY)
    assert answer.status == 201
    found = settled(shop, userId=user)
    assert {o["verb"] for o in found} == {"gate", "suppress"}
    assert all(o["state"] == "terminal" for o in found)
    for instance in ("warehouse", "ads", "mailer"):
        assert told(well, instance, user) == []
    named = [b["data"]["subject"] for b in well.orders("warehouse")]
    assert {"anonymousIds": [body["subject"]["anonymousId"]], "userIds": []}.items() <= named[
        -1
    ].items()


def test_a_preference_update_and_a_suppression_are_told(shop: Server, well: StandIn) -> None:
    device, user = fresh("dev"), fresh("user")
    shop.track(update(BOTH, anonymousId=device))
    shop.track(update(NEITHER, anonymousId=device))
    found = settled(shop, anonymousId=device)
    assert [verb for verb, _, _ in by(found, "warehouse")] == ["grant", "gate", "suppress"]
    answer = shop.admin("POST", "/v1/subjects/suppress", {"subject": {"userId": user}})
    assert answer.json["suppressed"]
    found = settled(shop, userId=user)
    assert {o["orderId"] for o in found} == set(answer.json["orders"])
    assert by(found, "ads") == [
        ("gate", "terminal", "gated"),
        ("suppress", "terminal", "confirmed"),
    ]


def test_a_topic_is_told_to_who_carries_it(shop: Server, well: StandIn) -> None:
    user = fresh("user")
    choose(shop, {"userId": user}, {}, topics={"news": {"email": False}})
    found = settled(shop, userId=user)
    assert {o["destination"] for o in found} == {"mailer"}
    (said,) = told(well, "mailer", user)
    assert said["data"]["topics"] == [{"topic": "news", "channel": "email"}]
    assert not said["data"]["whole"]


MODES: dict[str, tuple[dict[str, Any], str, str, int]] = {
    "noop": ({}, "terminal", "noop", 1),
    "partial": ({}, "terminal", "confirmed", 1),
    "429": ({"count": 1, "retry_after": 0}, "terminal", "confirmed", 2),
    "401": ({"count": 1}, "terminal", "confirmed", 2),
    "5xx": ({"count": 1}, "terminal", "confirmed", 2),
    "reset": ({"count": 1}, "terminal", "confirmed", 2),
    "slow": ({"count": 1, "delay_ms": 200}, "terminal", "confirmed", 1),
    "garbage": ({"count": 1}, "terminal", "accepted", 1),
    "truncate": ({"count": 1}, "terminal", "confirmed", 2),
}


@pytest.mark.parametrize("mode", MODES)
def test_whatever_the_endpoint_does_the_order_ends_with_the_right_grade(
    shop: Server, well: StandIn, mode: str
) -> None:
    more, state, grade, tries = MODES[mode]
    user = fresh("user")
    well.mode("webhook", mode, **more)
    assert choose(shop, {"userId": user}, {}, topics={"news": {"sms": False}}).status == 201
    (_, order) = settled(shop, userId=user)
    assert (order["state"], order["grade"], len(order["attempts"])) == (state, grade, tries)


def test_a_newer_choice_takes_the_place_of_one_that_waits(shop: Server, well: StandIn) -> None:
    user = fresh("user")
    well.mode("webhook", "5xx")
    choose(shop, {"userId": user}, NEITHER)
    wait_for(lambda: any(o["attempts"] for o in orders_of(shop, userId=user)), what="a try")
    choose(shop, {"userId": user}, BOTH)

    def superseded() -> bool:
        return by(orders_of(shop, userId=user), "warehouse")[1][1] == "superseded"

    wait_for(superseded, what="the older order to give way")
    open_now = shop.admin("GET", "/v1/propagation/status").json["destinations"]
    assert {d["name"]: d["open"] for d in open_now}["warehouse"] == 1
    well.mode("webhook", "ok")
    assert shop.admin("POST", "/v1/propagation/retry", {"destination": "warehouse"}).json
    assert shop.admin("POST", "/v1/propagation/retry", {}).status == 200
    found = settled(shop, userId=user)
    _, old, new = [o for o in found if o["destination"] == "warehouse"]
    assert old["supersededBy"] == new["orderId"]
    assert (new["verb"], new["grade"]) == ("grant", "confirmed")
    assert told(well, "warehouse", user)[-1]["type"] == "consent.granted"


def test_one_that_failed_for_good_is_tried_again_by_hand(shop: Server, well: StandIn) -> None:
    config = shop.config.read_text()
    assert "/webhook/mailer" in config
    user = fresh("user")
    shop.config.write_text(config.replace("/webhook/mailer", "/nowhere/mailer"))
    wait_for(lambda: shop.log.count("configuration_taken") >= 2, what="the new address")
    assert choose(shop, {"userId": user}, {}, topics={"news": {"email": False}}).status == 201
    (_, order) = settled(shop, userId=user)
    assert (order["state"], order["grade"]) == ("terminal", "failed_final")
    assert f"consentry propagation retry --order {order['orderId']}" in shop.log
    shop.config.write_text(config)
    wait_for(lambda: shop.log.count("configuration_taken") >= 3, what="the old address")
    retried = asked_of(shop, "retry", "--order", order["orderId"])
    assert "1 are tried again" in retried
    (_, order) = settled(shop, userId=user)
    assert (order["grade"], len(order["attempts"])) == ("confirmed", 2)


def test_what_is_owed_to_a_destination_that_is_gone_is_kept_until_somebody_ends_it(
    shop: Server, well: StandIn
) -> None:
    config, user, other = shop.config.read_text(), fresh("user"), fresh("user")
    first, mailer, last = config.partition('[[destination]]\nname = "mailer"')
    assert mailer
    well.mode("webhook", "5xx")
    choose(shop, {"userId": user}, NEITHER)
    choose(shop, {"userId": other}, NEITHER)
    wait_for(lambda: any(o["attempts"] for o in orders_of(shop, userId=user)), what="a try")
    drop = {"destination": "mailer"}
    assert shop.admin("POST", "/v1/propagation/drop", drop).status == 409
    shop.config.write_text(first + last[last.index("[[destination]]") :])
    wait_for(lambda: "orders_of_a_removed_destination" in shop.log, what="the word about it")
    assert "(removed)" in asked_of(shop, "status")
    shop.admin("POST", "/v1/propagation/retry", drop)
    assert by(orders_of(shop, userId=user), "mailer")[-1][:2] == ("suppress", "waiting")
    assert "2 ended without having been told" in asked_of(shop, "drop", "--destination", "mailer")
    assert shop.admin("POST", "/v1/propagation/drop", drop).json == {"dropped": 0}
    ended = [o for o in orders_of(shop, userId=user) if o["destination"] == "mailer"][-1]
    assert (ended["state"], ended["grade"]) == ("terminal", "failed_final")
    assert "given up by hand" in ended["detail"]
    status = shop.admin("GET", "/v1/propagation/status").json["destinations"]
    assert "mailer" not in [one["name"] for one in status]
    taken = shop.log.count("configuration_taken")
    well.mode("webhook", "ok")
    shop.config.write_text(config)
    wait_for(lambda: shop.log.count("configuration_taken") > taken, what="the old configuration")
    again = {"orderIds": [ended["orderId"]]}
    assert shop.admin("POST", "/v1/propagation/retry", again).json == {"retried": 1}
    assert by(settled(shop, userId=user), "mailer")[-1] == ("suppress", "terminal", "confirmed")
    shop.admin("POST", "/v1/propagation/retry", {})
    settled(shop, userId=other)


def test_who_is_erased_while_a_destination_is_out_is_told_to_it_as_it_comes_back(
    shop: Server, well: StandIn
) -> None:
    config, user = shop.config.read_text(), fresh("user")
    choose(shop, {"userId": user}, BOTH)
    settled(shop, userId=user)
    first, mailer, last = config.partition('[[destination]]\nname = "mailer"')
    assert mailer
    taken = shop.log.count("configuration_taken")
    shop.config.write_text(first + last[last.index("[[destination]]") :])
    wait_for(lambda: shop.log.count("configuration_taken") > taken, what="the one without it")
    erased = shop.admin("POST", "/v1/subjects/erase", {"subject": {"userId": user}})
    assert erased.status == 202
    path = f"/v1/erasures/{erased.json['erasureId']}"
    assert "erasure_waits_for_removed" in shop.log

    def waits() -> Any:
        found = shop.admin("GET", path).json
        return found if found["ours"] != "erasing" and found["open"] == 1 else None

    found = wait_for(waits, what="what is ours, and the others")
    (one,) = (one for one in found["systems"] if one["destination"] == "mailer")
    assert (one["state"], one["verb"]) == ("waiting", "erase")
    assert "should it come back" in one["cannot"]
    asked = ("subject", "erasure", erased.json["erasureId"], "--server", shop.base, "--json")
    assert "is not configured" in consentry(shop, *asked).stdout
    shop.config.write_text(config)
    wait_for(lambda: not shop.admin("GET", path).json["open"], what="the mailer")
    assert [body["type"] for body in told(well, "mailer", user)][-2:] == [
        "consent.withdrawn",
        "subject.erase",
    ]


def test_orders_are_listed_in_pages_and_by_what_they_are(shop: Server, well: StandIn) -> None:
    user = fresh("user")
    choose(shop, {"userId": user}, NEITHER)
    found = settled(shop, userId=user)
    path = f"/v1/propagation/orders?subject=user_id:{user}&destination=ads&state=terminal"
    answer = shop.admin("GET", path)
    assert [o["orderId"] for o in reversed(answer.json["orders"])] == [
        o["orderId"] for o in found if o["destination"] == "ads"
    ]
    assert answer.json["next"] is None
    for wrong in ("state=done", "subject=alice", "cursor=x"):
        assert shop.admin("GET", f"/v1/propagation/orders?{wrong}").status == 400
    for asked in ("orders", "status", "drift"):
        path = f"/v1/propagation/{asked}"
        assert call(shop.base, "GET", path, basic=WRITE_KEY).status in (401, 403)
        assert shop.admin("GET", path).status == 200
    shown = asked_of(shop, "subject", "--user-id", user)
    assert "suppress" in shown
    assert "warehouse" in asked_of(shop, "status")
    assert "no destination holds" in asked_of(shop, "drift")


def test_orders_are_counted_with_their_lag(shop: Server, well: StandIn) -> None:
    user = fresh("user")
    choose(shop, {"userId": user}, NEITHER)
    settled(shop, userId=user)
    text = shop.admin("GET", "/metrics").body.decode()
    for line in (
        'consentry_order_first_attempt_seconds_count{destination="ads"}',
        'consentry_order_terminal_seconds_count{destination="ads"}',
        'consentry_orders_open{destination="ads"} 0.0',
        'consentry_order_attempts_total{destination="ads",grade="confirmed",verb="suppress"}',
    ):
        assert line in text


def test_what_was_owed_before_a_restart_is_told_after_it(shop: Server, well: StandIn) -> None:
    user = fresh("user")
    well.mode("webhook", "5xx")
    choose(shop, {"userId": user}, NEITHER)
    wait_for(lambda: any(o["attempts"] for o in orders_of(shop, userId=user)), what="a try")
    shop.kill()
    well.mode("webhook", "ok")
    shop.start()
    found = settled(shop, userId=user)
    assert by(found, "warehouse")[-1] == ("suppress", "terminal", "confirmed")
    assert told(well, "warehouse", user)[-1]["type"] == "consent.withdrawn"
