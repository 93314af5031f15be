"""Evidence and counts: what a record says of how a choice was asked for, and what of it is counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.asking import (
    BOTH,
    NEITHER,
    acme_with,
    choose,
    consentry,
    dumped,
    fresh,
    lookup,
    message,
    proof,
    send,
    state,
    update,
    withdraw,
)
from tests.running import ADMIN_KEY, BACKEND_KEY, WRITE_KEY, Answer, Server, StandIn, call

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
PROXY = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
FROM_DE = {"X-Forwarded-For": "203.0.113.77", "CF-IPCountry": "DE", "User-Agent": FIREFOX}
COUNTED = ("shown", "closed", "accepted", "refused", "chosen", "changed")


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("acme")
    with acme_with(
        folder,
        vendors.base,
        more='[[source]]\nname = "slow"\nwrite_key = "wk_slow"\nrate_limit = 1\n',
    ) as running:
        running.config.write_text(running.config.read_text().replace("[server]\n", PROXY))
        running.stop()
        running.start()
        yield running


def policy(server: Server, language: str = "de") -> Any:
    path = f"/v1/projects/{WRITE_KEY}/policy?language={language}"
    return call(server.base, "GET", path, headers=FROM_DE).json


def shown_to(server: Server, language: str = "de", **more: Any) -> dict[str, Any]:
    """The evidence that the page sends for what it was given to show."""
    found = policy(server, language)
    return {
        "action": "accept_all",
        "surface": "banner",
        "noticeId": found["notice"]["id"],
        "noticeVersion": found["notice"]["version"],
        "noticeHash": found["notice"]["hash"],
        "language": language,
        "layout": found["notice"]["layout"],
        "page": "https://ann:secret@shop.example/cart?email=ann@shop.example#pay",
        "sdkVersion": "1.2.3",
        **more,
    }


def answer(
    server: Server,
    preferences: dict[str, bool],
    device: str,
    headers: Any = FROM_DE,
    **evidence: Any,
) -> Answer:
    found = choose(
        server,
        {"anonymousId": device},
        preferences,
        key=WRITE_KEY,
        evidence=shown_to(server, **evidence),
        headers=headers,
    )
    assert found.status == 201, found.body
    return found


def latest(server: Server, device: str) -> Any:
    return lookup(server, {"anonymousId": device}, history=True)["history"][0]


def counted(server: Server, by: str = "day", **wanted: str) -> dict[str, int]:
    """What was counted in all, in the rows that are wanted."""
    found = call(server.base, "GET", f"/v1/choices?by={by}", key=ADMIN_KEY)
    assert found.status == 200, found.body
    rows = [r for r in found.json["rows"] if all(r[k] == v for k, v in wanted.items())]
    return {what: sum(row[what] for row in rows) for what in COUNTED}


def noted(
    server: Server, what: str, key: str = WRITE_KEY, headers: Any = FROM_DE, **more: Any
) -> Answer:
    body = {"writeKey": key, "what": what, "surface": "banner", **more}
    return call(server.base, "POST", "/v1/notices/noted", body, headers=headers)


# -- evidence ---------------------------------------------------------------------------------
def test_a_record_says_what_was_shown_where_and_by_which_law(acme: Server) -> None:
    device = fresh("dev")
    answer(acme, BOTH, device)
    found = latest(acme, device)

    told = shown_to(acme)
    assert found["evidence"] == {
        **told,
        "page": "https://shop.example/cart",
        "noticeKnown": True,
        "network": "203.0.113.0/24",
        "browser": "Firefox",
    }
    law = policy(acme)
    assert found["place"]["jurisdiction"] == law["jurisdiction"] == "DE"
    assert found["place"]["regime"] == law["regime"] == "opt_in"
    assert found["place"]["ruleVersion"] == law["ruleVersion"]
    archived = acme.admin("GET", f"/v1/notices/{told['noticeHash']}").json
    assert archived["texts"]["action.reject"] == "Alle ablehnen"


def test_what_identifies_stays_out_of_the_leaf(acme: Server) -> None:
    device = fresh("dev")
    answer(acme, BOTH, device)
    seq = latest(acme, device)["seq"]
    leaf = call(acme.base, "GET", f"/v1/ledger?first={seq}", key=ADMIN_KEY).body.splitlines()[0]

    for private in (b"203.0.113", b"Firefox", b"shop.example", device.encode(), b"1.2.3"):
        assert private not in leaf
    assert shown_to(acme)["noticeHash"].encode() in leaf


def test_the_command_line_shows_it(acme: Server) -> None:
    device = fresh("dev")
    answer(acme, BOTH, device)
    shown = said(acme, "subject", "show", "--anonymous-id", device)
    for told in (
        "Firefox",
        "203.0.113.0/24",
        "https://shop.example/cart",
        "jurisdiction DE",
        "bar",
    ):
        assert told in shown


# The address of a request, and what is kept of it.
NETWORKS = {
    "IPv4": ("198.51.100.200", "198.51.100.0/24"),
    "IPv6": ("2001:db8:1:2:3::9", "2001:db8:1::/48"),
    "IPv4 in IPv6": ("::ffff:198.51.100.200", "198.51.100.0/24"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_address_is_kept_as_its_network(acme: Server, name: str) -> None:
    address, network = NETWORKS[name]
    device = fresh("dev")
    answer(acme, BOTH, device, headers={**FROM_DE, "X-Forwarded-For": address})
    assert latest(acme, device)["evidence"]["network"] == network


# What is said of the notice, and what the server makes of it.
DOUBTFUL = {
    "a hash of nothing": ({"noticeHash": "0" * 64}, {"noticeKnown": False}),
    "another language": (
        {"language": "fr"},
        {"noticeKnown": True, "noticeContradicts": ["language"]},
    ),
    "a version that never was": (
        {"noticeVersion": "99"},
        {"noticeKnown": True, "noticeContradicts": ["noticeVersion"]},
    ),
    "another layout": ({"layout": "modal"}, {"noticeKnown": True, "noticeContradicts": ["layout"]}),
    "another notice": (
        {"noticeId": "other"},
        {"noticeKnown": True, "noticeContradicts": ["noticeId"]},
    ),
}


def test_a_text_that_looks_like_ours_was_not_shown_by_us(acme: Server) -> None:
    """Whoever holds the public key, or a server's, writes what they like, and its hash fits."""
    ours = acme.admin("GET", f"/v1/notices/{shown_to(acme)['noticeHash']}").json
    forged = dumped({**ours, "texts": {**ours["texts"], "banner.title": "We take nothing."}})
    digest = hashlib.sha256(forged.encode()).hexdigest()
    told = {**shown_to(acme), "noticeText": forged, "noticeHash": digest}

    def kept(evidence: dict[str, str], key: str = WRITE_KEY) -> Any:
        subject = {"anonymousId": fresh("dev")}
        assert choose(acme, subject, BOTH, key=key, evidence=evidence).status == 201
        found = lookup(acme, subject, history=True)["history"][0]["evidence"]
        return found["noticeKnown"], found.get("noticeBy")

    assert kept(told) == (False, "sender")
    assert acme.admin("GET", f"/v1/notices/{digest}").status == 404, "strangers archive nothing"
    assert kept(told, BACKEND_KEY) == (False, "sender")
    assert acme.admin("GET", f"/v1/notices/{digest}").body.decode() == forged
    afterwards = {**shown_to(acme), "noticeHash": digest}
    assert kept(afterwards) == (False, None)
    whole = acme.admin("GET", f"/v1/notices/{shown_to(acme)['noticeHash']}").body.decode()
    assert kept({**shown_to(acme), "noticeText": whole}) == (True, None)


