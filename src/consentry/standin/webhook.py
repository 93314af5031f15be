"""A receiver of Standard Webhooks that answers with receipts.

Signature and headers: standard-webhooks, spec/standard-webhooks.md. The receipt in the answer
(``applied``, ``accepted``, ``noop``) is this project's own extension.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from consentry.standin.control import Ids, Mode
from consentry.standin.vendor import Call, Persons, Reply

TOLERANCE_S: Final = 300
MAX_SIGNATURES: Final = 16
_SIGNATURE: Final = re.compile(r"v1a?,[A-Za-z0-9+/]+={0,2}")
_TYPE: Final = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")

Verify = Callable[[bytes, str], bool]
"""Whether one ``v1,...`` or ``v1a,...`` token signs these bytes."""


class Webhook:
    """The webhook stand-in. Without secrets it looks at the shape of the headers only."""

    name = "webhook"
    notes: Mapping[str, str] = {
        "noop": 'Answers {"status":"noop"} and takes nothing over.',
        "partial": "A receipt has no such status; this behaves as ok.",
    }

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self.persons = Persons()
        self._verifiers = tuple(_verifier(secret, i) for i, secret in enumerate(secrets))

    def split(self, tail: str) -> tuple[str, str]:
        """Every path is an instance of its own."""
        return tail.strip("/"), "/"

    def ids(self, call: Call) -> Ids:
        """The ids in the data; ``webhook-id`` stands in where there is no message id, but for an
        order, which is no message."""
        ids = Ids()
        for part in _parts(call.body):
            for suffix in ("", "s"):
                ids.add(
                    message=part.get("messageId" + suffix),
                    user=part.get("userId" + suffix),
                    anonymous=part.get("anonymousId" + suffix),
                )
        order = any("orderId" in part for part in _parts(call.body))
        if not ids.message_ids and not order:
            ids.add(message=call.headers.get("webhook-id"))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """An error in this project's own form."""
        code = {401: "invalid_signature", 429: "rate_limited"}.get(status, "internal")
        return _error(status, code, "stand-in mode")

    def answer(self, call: Call) -> Reply:
        """Verify, check the envelope, apply once per ``webhook-id``, answer a receipt."""
        if call.method != "POST":
            return _error(405, "method_not_allowed", "Use POST.")
        if call.oversize:
            return _error(413, "too_large", "The body is too large.")
        if reason := self._unproven(call):
            return _error(401, "invalid_signature", reason)
        if reason := _malformed(call.body):
            return _error(400, "invalid_body", reason)
        webhook_id = call.headers["webhook-id"]
        if not call.applies:
            return Reply.json(200, {"status": Mode.NOOP.value})
        receipt = self.persons.seen(call.instance, webhook_id)
        if receipt is None:
            self._apply(call, webhook_id)
            ref = hashlib.sha256(f"{call.instance}\n{webhook_id}".encode()).hexdigest()[:24]
            receipt = {"status": "applied", "ref": ref, "applied_at": call.at}
            self.persons.remember(call.instance, webhook_id, receipt)
        return Reply.json(200, receipt)

    def _unproven(self, call: Call) -> str | None:
        """Why the request cannot be trusted, or None."""
        webhook_id = call.headers.get("webhook-id", "")
        timestamp = call.headers.get("webhook-timestamp", "")
        tokens = call.headers.get("webhook-signature", "").split()
        if not webhook_id or not timestamp or not tokens:
            return "webhook-id, webhook-timestamp and webhook-signature are required"
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            return "webhook-timestamp must be whole seconds"
        if len(tokens) > MAX_SIGNATURES or not all(_SIGNATURE.fullmatch(t) for t in tokens):
            return "webhook-signature must be a list of v1,... or v1a,... tokens"
        if not self._verifiers:
            return None
        if abs(call.moment.unix_s - int(timestamp)) > TOLERANCE_S:
            return "webhook-timestamp is too far from now"
        signed = f"{webhook_id}.{timestamp}.".encode() + call.raw
        if any(verify(signed, token) for verify in self._verifiers for token in tokens):
            return None
        return "no signature matches"

    def _apply(self, call: Call, webhook_id: str) -> None:
        kind: str = call.body["type"]
        data: dict[str, Any] = call.body["data"]
        if kind == "event.forwarded":
            self._forwarded(call, data, webhook_id)
            return
        people = [part for part in _parts(call.body) if _key(part)]
        if not people:
            self.persons.reject(call, "the data names no subject")
        for part in people:
            if kind == "subject.erase":
                self._erase(call, part)
            else:
                user, device = _key(part) or ("", None)
                person = self.persons.person(call.instance, user, device)
                person.consent |= _consent(kind, data)

    def _forwarded(self, call: Call, data: dict[str, Any], webhook_id: str) -> None:
        event = data["event"] if isinstance(data.get("event"), dict) else data
        key = _key(event)
        if key is None:
            self.persons.reject(call, "the event names no subject")
            return
        message_id = event.get("messageId")
        person = self.persons.person(call.instance, *key)
        if isinstance(message_id, str) and message_id and message_id != webhook_id:
            if self.persons.seen(call.instance, f"event {message_id}"):
                return
            self.persons.remember(call.instance, f"event {message_id}")
        else:
            message_id = webhook_id
        told = {k: event[k] for k in ("type", "event") if isinstance(event.get(k), str)}
        if event.get("type") == "identify" and isinstance(event.get("traits"), dict):
            person.traits |= event["traits"]
        person.record(message_id, told | {"receivedAt": call.at})

    def _erase(self, call: Call, part: dict[str, Any]) -> None:
        user, device = _key(part) or ("", None)
        self.persons.person(call.instance, user, device).erase(call.at)
        others = part.get("anonymousIds")
        for other in [part.get("anonymousId"), *(others if isinstance(others, list) else [])]:
            if person := self.persons.known(call.instance, other):
                person.erase(call.at)


