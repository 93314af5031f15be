"""Every vendor that tells of an opt-out, on one server: all others hear, and nobody hears an echo."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.asking import choose, fresh, lookup, state, verify
from tests.running import HOOK_SECRET, Server, StandIn, call, server, wait_for

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = b64encode(
    KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
MORE = """
[[topic]]
id = "news"
channels = ["email", "sms"]
[[destination]]
name = "mailer"
kind = "webhook"
topics = ["news"]
url = "{stand_in}/webhook/loop"
secret = "env:HOOK_SECRET"
[[destination]]
name = "braze"
kind = "braze"
topics = ["news"]
api_key = "env:HOOK_SECRET"
groups = {{ "news:email" = "g-mail" }}
webhook_token = "env:HOOK_SECRET"
base_url = "{stand_in}/braze/loop"
[[destination]]
name = "klaviyo"
kind = "klaviyo"
topics = ["news"]
api_key = "env:HOOK_SECRET"
lists = {{ "news:email" = "L1" }}
webhook_secret = "env:HOOK_SECRET"
base_url = "{stand_in}/klaviyo/loop"
[[destination]]
name = "hubspot"
kind = "hubspot"
topics = ["news"]
access_token = "env:HOOK_SECRET"
portal_id = "1"
subscriptions = {{ "news:email" = "7" }}
client_secret = "env:HOOK_SECRET"
base_url = "{stand_in}/hubspot/loop"
[[destination]]
name = "mailchimp"
kind = "mailchimp"
topics = ["news"]
api_key = "env:HOOK_SECRET"
audience = "A0"
lists = {{ "news:email" = "A1" }}
webhook_secret = "env:HOOK_SECRET"
base_url = "{stand_in}/mailchimp/loop"
[[destination]]
name = "sendgrid"
kind = "sendgrid"
topics = ["news"]
api_key = "env:HOOK_SECRET"
groups = {{ "news:email" = "10" }}
verification_key = ["{public}"]
base_url = "{stand_in}/sendgrid/loop"
[[destination]]
name = "customerio"
kind = "customerio"
topics = ["news"]
site_id = "s1"
api_key = "env:HOOK_SECRET"
topic_ids = {{ "news:email" = "7" }}
signing_key = "env:HOOK_SECRET"
base_url = "{stand_in}/customerio/loop"
"""
Signed = tuple[str, bytes, dict[str, str]]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    more = MORE.format(stand_in=vendors.base, public=PUBLIC)
    with server(tmp_path_factory.mktemp("loop"), vendors.base, more=more) as running:
        yield running


def mac(signed: bytes, key: str) -> bytes:
    return hmac.digest(key.encode(), signed, hashlib.sha256)


# Each is a refusal of the topic, or of mail as a whole: the query, the body and the headers.


def by_braze(url: str, email: str, key: str) -> Signed:
    event = {
        "event_type": "users.behaviors.subscriptiongroup.StateChange",
        "id": fresh("e"),
        "time": int(time.time()),
        "email_address": email,
        "subscription_group_id": "g-mail",
        "subscription_status": "Unsubscribed",
    }
    return "", json.dumps({"events": [event]}).encode(), {"Authorization": f"Bearer {key}"}


def by_klaviyo(url: str, email: str, key: str) -> Signed:
    profile = {"type": "profile", "attributes": {"email": email}}
    topic = "event:klaviyo.unsubscribed_from_email_marketing"
    item = {"external_id": fresh("e"), "topic": topic, "payload": {"included": [profile]}}
    body, stated = json.dumps({"data": [item]}).encode(), str(int(time.time()))
    signature = mac(body + stated.encode(), key).hex()
    return "", body, {"Klaviyo-Signature": signature, "Klaviyo-Timestamp": stated}


def by_hubspot(url: str, email: str, key: str) -> Signed:
    body = json.dumps({"email": email, "hs_email_optout_7": "true"}).encode()
    stated = str(int(time.time() * 1000))
    signature = b64encode(mac(f"POST{url}".encode() + body + stated.encode(), key)).decode()
    headers = {"X-HubSpot-Signature-v3": signature, "X-HubSpot-Request-Timestamp": stated}
    return "", body, headers


def by_mailchimp(url: str, email: str, key: str) -> Signed:
    form = {"type": "unsubscribe", "fired_at": fresh("t"), "data[action]": "unsub"}
    form |= {"data[list_id]": "A1", "data[email]": email}
    return f"?secret={key}", urlencode(form).encode(), {}


def by_sendgrid(url: str, email: str, key: str) -> Signed:
    event = {"event": "group_unsubscribe", "email": email, "asm_group_id": 10}
    event |= {"sg_event_id": fresh("e"), "timestamp": int(time.time())}
    body, stated = json.dumps([event]).encode(), str(int(time.time()))
    private = KEY if key == HOOK_SECRET else ec.generate_private_key(ec.SECP256R1())
    signature = b64encode(private.sign(stated.encode() + body, ec.ECDSA(SHA256()))).decode()
    prefix = "X-Twilio-Email-Event-Webhook-"
    return "", body, {f"{prefix}Signature": signature, f"{prefix}Timestamp": stated}


def by_customerio(url: str, email: str, key: str) -> Signed:
    data = {"identifiers": {"email": email}}
    event = {"event_id": fresh("e"), "object_type": "email", "metric": "unsubscribed"}
    event |= {"timestamp": int(time.time()), "data": data}
    body, stated = json.dumps(event).encode(), str(int(time.time()))
    signature = mac(f"v0:{stated}:".encode() + body, key).hex()
    return "", body, {"X-CIO-Signature": signature, "X-CIO-Timestamp": stated}


VENDORS: dict[str, Callable[[str, str, str], Signed]] = {
    "braze": by_braze,
    "klaviyo": by_klaviyo,
    "hubspot": by_hubspot,
    "mailchimp": by_mailchimp,
    "sendgrid": by_sendgrid,
    "customerio": by_customerio,
}
OTHERS = {"mailer", *VENDORS}


def says(shop: Server, name: str, email: str, key: str = HOOK_SECRET) -> Callable[[], int]:
    """One refusal as the vendor signs it; called again, it is the same call again."""
    path = f"/v1/inbound/{name}"
    query, body, headers = VENDORS[name](f"{shop.base}{path}", email, key)

    def send() -> int:
        return call(shop.base, "POST", path + query, body, headers=headers).status

    return send


def orders(shop: Server, email: str) -> list[dict[str, Any]]:
    answer = shop.admin("POST", "/v1/propagation/lookup", {"subject": {"email": email}})
    found: list[dict[str, Any]] = answer.json["orders"]
    assert answer.json["next"] is None
    return found


def settled(shop: Server, email: str, verb: str) -> set[str]:
    """Who was told this and has answered; nothing until none is open."""
    found = [order for order in orders(shop, email) if order["verb"] == verb]
    done = all(order["state"] == "terminal" for order in found)
    return {order["destination"] for order in found} if done else set()


def records_of(shop: Server, email: str, name: str) -> int:
    history = lookup(shop, {"email": email}, history=True)["history"]
    return [entry["source"] for entry in history].count(f"inbound:{name}")


@pytest.mark.parametrize("name", VENDORS)
def test_an_opt_out_at_one_reaches_all_others_and_does_not_come_back(
    shop: Server, well: StandIn, name: str
) -> None:
    email = f"{fresh('ann')}@example.com"
    choose(shop, {"email": email}, {}, topics={"news": {"email": True}})
    wait_for(lambda: settled(shop, email, "grant") == OTHERS, what="all know of the yes")

    told = says(shop, name, email)
    assert told() == 200
    wait_for(lambda: settled(shop, email, "suppress") == OTHERS - {name}, what="all others know")
    assert state(lookup(shop, {"email": email})["topics"]["news"], "email")[0] == "denied"
    before = len(orders(shop, email))

    assert told() == 200  # tried again: it is the same choice
    assert records_of(shop, email, name) == 1
    for other in VENDORS:  # each reports what it was just told
        assert says(shop, other, email)() == 200
    assert len(orders(shop, email)) == before
    verify(shop)


@pytest.mark.parametrize("name", VENDORS)
def test_who_cannot_sign_is_believed_nothing(shop: Server, well: StandIn, name: str) -> None:
    email = f"{fresh('ben')}@example.com"
    assert says(shop, name, email, key="another-0123456789-0123456789-0123456789")() == 401
    assert call(shop.base, "POST", f"/v1/inbound/{name}", b"{}").status == 401
    assert lookup(shop, {"email": email}, history=True)["history"] == []