@pytest.mark.parametrize(
    ("page", "kept"),
    [
        ("https://shop.example/reset/Zr8q1Ut0kenX", "https://shop.example/reset/*"),
        ("https://shop.example/u/ann@example.com?x", "https://shop.example/u/*"),
        ("https://ann:pw@shop.example/a%2Fb/cart", "https://shop.example/*/cart"),
        ("/order/1234567", "/order/*"),
    ],
)
def test_whatever_may_name_somebody_is_no_part_of_a_page(
    acme: Server, page: str, kept: str
) -> None:
    device = fresh("dev")
    subject = {"anonymousId": device}
    assert choose(acme, subject, BOTH, key=WRITE_KEY, evidence={"page": page}).status == 201
    assert latest(acme, device)["evidence"]["page"] == kept


def test_a_signal_is_recorded_for_whoever_a_page_names(acme: Server) -> None:
    """A backend's events carry no signal: the account has to be known to refuse."""
    device, user = fresh("dev"), fresh("user")
    before = counted(acme)
    signalling = {**FROM_DE, "Sec-GPC": "1"}
    named = {**signalling, **proof(user)}
    assert noted(acme, "signal", headers=named, anonymousId=device).status == 200
    for subject in ({"anonymousId": device}, {"userId": user}):
        found = lookup(acme, subject)
        assert list(found["signals"]) == ["gpc"]
        assert found["preferences"]["advertising"]["why"] == "signal"
    again = len(lookup(acme, {"userId": user}, history=True)["history"])
    assert noted(acme, "signal", headers=named, anonymousId=device).status == 200
    assert len(lookup(acme, {"userId": user}, history=True)["history"]) == again
    unproven = fresh("user")
    assert noted(acme, "signal", headers=signalling).status == 200
    assert lookup(acme, {"userId": unproven})["signals"] == {}
    assert counted(acme) == before, "it is no notice that was shown"


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_the_server_never_showed_is_recorded_as_such_and_counted(
    acme: Server, name: str
) -> None:
    claimed, found = DOUBTFUL[name]
    device = fresh("dev")
    before = metric(acme, "consentry_unknown_notices_total")
    evidence = {**shown_to(acme), **claimed}
    subject = {"anonymousId": device}
    assert choose(acme, subject, BOTH, key=WRITE_KEY, evidence=evidence).status == 201

    kept = latest(acme, device)["evidence"]
    assert {k: v for k, v in kept.items() if k in ("noticeKnown", "noticeContradicts")} == found
    assert state(lookup(acme, subject)["preferences"]) == ("granted", "granted", None)
    assert metric(acme, "consentry_unknown_notices_total") == before + 1


