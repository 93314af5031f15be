"""Erasing a person: one call, a real server, and ten real systems of a real stand-in."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.e2e.asking import (
    BOTH,
    choose,
    consentry,
    fresh,
    lookup,
    message,
    send,
    verify,
    withdraw,
)
from tests.running import (
    ADMIN_KEY,
    BACKEND_KEY,
    HOOK_SECRET,
    WRITE_KEY,
    Answer,
    Server,
    StandIn,
    call,
    server,
    wait_for,
)

SYSTEMS = """
[[topic]]
id = "news"
channels = ["email", "sms"]
[[destination]]
name = "amplitude"
kind = "amplitude"
categories = ["analytics"]
base_url = "{base}/amplitude"
privacy_url = "{base}/amplitude"
api_key = "env:VENDOR_KEY"
secret_key = "env:VENDOR_KEY"
[[destination]]
name = "mixpanel"
kind = "mixpanel"
categories = ["analytics"]
base_url = "{base}/mixpanel"
app_url = "{base}/mixpanel"
token = "env:VENDOR_KEY"
gdpr_token = "env:VENDOR_KEY"
[[destination]]
name = "segment"
kind = "segment"
categories = ["analytics"]
base_url = "{base}/segment"
api_url = "{base}/segment"
write_key = "env:VENDOR_KEY"
api_token = "env:VENDOR_KEY"
[[destination]]
name = "posthog"
kind = "posthog"
categories = ["analytics"]
base_url = "{base}/posthog"
app_url = "{base}/posthog"
api_key = "env:VENDOR_KEY"
personal_api_key = "env:VENDOR_KEY"
project_id = "7"
[[destination]]
name = "customerio"
kind = "customerio"
categories = ["analytics"]
base_url = "{base}/customerio"
site_id = "site"
api_key = "env:VENDOR_KEY"
[[destination]]
name = "sendgrid"
kind = "sendgrid"
categories = ["analytics"]
topics = ["news"]
base_url = "{base}/sendgrid"
api_key = "env:VENDOR_KEY"
groups = {{ "news:email" = "14" }}
[[destination]]
name = "mailchimp"
kind = "mailchimp"
categories = ["analytics"]
base_url = "{base}/mailchimp"
api_key = "env:VENDOR_KEY"
audience = "3f2a9c"
[[destination]]
name = "meta"
kind = "meta"
categories = ["advertising"]
base_url = "{base}/meta"
dataset_id = "1234567890"
access_token = "env:VENDOR_KEY"
ad_account = "act_42"
[[destination]]
name = "files"
kind = "console"
categories = ["analytics"]
"""
# What a stand-in that behaves well comes to, for each: the strongest verb it takes and the grade.
EXPECTED = {
    "warehouse": ("erase", {"confirmed", "accepted"}),
    "ads": ("erase", {"confirmed", "accepted"}),
    "amplitude": ("erase", {"accepted", "job_done"}),
    "mixpanel": ("erase", {"accepted", "job_done"}),
    "segment": ("erase", {"accepted", "job_done"}),
    "posthog": ("erase", {"accepted", "confirmed", "noop"}),
    "customerio": ("erase", {"accepted"}),
    "sendgrid": ("erase", {"accepted", "confirmed", "noop"}),
    "mailchimp": ("erase", {"accepted", "confirmed", "noop"}),
    "meta": ("suppress", {"accepted", "sent_unverifiable"}),
    "files": ("gate", {"gated"}),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Any:
    folder = tmp_path_factory.mktemp("erasure")
    keys = {"VENDOR_KEY": HOOK_SECRET}
    more = SYSTEMS.format(base=vendors.base)
    with server(folder, vendors.base, more=more, **keys) as running:
        yield running


def erase(shop: Server, subject: dict[str, str], key: str = BACKEND_KEY, **more: Any) -> Answer:
    body = {"subject": subject}
    return call(shop.base, "POST", "/v1/subjects/erase", body, key=key, **more)


def erasure(shop: Server, erasure_id: str) -> Any:
    answer = shop.admin("GET", f"/v1/erasures/{erasure_id}")
    assert answer.status == 200, answer.body
    return answer.json


def ended(shop: Server, erasure_id: str) -> dict[str, Any]:
    """Every system by its name, once none is open."""

    def all_ended() -> Any:
        found = erasure(shop, erasure_id)
        return found if not found["open"] else None

    found = wait_for(all_ended, what="the erasure")
    return {one["destination"]: one for one in found["systems"]}


def somebody(shop: Server, *, bought: bool = False) -> tuple[str, str, str]:
    """A device, an account and an address, known to the backend, who agreed to everything.

    ``bought``: every system was sent an event of theirs.
    """
    device, user = fresh("dev"), fresh("user")
    email = f"{user}@shop.example"
    known = message("identify", anonymousId=device, userId=user, traits={"email": email})
    send(shop, known, key=BACKEND_KEY)
    choose(shop, {"userId": user}, BOTH)
    if bought:
        sent = message(anonymousId=device, userId=user)
        send(shop, sent, key=BACKEND_KEY)
        shop.event(sent["messageId"])
    return device, user, email


def test_one_call_erases_a_person_everywhere_and_says_what_came_of_it(
    shop: Server, vendors: StandIn
) -> None:
    device, user, email = somebody(shop, bought=True)
    answer = erase(shop, {"userId": user})
    assert answer.status == 202
    assert set(answer.json) == {"erasureId", "orders", "shared"}
    systems = ended(shop, answer.json["erasureId"])
    assert {n: one["verb"] for n, one in systems.items()} == {n: e[0] for n, e in EXPECTED.items()}
    for name, (verb, grades) in EXPECTED.items():
        one = systems[name]
        assert one["grade"] in grades, (name, one)
        assert one["erases"] is (verb == "erase")
        assert verb == "erase" or "erase" in one["cannot"]
    assert {order for one in systems.values() for order in one["orders"]} == set(
        answer.json["orders"]
    )
    told = [b for b in vendors.orders("warehouse") if user in b["data"]["subject"]["userIds"]]
    assert [body["type"] for body in told][-2:] == ["consent.withdrawn", "subject.erase"]
    assert told[-1]["data"]["subject"]["emails"] == [email]
    assert lookup(shop, {"anonymousId": device})["suppressed"] is True


def test_nothing_is_left_here_and_the_ledger_still_proves_itself(shop: Server) -> None:
    device, user, _ = somebody(shop, bought=True)
    withdraw(shop, {"userId": user})
    erased = erase(shop, {"userId": user}).json["erasureId"]
    ended(shop, erased)

    def gone() -> bool:
        """Orders that are read back in a minute name them until then."""
        return erasure(shop, erased)["ours"] in ("owed", "erased")

    wait_for(gone, what="what is ours")
    exported = call(
        shop.base, "POST", "/v1/subjects/export", {"subject": {"userId": user}}, key=BACKEND_KEY
    )
    lines = [json.loads(line) for line in exported.body.splitlines()]
    assert [line["kind"] for line in lines if line["kind"] != "order"] == [
        "subject",
        "record",
        "end",
    ]
    assert {one["recordId"] for one in lines if one["kind"] == "order"} <= {erased}
    assert lines[0]["suppressed"] is True
    assert lines[0]["identifiers"]["anonymousIds"] == lines[0]["identifiers"]["emails"] == []
    record = lines[1]
    assert (record["recordId"], record["type"], record["erasedBy"]) == (erased, "erase", erased)
    assert lookup(shop, {"anonymousId": device})["suppressed"] is True
    listed = shop.admin("GET", "/v1/suppressions").json["suppressions"]
    assert {"recordId": erased, "subject": {}} in [
        {"recordId": one["recordId"], "subject": one["subject"]} for one in listed
    ]
    proven = consentry(shop, "ledger", "verify", "--config", "consentry.toml", "--json")
    assert proven.returncode == 0, proven.stdout
    assert json.loads(proven.stdout)["marks"] >= 4
    said = consentry(shop, "ledger", "verify", "--config", "consentry.toml").stdout
    assert "records are marks" in said


def test_an_import_does_not_bring_them_back(shop: Server) -> None:
    _, user, email = somebody(shop)
    erase(shop, {"userId": user})
    rows = [{"subject": {"email": email}, "preferences": BOTH}]
    rows += [{"subject": {"userId": fresh("user")}, "preferences": BOTH}]
    answer = shop.admin("POST", "/v1/imports", {"choices": rows}).json
    assert answer == {"recorded": 1, "repeated": 0, "withheld": 1, "rejected": []}
    counted = call(shop.base, "GET", "/metrics", key=ADMIN_KEY).body.decode()
    assert 'consentry_erased_withheld_total{door="import"} 1.0' in counted
    sent = message(userId=user, event="Came back")
    send(shop, sent, key=BACKEND_KEY)
    assert shop.admin("GET", f"/v1/events/{sent['messageId']}").status == 404


def test_another_spelling_does_not_bring_them_back(shop: Server) -> None:
    """And who is somebody else by one letter is not taken for them."""
    user, digits = fresh("user"), str(time.time_ns())[-9:]
    email = f"{user}@example.com"
    traits = {"email": email, "phone": f"+49151{digits}"}
    send(shop, message("identify", userId=user, traits=traits), key=BACKEND_KEY)
    erase(shop, {"userId": user})
    spelt = [
        {"email": f"  {email.upper()} "},
        {"phone": f"0049 (151) {digits[:4]}-{digits[4:]}"},
        {"phone": f"+49.151.{digits}"},
        {"userId": fresh("user"), "email": email.title()},
    ]
    others = [{"email": f"{user}+tag@example.com"}, {"phone": f"+48151{digits}"}]
    rows = [{"subject": subject, "preferences": BOTH} for subject in (*spelt, *others)]
    answer = shop.admin("POST", "/v1/imports", {"choices": rows}).json
    assert (answer["recorded"], answer["withheld"], answer["rejected"]) == (2, 4, [])
    for subject in spelt:
        assert lookup(shop, subject)["suppressed"] is True


def test_who_may_erase_and_who_may_lift_it(shop: Server) -> None:
    device, user, email = somebody(shop)
    assert erase(shop, {"userId": user}, key=WRITE_KEY).status == 403
    assert (
        call(shop.base, "POST", "/v1/subjects/erase", {"subject": {"userId": user}}).status == 401
    )
    first = erase(shop, {"userId": user}, headers={"Idempotency-Key": fresh("key")})
    body = {"subject": {"userId": user, "anonymousId": device, "email": email}}
    lifted = call(shop.base, "POST", "/v1/subjects/unsuppress", body, key=BACKEND_KEY)
    assert (lifted.status, lifted.json["code"]) == (403, "erased")
    assert shop.admin("POST", "/v1/subjects/unsuppress", body).status == 200
    assert lookup(shop, {"userId": user})["suppressed"] is False
    assert lookup(shop, {"userId": user})["preferences"]["analytics"]["effective"] == "denied"
    unknown = call(shop.base, "GET", "/v1/erasures/rec_none", key=ADMIN_KEY)
    assert unknown.status == 404
    seen = call(shop.base, "GET", f"/v1/erasures/{first.json['erasureId']}", key=BACKEND_KEY)
    assert seen.status == 403


def test_the_same_key_is_the_same_erasure(shop: Server) -> None:
    _, user, _ = somebody(shop)
    once = {"Idempotency-Key": fresh("key")}
    first, again = (erase(shop, {"userId": user}, headers=once) for _ in range(2))
    assert (first.status, first.json) == (again.status, again.json)
    other = erase(shop, {"userId": fresh("user")}, headers=once)
    assert (other.status, other.json["code"]) == (409, "key_reused")


def test_a_shared_device_stays_and_its_account_must_be_named(shop: Server) -> None:
    device, user, _ = somebody(shop)
    other = fresh("user")
    send(shop, message("identify", anonymousId=device, userId=other), key=BACKEND_KEY)
    refused = erase(shop, {"anonymousId": device})
    assert (refused.status, refused.json["code"]) == (409, "another_account")
    withdraw(shop, {"anonymousId": device})
    assert erase(shop, {"userId": user}).json["shared"] == 1
    kept = lookup(shop, {"anonymousId": device})
    assert kept["preferences"]["analytics"]["state"] == "denied"


def test_the_command_line_asks_first_and_shows_every_system(shop: Server) -> None:
    _, user, _ = somebody(shop)
    asked = consentry(shop, "subject", "erase", "--user-id", user, "--server", shop.base)
    assert asked.returncode != 0, "nobody said yes"
    assert "meta cannot erase" in asked.stderr
    assert "files cannot be told" in asked.stderr
    assert lookup(shop, {"userId": user})["suppressed"] is False
    done = consentry(
        shop, "subject", "erase", "--user-id", user, "--server", shop.base, "--yes", "--json"
    )
    found = json.loads(done.stdout)
    assert found["open"] == 0
    again = ("subject", "erasure", found["erasureId"], "--server", shop.base)
    listed = json.loads(consentry(shop, *again, "--json").stdout)["systems"]
    assert {one["destination"] for one in listed} == set(EXPECTED)
    shown = consentry(shop, *again).stdout
    assert "gated" in shown
    assert "suppress" in shown
    verify(shop)
