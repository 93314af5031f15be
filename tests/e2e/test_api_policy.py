"""The policy document: which rule holds for this visitor, and how to ask (docs/decisions/0012)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.asking import acme_with
from tests.running import ADMIN_KEY, WRITE_KEY, Answer, Server, StandIn, call, wait_for

MORE = """
[[category]]
id = "login"
name = "Login"
essential = true
[[category]]
id = "heat"
name = "Heat maps"
description = "Shows where people click."
enabled = false
[[tag]]
name = "Ad pixel"
categories = ["advertising"]
hosts = ["*.ads.example"]
cookies = ["_ad*"]
revoke = "adPixel.revoke"
[[topic]]
id = "news"
name = "Newsletter"
channels = ["email", "sms"]
[[source]]
name = "other"
write_key = "wk_other"
origins = ["https://other.example"]
regime = "opt_out"
[notice]
layout = "box"
privacy_url = "/privacy"
cookie_domain = "shop.example"
[notice.texts.de]
"topic.news.name" = "Rundbrief"
"""
PROXY = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("acme")
    with acme_with(folder, vendors.base, more=MORE) as running:
        text = running.config.read_text().replace("[server]\n", PROXY)
        running.config.write_text(text)
        running.stop()
        running.start()
        yield running


def ask(server: Server, key: str = WRITE_KEY, query: str = "", **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(server.base, "GET", f"/v1/projects/{key}/policy{query}", headers=sent)


def document(server: Server, **headers: str) -> Any:
    answer = ask(server, **headers)
    assert answer.status == 200, answer.body
    return answer.json


def named(found: Any, category: str) -> Any:
    return next(c for c in found["categories"] if c["id"] == category)


def test_its_members_are_those_that_pages_are_written_against(acme: Server) -> None:
    """The interface Policy of sdk/js/src/types.ts, and beyond it only ``rule`` and ``since``."""
    types = (Path(__file__).parents[2] / "sdk/js/src/types.ts").read_text()

    def members(interface: str) -> set[str]:
        body = re.search(rf"export interface {interface} {{\n(.*?)\n}}", types, re.DOTALL)
        assert body is not None
        return set(re.findall(r"^  (\w+)\??:", body[1], re.MULTILINE))

    found = document(acme)
    assert set(found) == members("Policy") | {"rule"}
    assert set(found["categories"][0]) == members("PolicyCategory") | {"since"}
    assert set(found["tags"][0]) == members("Tag")


def test_what_is_asked_of_whom_is_said(acme: Server) -> None:
    found = document(acme)

    assert [c["id"] for c in found["categories"]] == ["analytics", "advertising", "login"]
    assert named(found, "advertising") | {"description": "", "since": ""} == {
        "id": "advertising",
        "name": "Advertising",
        "description": "",
        "essential": False,
        "regime": "opt_in",
        "default": False,
        "prohibited": False,
        "gpc": True,
        "destinations": ["ads"],
        "tags": ["Ad pixel"],
        "since": "",
    }
    assert named(found, "login")["default"]
    assert found["tags"] == [
        {
            "name": "Ad pixel",
            "categories": ["advertising"],
            "hosts": ["*.ads.example"],
            "cookies": ["_ad*"],
            "revoke": True,
            "stop": "adPixel.revoke",
            "mode": "basic",
        }
    ]
    assert found["topics"] == [{"id": "news", "name": "Newsletter", "channels": ["email", "sms"]}]
    assert found["cookie"] == {"domain": ".shop.example", "days": 365}
    assert found["notice"]["layout"] == "box"
    assert (found["notice"]["version"], found["notice"]["changed"]) == ("1", [])
    assert found["ask"]["required"]


# Where a visitor is, and what that makes of the document.
PLACES = {
    "Germany": ("DE", None, "DE", "opt_in", False, True),
    "France": ("FR", None, "FR", "opt_in", False, True),
    "California": ("US", "CA", "US-CA", "opt_out", True, False),
    "America, state unknown": ("US", None, "US", "opt_out", True, False),
    "Tor": ("T1", None, None, "opt_in", False, True),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_place_decides_what_silence_means(acme: Server, name: str) -> None:
    country, region, jurisdiction, regime, default, required = PLACES[name]
    headers = {"CF-IPCountry": country, **({"CF-Region-Code": region} if region else {})}

    found = call(acme.base, "GET", f"/v1/projects/{WRITE_KEY}/policy", headers=headers).json

    assert found["jurisdiction"] == jurisdiction
    assert found["regime"] == regime
    assert named(found, "advertising")["regime"] == regime
    assert named(found, "advertising")["default"] is default
    assert found["ask"]["required"] is required
    assert found["ruleVersion"]


def test_the_law_is_named_where_one_was_read(acme: Server) -> None:
    germany = document(acme, CF_IPCountry="DE")["rule"]
    assert germany["law"]
    assert germany["url"].startswith("https://")
    assert document(acme, CF_IPCountry="T1")["rule"] is None


def test_a_refusal_is_not_asked_about_before_the_law_lets(acme: Server) -> None:
    california = call(
        acme.base,
        "GET",
        f"/v1/projects/{WRITE_KEY}/policy",
        headers={"CF-IPCountry": "US", "CF-Region-Code": "CA"},
    ).json
    assert california["ask"]["againAfterDays"] == 366
    assert document(acme, CF_IPCountry="DE")["ask"]["againAfterDays"] == 184
    assert document(acme, CF_IPCountry="CN")["ask"]["againAfterDays"] == 36_500


def test_a_signal_is_honoured_where_silence_would_grant(acme: Server) -> None:
    headers = {"CF-IPCountry": "US", "CF-Region-Code": "CA", "Sec-GPC": "1"}
    found = call(acme.base, "GET", f"/v1/projects/{WRITE_KEY}/policy", headers=headers).json

    assert found["gpc"] == {"covers": ["advertising"], "honoured": True, "show": True}
    assert named(found, "advertising")["default"] is False
    assert named(found, "analytics")["default"] is True
    assert document(acme)["gpc"]["honoured"] is False
    assert document(acme, Sec_GPC="0")["gpc"]["honoured"] is False


def test_asking_records_nothing(acme: Server) -> None:
    before = call(acme.base, "GET", "/v1/ledger", key=ADMIN_KEY).body
    ask(acme, Sec_GPC="1", Sec_Fetch_Mode="cors", Origin="https://shop.example")
    assert call(acme.base, "GET", "/v1/ledger", key=ADMIN_KEY).body == before
    assert call(acme.base, "GET", "/v1/choices", key=ADMIN_KEY).json["rows"] == []


LANGUAGES = {
    "none asked for": ("", "", "en"),
    "by the browser": ("", "de-AT,en;q=0.5", "de"),
    "by name": ("?language=fr", "de", "fr"),
    "by a name that is not there": ("?language=tlh", "de", "de"),
    "right to left": ("?language=ar", "", "ar"),
}


@pytest.mark.parametrize("name", LANGUAGES)
def test_texts_are_in_the_language_of_who_is_asked(acme: Server, name: str) -> None:
    query, header, language = LANGUAGES[name]
    answer = ask(acme, query=query, Accept_Language=header)

    assert answer.json["language"] == language
    assert answer.json["direction"] == ("rtl" if language == "ar" else "ltr")
    shipped = json.loads(
        (Path(__file__).parents[2] / "sdk/js/lang" / f"{language}.json").read_text()
    )
    assert answer.json["texts"]["action.reject"] == shipped["action.reject"]
    assert language in answer.json["languages"]
    assert "Accept-Language" in answer.headers["vary"]
    assert "Sec-GPC" in answer.headers["vary"]


def test_own_words_are_used(acme: Server) -> None:
    assert document(acme, Accept_Language="de")["topics"][0]["name"] == "Rundbrief"


def test_the_hash_is_of_the_text_that_was_archived_before(acme: Server) -> None:
    for language in ("en", "de", "ar"):
        found = document(acme, Accept_Language=language)
        digest = found["notice"]["hash"]
        archived = call(acme.base, "GET", f"/v1/notices/{digest}", key=ADMIN_KEY)
        assert archived.status == 200
        assert hashlib.sha256(archived.body).hexdigest() == digest
        text = archived.json
        assert text["texts"] == found["texts"]
        assert text["language"] == language
        assert [c["description"] for c in text["categories"]] == [
            c["description"] for c in found["categories"]
        ]


def test_it_may_be_kept_by_this_browser_alone_and_asked_for_again(acme: Server) -> None:
    first = ask(acme)
    assert first.headers["cache-control"] == "private, max-age=300"
    again = ask(acme, If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = ask(acme, If_None_Match=first.headers["etag"], Sec_GPC="1")
    assert other.status == 200
    assert other.headers["etag"] != first.headers["etag"]


def test_only_a_public_key_has_one_and_only_its_origins_read_it(acme: Server) -> None:
    for key in ("wk_nobody", "backend-0123456789-0123456789-0123456", "%00"):
        assert ask(acme, key).json["code"] == "unknown_key"
    allowed = ask(acme, "wk_other", Origin="https://other.example")
    assert allowed.headers["access-control-allow-origin"] == "https://other.example"
    assert (
        "access-control-allow-origin"
        not in ask(acme, "wk_other", Origin="https://x.example").headers
    )


def test_a_new_destination_is_news_and_other_words_are_not(
    tmp_path: Path, vendors: StandIn
) -> None:
    with acme_with(tmp_path, vendors.base) as running:
        first = document(running)["notice"]
        text = running.config.read_text()

        def rewritten(changed: str) -> Any:
            hash_before = document(running)["notice"]["hash"]
            running.config.write_text(changed)
            return wait_for(
                lambda: (n := document(running)["notice"])["hash"] != hash_before and n,
                what="the notice changed",
            )

        reworded = rewritten(text + '[notice.texts.en]\n"banner.title" = "May we?"\n')
        assert (reworded["version"], reworded["changed"]) == ("1", [])
        more = text.replace(
            'categories = ["analytics"]', 'categories = ["analytics", "advertising"]'
        )
        grown = rewritten(more)
        assert grown["changed"] == ["advertising"]
        assert re.fullmatch(r"1\.\d{14}", grown["version"])

        running.stop()
        running.start()
        assert document(running)["notice"] == grown, "a restart changes nothing"
        assert first["version"] == "1"