def test_a_server_speaks_for_somebody_so_its_own_address_says_nothing(acme: Server) -> None:
    device = fresh("dev")
    choose(acme, {"anonymousId": device}, BOTH, evidence=shown_to(acme), headers=FROM_DE)
    kept = latest(acme, device)["evidence"]
    assert "network" not in kept
    assert "browser" not in kept


def test_the_page_of_a_preference_update_is_kept_without_its_query(acme: Server) -> None:
    device = fresh("dev")
    sent = update(BOTH, anonymousId=device)
    sent["context"]["page"] = {"url": "https://shop.example/a?email=ann@shop.example#x"}
    send(acme, sent)
    assert latest(acme, device)["evidence"]["page"] == "https://shop.example/a"


# -- the opt-out signal -----------------------------------------------------------------------
GPC = {**FROM_DE, "Sec-GPC": "1", "Origin": "https://shop.example"}


def signals(server: Server, device: str) -> Any:
    return lookup(server, {"anonymousId": device})["signals"]


def test_a_choice_with_the_signal_records_it_and_what_was_not_answered_is_refused(
    acme: Server,
) -> None:
    device = fresh("dev")
    answer(acme, {"analytics": True}, device, headers=GPC)
    found = lookup(acme, {"anonymousId": device}, history=True)

    assert found["signals"]["gpc"]["covers"] == ["advertising"]
    assert state(found["preferences"], "advertising") == ("never_collected", "denied", "signal")
    assert [entry["type"] for entry in found["history"]] == ["choice", "signal"]


def test_an_explicit_yes_outweighs_the_signal_that_came_with_it(acme: Server) -> None:
    device = fresh("dev")
    answer(acme, BOTH, device, headers=GPC)
    assert state(lookup(acme, {"anonymousId": device})["preferences"], "advertising") == (
        "granted",
        "granted",
        None,
    )
    send(acme, message(anonymousId=device), headers=GPC)
    assert len(lookup(acme, {"anonymousId": device}, history=True)["history"]) == 2, "no news"


def test_a_withdrawal_with_the_signal_records_both(acme: Server) -> None:
    device = fresh("dev")
    body = {"subject": {"anonymousId": device}, "writeKey": WRITE_KEY}
    assert call(acme.base, "POST", "/v1/consent/withdraw", body, headers=GPC).status == 201
    assert signals(acme, device)


def test_a_server_sends_no_signal(acme: Server) -> None:
    device = fresh("dev")
    choose(acme, {"anonymousId": device}, BOTH, headers=GPC)
    assert signals(acme, device) == {}


def test_a_notice_shown_to_a_known_browser_with_the_signal_records_it(acme: Server) -> None:
    device = fresh("dev")
    assert noted(acme, "shown", headers=GPC, anonymousId=device).json == {"success": True}
    assert signals(acme, device)["gpc"]["covers"] == ["advertising"]
    assert noted(acme, "shown", headers=GPC).status == 200, "nobody is named: only counted"


