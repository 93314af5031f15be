"""What was agreed to covers what it meant then: a category that grows has to be asked about anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consentry.client import Gate
from consentry.core.moment import SECOND, parse
from consentry.csp import cookie as cookies
from consentry.csp import from_file, granted
from tests.e2e.asking import BOTH, choose, decide, fresh, lookup, message, send, verify
from tests.e2e.paging import shop
from tests.running import WRITE_KEY, Server, call, wait_for

ADS = '[[destination]]\nname = "{}"\nkind = "console"\ncategories = ["advertising"]\n'
MARK = "\n[server]\n"


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[Server]:
    with shop(tmp_path, ADS.format("ads")) as running:
        yield running


def policy(server: Server) -> Any:
    return call(server.base, "GET", f"/v1/projects/{WRITE_KEY}/policy?language=en").json


def shown(server: Server) -> dict[str, Any]:
    """The evidence of a page that was loaded now."""
    notice = policy(server)["notice"]
    names = ("id", "version", "hash")
    return {f"notice{name.title()}": notice[name] for name in names} | {"language": "en"}


def edited(server: Server, *tables: str) -> None:
    """Write more into the configuration, and wait until it is in force."""
    before = policy(server)["notice"]["hash"]
    text = server.config.read_text()
    server.config.write_text(text.replace(MARK, "\n" + "\n".join(tables) + MARK, 1))
    wait_for(lambda: policy(server)["notice"]["hash"] != before, what="the configuration")


def grow(server: Server) -> None:
    edited(server, ADS.format("more ads"))


def why(server: Server, device: str, destination: str = "ads") -> tuple[str, str | None]:
    found = decide(server, {"subject": {"anonymousId": device}, "destinations": [destination]})[
        destination
    ]
    return found["decision"], found["categories"][0]["why"]


def page_says(server: Server, device: str, evidence: dict[str, Any], **more: Any) -> Any:
    """What a page of that notice sends when somebody accepts."""
    subject = {"anonymousId": device}
    answer = choose(server, subject, BOTH, key=WRITE_KEY, evidence=evidence, **more)
    assert answer.status == 201, answer.body
    return lookup(server, subject, history=True)["history"][0]


def test_an_old_yes_covers_no_new_recipient(acme: Server) -> None:
    old = fresh("old")
    page_says(acme, old, shown(acme))
    send(acme, message(anonymousId=old, messageId="before"))
    assert why(acme, old) == ("allow", None)

    grow(acme)

    assert why(acme, old, "more ads") == ("withhold", "stale")
    assert why(acme, old) == ("withhold", "stale")
    assert lookup(acme, {"anonymousId": old})["preferences"]["analytics"]["effective"] == "granted"
    send(acme, message(anonymousId=old, messageId="after"))
    states = {name: one["state"] for name, one in acme.event("after").items()}
    assert set(states.values()) == {"withheld"}
    page_says(acme, old, shown(acme))
    assert why(acme, old, "more ads") == ("allow", None)
    acme.stop()
    acme.start()
    assert why(acme, old, "more ads") == ("allow", None)
    verify(acme)


def test_a_yes_to_an_old_notice_grants_nothing_of_what_has_grown(acme: Server) -> None:
    device, before = fresh("tab"), shown(acme)
    grow(acme)

    record = page_says(acme, device, before)

    assert record["evidence"]["outgrown"] == ["advertising"]
    assert record["after"]["analytics"] == "granted"
    assert why(acme, device)[0] == "withhold"
    record = page_says(acme, device, shown(acme))
    assert "outgrown" not in record["evidence"]
    assert why(acme, device) == ("allow", None)


@pytest.mark.parametrize(
    ("changed", "outgrown"),
    [
        ({"noticeVersion": "0.9"}, ["advertising"]),  # never was: only what there was at first
        ({"noticeVersion": None}, ["advertising"]),  # the text alone says which it was
        ({"noticeHash": None}, ["advertising"]),
        (
            {"noticeId": "own", "noticeHash": None},
            None,
        ),  # another's notice, of which we know nothing
    ],
)
def test_whatever_names_the_old_notice_is_enough(
    acme: Server, changed: dict[str, Any], outgrown: list[str] | None
) -> None:
    before = {k: v for k, v in {**shown(acme), **changed}.items() if v is not None}
    grow(acme)

    record = page_says(acme, fresh("tab"), before)

    assert record["evidence"].get("outgrown") == outgrown


def test_another_recipient_under_an_old_name_is_a_new_one(acme: Server) -> None:
    old = fresh("old")
    hook = ADS.format("crm").replace("console", "webhook")
    hook += 'url = "http://{}:9/"\nsecret = "env:HOOK_SECRET"\n'
    edited(acme, hook.format("127.0.0.1"))
    page_says(acme, old, shown(acme))
    version = policy(acme)["notice"]["version"]

    acme.config.write_text(acme.config.read_text().replace("http://127.0.0.1:9", "http://[::1]:9"))
    wait_for(lambda: policy(acme)["notice"]["version"] != version, what="the configuration")

    assert why(acme, old, "crm") == ("withhold", "stale")
    assert policy(acme)["notice"]["changed"] == ["advertising"]


def test_a_no_to_an_old_notice_counts(acme: Server) -> None:
    device, before = fresh("tab"), shown(acme)
    grow(acme)

    refused = {"analytics": True, "advertising": False}
    choose(acme, {"anonymousId": device}, refused, key=WRITE_KEY, evidence=before)

    held = lookup(acme, {"anonymousId": device})["preferences"]
    assert (held["advertising"]["state"], held["analytics"]["state"]) == ("denied", "granted")


def test_an_import_is_of_the_meaning_on_the_day_it_comes(acme: Server) -> None:
    def imported(user: str) -> None:
        one = {
            "subject": {"userId": user},
            "preferences": {"advertising": True},
            "timestamp": "2026-01-01T00:00:00Z",
        }
        assert acme.admin("POST", "/v1/imports", {"choices": [one]}).json["recorded"] == 1

    def allowed(user: str) -> str:
        found: str = decide(acme, {"subject": {"userId": user}})["ads"]["decision"]
        return found

    imported("early")
    grow(acme)
    imported("late")

    assert (allowed("early"), allowed("late")) == ("withhold", "allow")


def test_who_decides_without_the_server_reads_the_same_of_its_store(acme: Server) -> None:
    old, again = fresh("old"), fresh("again")
    page_says(acme, old, shown(acme))
    grow(acme)
    page_says(acme, again, shown(acme))
    store = acme.folder / "consentry.db"
    gate = Gate.from_config(acme.config, source="backend", store=store)

    def allowed(device: str) -> tuple[str, ...]:
        return gate.decide(message(anonymousId=device)).allowed

    assert allowed(old) == ()
    assert set(allowed(again)) == {"ads", "more ads"}


def test_what_is_not_on_record_yet_is_new_to_everybody(acme: Server) -> None:
    """A process that starts with a new file before the server has taken it."""
    old = fresh("old")
    page_says(acme, old, shown(acme))
    acme.stop()
    text = acme.config.read_text()
    acme.config.write_text(text.replace(MARK, "\n" + ADS.format("more ads") + MARK, 1))

    gate = Gate.from_config(acme.config, source="backend", store=acme.folder / "consentry.db")

    assert gate.decide(message(anonymousId=old)).allowed == ()
    acme.start()


def test_the_policy_of_the_application_ages_with_the_notice(acme: Server) -> None:
    store = acme.folder / "consentry.db"

    def opened(version: str, at_s: float) -> frozenset[str]:
        kept = f"consentry={_cookie(version, at_s)}"
        return granted(from_file(acme.config, store=store), [kept], False, at_s + 10)

    first = policy(acme)["notice"]["version"]
    both = frozenset({"analytics", "advertising"})
    assert opened(first, 1_700_000_000) == both
    grow(acme)
    after = policy(acme)
    since = next(c["since"] for c in after["categories"] if c["id"] == "advertising")
    grown_s = parse(since) / SECOND

    assert opened(first, 1_700_000_000) == {"analytics"}
    assert opened(first, grown_s + 60) == {"analytics"}  # a tab with the old notice
    assert opened(after["notice"]["version"], grown_s + 60) == both
    # On another machine, where there is no store, the server's document says the same.
    elsewhere = from_file(acme.config, document=after)
    assert elsewhere.known["advertising"].since_s == grown_s


def _cookie(version: str, at_s: float) -> str:
    return cookies.write(
        "device",
        notice=f"default@{version}",
        at_s=int(at_s),
        granted=["analytics", "advertising"],
        denied=[],
    )
