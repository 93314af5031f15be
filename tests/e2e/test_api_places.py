"""Places, end to end: a proxy's headers, a file of addresses, and what is then sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.asking import fresh, message
from tests.running import (
    BACKEND_KEY,
    CONFIG,
    WRITE_KEY,
    Server,
    call,
    free_port,
    stand_in,
    wait_for,
)
from tests.web.mmdb_file import mmdb

PLACES = {
    "203.0.113.0/24": {"country": {"iso_code": "DE"}},
    "198.51.100.0/24": {"country": {"iso_code": "US"}, "subdivisions": [{"iso_code": "PA"}]},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("places")
    (folder / "places.mmdb").write_bytes(mmdb(PLACES))
    with stand_in() as vendors:
        made = Server(folder, free_port())
        text = CONFIG.format(stand_in=vendors.base, workspace="", website="", more="")
        made.config.write_text(
            text
            + 'trusted_proxies = ["127.0.0.1"]\nmmdb = "places.mmdb"\nplace_from = "cloudflare"\n'
        )
        made.start()
        try:
            yield made
        finally:
            made.stop()


def sent(running: Server, headers: dict[str, str], **more: Any) -> tuple[dict[str, Any], Any]:
    """The state of each delivery of an event that came with these headers, and what is told."""
    said = message(**more)
    answer = running.track(said, headers=headers)
    assert answer.status == 200, answer.body
    found = running.event(said["messageId"])
    told = running.admin("GET", f"/v1/events/{said['messageId']}").json
    return {name: one["state"] for name, one in found.items()}, told


ALL = {"warehouse": "delivered", "ads": "delivered"}
NONE = {"warehouse": "withheld", "ads": "withheld"}
US_CA = {"CF-IPCountry": "US", "CF-Region-Code": "CA"}


@pytest.mark.parametrize(
    ("headers", "states", "place", "rule"),
    [
        (US_CA, ALL, "US-CA", "us-ca"),
        ({"CF-IPCountry": "NZ"}, ALL, "NZ", "nz"),
        ({"CF-IPCountry": "CH"}, {**NONE, "warehouse": "delivered"}, "CH", "ch"),
        ({"CF-IPCountry": "DE"}, NONE, "DE", "eea-de"),
        ({"CF-IPCountry": "XX"}, NONE, "", "place unknown"),
        ({"X-Vercel-IP-Country": "NZ"}, NONE, "", "place unknown"),  # of no network that was named
        ({"CF-IPCountry": "US", "X-Forwarded-For": "203.0.113.7"}, NONE, "", "place unknown"),
        ({"X-Forwarded-For": "198.51.100.7"}, ALL, "US-PA", "us-default"),
        ({"X-Forwarded-For": "203.0.113.7"}, NONE, "DE", "eea-de"),
        ({"X-Forwarded-For": "192.0.2.7"}, NONE, "", "place unknown"),
        ({**US_CA, "X-Forwarded-For": "198.51.100.7"}, ALL, "US-CA", "us-ca"),
        ({}, NONE, "", "place unknown"),
    ],
)
def test_what_is_sent_follows_the_rule_of_the_place(
    running: Server, headers: dict[str, str], states: dict[str, str], place: str, rule: str
) -> None:
    found, told = sent(running, headers)
    assert found == states
    assert (told["place"], told["rule"]["id"]) == (place, rule)
    grounds = [d["decision"]["grounds"] for d in told["deliveries"]]
    assert {ground["rule"] for each in grounds for ground in each} == {rule}


def test_a_refusal_and_a_signal_count_where_silence_is_yes(running: Server) -> None:
    device = fresh("dev")
    found, _ = sent(running, {**US_CA, "Sec-GPC": "1"}, anonymousId=device)
    assert found == {**ALL, "ads": "withheld"}
    no = {"subject": {"anonymousId": device}, "preferences": {"analytics": False}}
    reply = call(running.base, "POST", "/v1/consent", no, basic=WRITE_KEY, headers=US_CA)
    assert reply.status == 201
    assert sent(running, US_CA, anonymousId=device)[0] == NONE


def test_preferences_are_told_as_they_hold_at_the_place(running: Server) -> None:
    path = f"/v1/subjects/anonymous_id:{fresh('dev')}"

    def effective(headers: dict[str, str]) -> set[str]:
        answer = call(running.base, "GET", path, basic=WRITE_KEY, headers=headers)
        return {one["effective"] for one in answer.json["preferences"].values()}

    assert effective(US_CA) == {"granted"}
    assert effective({"CF-IPCountry": "DE"}) == {"denied"}


def test_a_record_of_a_choice_says_where_and_by_which_rule(running: Server) -> None:
    device = fresh("dev")
    body = {"subject": {"anonymousId": device}, "preferences": {"analytics": True}}
    made = call(running.base, "POST", "/v1/consent", body, basic=WRITE_KEY, headers=US_CA)
    assert made.status == 201
    path = f"/v1/subjects/anonymous_id:{device}?history=true"
    history = call(running.base, "GET", path, basic=WRITE_KEY).json["history"]
    place = history[0]["place"]
    assert (place["jurisdiction"], place["rule"]) == ("US-CA", "us-ca")
    assert len(place["ruleVersion"]) == 16


@pytest.mark.parametrize(
    ("place", "decision"),
    [
        ({"country": "US", "region": "CA"}, "allow"),
        ({"country": "DE"}, "withhold"),
        (None, "withhold"),
    ],
)
@pytest.mark.parametrize("asked", ["event", "subject"])
def test_decisions_may_be_asked_for_a_place(
    running: Server, place: dict[str, str] | None, decision: str, asked: str
) -> None:
    item: dict[str, Any] = {"id": "1", "subject": {"anonymousId": fresh("dev")}}
    if asked == "event":
        item = {"id": "1", "event": message()}
    if place is not None:
        item["place"] = place
    reply = call(running.base, "POST", "/v1/decisions", {"items": [item]}, key=BACKEND_KEY)
    decisions = {d["destination"]: d["decision"] for d in reply.json["items"][0]["decisions"]}
    assert decisions == {"warehouse": decision, "ads": decision}


def test_an_odd_place_is_refused(running: Server) -> None:
    item = {"id": "1", "subject": {"anonymousId": "d"}, "place": {"country": "usa"}}
    reply = call(running.base, "POST", "/v1/decisions", {"items": [item]}, key=BACKEND_KEY)
    assert (reply.status, reply.json["field"]) == (400, "items[0].place.country")


def test_a_servers_event_has_no_place_but_an_address_in_it_tightens(running: Server) -> None:
    without = message()
    german = message(context={"ip": "203.0.113.7"})
    for one in (without, german):
        assert running.track(one, key=BACKEND_KEY, headers=US_CA).status == 200
    for one, place in ((without, None), (german, "?DE")):
        assert running.event(one["messageId"])
        assert running.admin("GET", f"/v1/events/{one['messageId']}").json["place"] == place


def test_places_are_counted_and_the_file_is_watched(running: Server) -> None:
    sent(running, US_CA)
    text = running.admin("GET", "/metrics").body.decode()
    assert 'consentry_places_total{how="header"}' in text
    assert "consentry_address_file_usable 1.0" in text
    file: Path = running.folder / "places.mmdb"
    file.write_bytes(b"broken")

    def broken() -> bool:
        sent(running, {"X-Forwarded-For": "198.51.100.7"})
        return "consentry_address_file_usable 0.0" in running.admin("GET", "/metrics").body.decode()

    wait_for(broken, timeout_s=60, what="the broken file is noticed")
    assert sent(running, {"X-Forwarded-For": "198.51.100.7"})[0] == NONE
    assert "address_file_unreadable" in running.log