def _parts(body: object) -> Iterator[dict[str, Any]]:
    """The places of an envelope that may name a subject: data, its subject, its event(s)."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict):
        return
    yield data
    for name in ("subject", "event", "subjects", "events"):
        found = data.get(name)
        for part in found if isinstance(found, list) else [found]:
            if isinstance(part, dict):
                yield part


def _key(part: dict[str, Any]) -> tuple[str, str | None] | None:
    """(user id or what stands for it, anonymous id) of a subject, or None if it has neither."""
    device = _first(part, "anonymousId")
    for name in ("userId", "email", "phone"):
        if user := _first(part, name):
            return user, device
    return ("", device) if device else None


def _first(part: dict[str, Any], name: str) -> str | None:
    """The value under a name, else the first under its plural."""
    several = part.get(name + "s")
    found = part.get(name) or (several[0] if isinstance(several, list) and several else None)
    return found if isinstance(found, str) and found else None


def _consent(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """What a consent webhook says, per category; ``*`` where it names none."""
    word = kind.rpartition(".")[2]
    named: dict[str, Any] = {}
    topics = data.get("topics")
    for topic in topics if isinstance(topics, list) else []:
        if isinstance(topic, dict):
            named[f"{topic.get('topic')}:{topic.get('channel')}"] = word
    for name in ("category", "categories"):
        found = data.get(name)
        for category in found if isinstance(found, list) else [found]:
            label = category.get("id") if isinstance(category, dict) else category
            if isinstance(label, str):
                named[label] = word
    if isinstance(preferences := data.get("preferences"), dict):
        named |= preferences
    return named or {"*": word}


def _malformed(body: object) -> str | None:
    if not isinstance(body, dict):
        return "the body must be a JSON object"
    kind, timestamp = body.get("type"), body.get("timestamp")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        return "type must be a dotted name"
    if not isinstance(timestamp, str) or not _is_instant(timestamp):
        return "timestamp must be an RFC 3339 time with an offset"
    return None if isinstance(body.get("data"), dict) else "data must be an object"


def _is_instant(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _verifier(secret: str, index: int) -> Verify:
    """A verifier for ``whsec_`` (24 to 64 bytes, base64) or ``whpk_`` (Ed25519 public key).

    Raises ValueError naming the place of a bad secret, never the secret.
    """
    prefix, _, encoded = secret.partition("_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        if prefix == "whsec" and 24 <= len(key) <= 64:
            return lambda signed, token: _hmac_matches(key, signed, token)
        if prefix == "whpk":
            public = Ed25519PublicKey.from_public_bytes(key)
            return lambda signed, token: _ed25519_matches(public, signed, token)
    except (ValueError, binascii.Error):
        pass
    raise ValueError(f"webhook_secrets[{index}] is neither whsec_ nor whpk_ with a proper key")


def _hmac_matches(key: bytes, signed: bytes, token: str) -> bool:
    expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return hmac.compare_digest(f"v1,{expected}", token)


def _ed25519_matches(public: Ed25519PublicKey, signed: bytes, token: str) -> bool:
    version, _, encoded = token.partition(",")
    if version != "v1a":
        return False
    try:
        public.verify(base64.b64decode(encoded, validate=True), signed)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _error(status: int, code: str, message: str) -> Reply:
    return Reply.json(status, {"code": code, "message": message})