# -- counts -----------------------------------------------------------------------------------
# The answers of one person, in order, and what they are counted as.
ANSWERS: dict[str, tuple[list[tuple[dict[str, bool], dict[str, Any]]], dict[str, int]]] = {
    "accepted": ([(BOTH, {})], {"accepted": 1}),
    "refused": ([(NEITHER, {"action": "reject_all"})], {"refused": 1}),
    "chosen": ([({"analytics": True, "advertising": False}, {"action": "save"})], {"chosen": 1}),
    "all turned on by hand": ([(BOTH, {"action": "save"})], {"chosen": 1}),
    "said to accept, and does not": (
        [({"analytics": True, "advertising": False}, {})],
        {"chosen": 1},
    ),
    "changed": ([(BOTH, {}), (NEITHER, {"action": "withdraw"})], {"accepted": 1, "changed": 1}),
    "the signal is no answer": ([(NEITHER, {"action": "gpc"})], {}),
    "an import is no answer": ([(BOTH, {"surface": "api"})], {}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_counted(acme: Server, name: str) -> None:
    answers, expected = ANSWERS[name]
    before, device = counted(acme), fresh("dev")
    for preferences, evidence in answers:
        answer(acme, preferences, device, **evidence)
    after = counted(acme)
    assert {what: after[what] - before[what] for what in COUNTED} == {
        **dict.fromkeys(COUNTED, 0),
        **expected,
    }


def test_shown_and_closed_are_counted_by_region_version_and_language(acme: Server) -> None:
    version = policy(acme)["notice"]["version"]
    of_it = {"region": "FR", "version": version, "language": "fr"}
    by = "region,version,language"
    from_fr = {**FROM_DE, "CF-IPCountry": "FR"}
    said = {"noticeId": "default", "noticeVersion": version, "language": "fr"}
    for what in ("shown", "shown", "closed"):
        assert noted(acme, what, headers=from_fr, **said).status == 200
    opened = {**said, "surface": "preference_centre"}  # by who wants to look, asked by nobody
    assert noted(acme, "shown", headers=from_fr, **opened).status == 200

    assert counted(acme, by, **of_it) | dict.fromkeys(COUNTED[2:], 0) == {
        "shown": 2,
        "closed": 1,
        **dict.fromkeys(COUNTED[2:], 0),
    }
    labels = f'language="fr",region="FR",version="{version}",what="shown"'
    assert metric(acme, "consentry_notices_total{" + labels + "}") == 2


def test_nobody_can_make_up_labels(acme: Server) -> None:
    made_up = {"noticeVersion": fresh("v"), "language": "tlh"}
    assert noted(acme, "shown", headers={"CF-IPCountry": "T1"}, **made_up).status == 200
    rows = call(acme.base, "GET", "/v1/choices?by=region,version,language", key=ADMIN_KEY).json
    unknown = {"region": "unknown", "version": "unknown", "language": "unknown"}
    assert any(row.items() >= unknown.items() for row in rows["rows"])
    assert made_up["noticeVersion"] not in str(rows)


def test_a_repeated_request_is_counted_once(acme: Server) -> None:
    before = counted(acme)["accepted"]
    body = {
        "subject": {"anonymousId": fresh("dev")},
        "preferences": BOTH,
        "evidence": shown_to(acme),
    }
    key = {"Idempotency-Key": fresh("key"), **FROM_DE}
    for status in (201, 200, 200):
        sent = call(acme.base, "POST", "/v1/consent", body, basic=WRITE_KEY, headers=key)
        assert sent.status == status
    assert counted(acme)["accepted"] == before + 1


def test_counts_outlive_the_server(tmp_path: Path, vendors: StandIn) -> None:
    with acme_with(tmp_path, vendors.base) as running:
        noted(running, "shown", noticeVersion="1", language="en")
        answer(running, BOTH, fresh("dev"))
        before = counted(running)
        assert (before["shown"], before["accepted"]) == (1, 1)
        running.kill()
        running.start()
        assert counted(running) == before
        assert "accepted" in said(running, "choices", "--since", "2020-01-01", "--by", "language")
        assert said(running, "choices", "--since", "2999-01-01").strip() == "nothing was counted"


REFUSED = {
    "no key": ({"writeKey": "wk_nobody"}, 401),
    "nothing that is counted": ({"what": "accepted"}, 400),
    "a member too many": ({"userId": "ann"}, 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_counted_is_refused(acme: Server, name: str) -> None:
    more, status = REFUSED[name]
    body = {"writeKey": WRITE_KEY, "what": "shown", **more}
    before = counted(acme)
    assert call(acme.base, "POST", "/v1/notices/noted", body).status == status
    assert counted(acme) == before


def test_a_flood_of_counts_is_limited_and_keeps_nobody_from_withdrawing(acme: Server) -> None:
    statuses = [noted(acme, "shown", "wk_slow").status for _ in range(15)]
    assert 429 in statuses
    device = {"anonymousId": fresh("dev")}
    assert withdraw(acme, device, key=None, writeKey="wk_slow").status == 201


@pytest.mark.parametrize("query", ["since=yesterday", "by=person", "since=2026-13-01"])
def test_counts_are_asked_for_with_sense(acme: Server, query: str) -> None:
    assert call(acme.base, "GET", f"/v1/choices?{query}", key=ADMIN_KEY).status == 400


def test_only_operators_read_counts(acme: Server) -> None:
    assert call(acme.base, "GET", "/v1/choices").status == 401
    assert call(acme.base, "GET", "/v1/choices", basic=WRITE_KEY).status == 403


def metric(server: Server, name: str) -> float:
    text = call(server.base, "GET", "/metrics").body.decode()
    return next(
        (float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)), 0.0
    )


def said(server: Server, *arguments: str) -> str:
    """What a command prints."""
    done = consentry(server, *arguments, "--server", server.base)
    assert done.returncode == 0, done.stderr
    return done.stdout
