"""A check that nothing could break would prove nothing: each finds the faults it is there for.

The parsers below are broken on purpose, in ways that others have been. The corpus finds each.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from starlette.requests import Request

from consentry.config import ConfigError, Problem
from consentry.core import moment
from consentry.core.delivery import Grade, Outcome
from consentry.core.event import Event, parse_event
from consentry.core.rule import How, Place
from consentry.core.stamp import Stamp, read_stamp
from consentry.destinations.addresses import Target, TargetRefused
from consentry.web import bodies as api
from consentry.web.problems import Problem as Refusal
from tests.fuzz import bodies, evidence, headers, outbound, page
from tests.fuzz.door import changed
from tests.fuzz.run import PARSERS

Check = Callable[[bytes], str]


# -- broken parsers -------------------------------------------------------------------------------
def last_one_wins(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "invalid_json", "no JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "invalid_json", "no object")
    return value


def crashes_when_deep(body: bytes) -> dict[str, Any]:
    return last_one_wins(body) if body.count(b"[") < 500 else json.loads(body)


def any_form_will_do(raw: Any, envelope: Any, **more: Any) -> Any:
    event = parse_event(raw, envelope, **more)
    if isinstance(event, Event) and event.stamp is not None:
        return changed(event, stamp=Stamp(event.stamp.stated, event.stamp.stated))
    return event


def forgets_the_batch(raw: Any, envelope: Any, **more: Any) -> Any:
    return parse_event(raw, changed(envelope, context=None), **more)


def widens_integrations(raw: Any, envelope: Any, **more: Any) -> Any:
    event = parse_event(raw, envelope, **more)
    return (
        changed(event, integrations=raw.get("integrations")) if isinstance(event, Event) else event
    )


def keeps_nobody_s_clock(raw: Any, envelope: Any, **more: Any) -> Any:
    event = parse_event(raw, envelope, **more)
    return changed(event, made_at=2**62) if isinstance(event, Event) else event


def allowed_wins(context: Any, *, has_integrations: bool) -> Stamp | None:
    stamp = read_stamp(context, has_integrations=has_integrations)
    lists = context.get("consentManagement") or {}
    if stamp is None or not isinstance(lists, dict):
        return stamp
    return Stamp(stamp.granted | set(lists.get("allowedConsentIds", ())), stamp.stated)


def overlooks_the_draft(context: Any, *, has_integrations: bool) -> Stamp | None:
    kept = {name: value for name, value in context.items() if name != "consentCategories"}
    return read_stamp(kept, has_integrations=has_integrations)


def body_of_last_members(data: bytes, type_: Any) -> Any:
    return api.convert(last_one_wins(data), type_)


def unpacks_all(data: bytes, _longest: int) -> bytes:
    import zlib

    try:
        return zlib.decompressobj(wbits=31).decompress(data)
    except zlib.error:
        raise Refusal(400, "invalid_gzip", "no gzip") from None


def shifts_time(text: str) -> int:
    return moment.parse(text) + 1


def splits_blindly(request: Request) -> str | None:
    scheme, value = (request.headers.get("authorization") or "").split(" ")
    return base64.b64decode(value).decode() if scheme else None


def any_scheme(request: Request) -> str | None:
    return request.headers.get("authorization", "").partition(" ")[2] or None


def believes_any_signature(token: str, *_: Any) -> str | None:
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return claims["sub"] or None
    except Exception:
        return None


def forgets_the_time(token: str, secret: Any, *_: Any) -> str | None:
    try:
        claims = jwt.decode(token, OctKey.import_key(secret.reveal()), algorithms=["HS256"]).claims
    except Exception:
        return None
    good = claims.get("typ") == "subject" and claims.get("aud") == "website"
    return (claims.get("sub") or None) if good else None


def any_algorithm(token: str, secret: Any, source: Any, now: int) -> str | None:
    head = token.partition(".")[0]
    told = json.loads(base64.urlsafe_b64decode(head + "==") or b"{}") if head.isalnum() else {}
    if isinstance(told, dict) and told.get("alg") == "none":
        return believes_any_signature(token)
    return headers.read_token(token, secret, source, now)


def first_line_only(request: Request) -> bool | None:
    return True if request.headers.get("sec-gpc") == "1" else None


def any_peer(request: Request) -> Place:
    trusting = Request({**request.scope, "client": ("10.0.0.1", 1)})
    return headers.proxied().place_of(trusting)


def first_network(request: Request) -> Place:
    country = request.headers.get("cf-ipcountry", "").strip().upper()
    return Place(country, None, How.HEADER) if country else headers.proxied().place_of(request)


def first_hop(request: Request) -> str | None:
    assert request.client is not None
    said = request.headers.get("x-forwarded-for", "").split(",")[0].strip()
    return said or request.client.host


def python_number(text: str, field: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Refusal(400, "invalid_cursor", "no number", field) from None


def without_fragment(page: str) -> str:
    return page.partition("#")[0]


def without_query(page: str) -> str:
    return page.partition("#")[0].partition("?")[0]


def as_it_came(address: str | None) -> str | None:
    return address


def word_for_word(user_agent: str) -> str | None:
    return user_agent or None


def believes(header: str) -> str:
    return header.partition(",")[0].partition(";")[0].strip() or "en"


def always_accepted(_response: Any, messages: Any) -> tuple[Outcome, ...]:
    return (Outcome(Grade.ACCEPTED, 200, ""),) * len(messages)


def reads_with_recursion(response: Any, messages: Any) -> tuple[Outcome, ...]:
    msgspec.json.decode(response.body or b"{}", type=dict)
    return (Outcome(Grade.FAILED_FINAL, 200, ""),) * len(messages)


def repeats_the_vendor(response: Any, messages: Any) -> tuple[Outcome, ...]:
    detail = "\n".join(response.headers.values()) + response.body.decode("latin-1")
    return (Outcome(Grade.FAILED_FINAL, 200, detail),) * len(messages)


def unbounded(told: Any) -> float | None:
    text = told["retry-after"].strip()
    return float(text) if text.isascii() and text.isdigit() else None


def host_by_urlsplit(url: str, **_: Any) -> Target:
    try:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.port not in (None, 443):
            raise TargetRefused("no")
    except ValueError:
        raise TargetRefused("no URL") from None
    return Target("https", parts.hostname, 443, None, parts.path or "/")


def shows_the_file(text: str, environ: Any, **_: Any) -> Any:
    shown = Problem("error", f"wrong: {sorted(environ.items())}", "", 1)
    raise ConfigError([shown])


BROKEN: dict[str, tuple[str, Check]] = {
    "of a repeated member the last one wins": (
        "json",
        lambda d: bodies.check_json(d, last_one_wins),
    ),
    "deep nesting crashes": ("json", lambda d: bodies.check_json(d, crashes_when_deep)),
    "one form that grants is enough": (
        "message",
        lambda d: bodies.check_message(d, any_form_will_do),
    ),
    "the batch's consent is forgotten": (
        "message",
        lambda d: bodies.check_message(d, forgets_the_batch),
    ),
    "the event's integrations replace the batch's": (
        "message",
        lambda d: bodies.check_message(d, widens_integrations),
    ),
    "any claimed time is believed": (
        "message",
        lambda d: bodies.check_message(d, keeps_nobody_s_clock),
    ),
    "allowed ids win": ("stamp", lambda d: bodies.check_stamp(d, allowed_wins)),
    "the draft form is overlooked": ("stamp", lambda d: bodies.check_stamp(d, overlooks_the_draft)),
    "a choice with a repeated category": (
        "body",
        lambda d: bodies.check_body(d, body_of_last_members),
    ),
    "a bomb is unpacked": ("gzip", lambda d: bodies.check_gzip(d, unpacks_all)),
    "a time that drifts": ("time", lambda d: bodies.check_time(d, shifts_time)),
    "a key that crashes": ("key", lambda d: headers.check_key(d, splits_blindly)),
    "any scheme is taken": ("key", lambda d: headers.check_key(d, any_scheme)),
    "any signature is believed": (
        "token",
        lambda d: headers.check_token(d, believes_any_signature),
    ),
    "an expired token is taken": ("token", lambda d: headers.check_token(d, forgets_the_time)),
    "alg none is taken": ("token", lambda d: headers.check_token(d, any_algorithm)),
    "only the first signal is read": ("gpc", lambda d: headers.check_gpc(d, first_line_only)),
    "a stranger's place is believed": ("place", lambda d: headers.check_place(d, any_peer)),
    "the first network is believed": ("place", lambda d: headers.check_place(d, first_network)),
    "the first hop is believed": ("address", lambda d: headers.check_address(d, first_hop)),
    "Python's numbers are taken": ("number", lambda d: headers.check_number(d, python_number)),
    "a query is kept": ("page", lambda d: evidence.check_page(d, without_fragment)),
    "a password is kept": ("page", lambda d: evidence.check_page(d, without_query)),
    "a whole address is kept": ("network", lambda d: evidence.check_network(d, as_it_came)),
    "the user agent is kept": ("browser", lambda d: evidence.check_browser(d, word_for_word)),
    "what nobody has is shown": ("language", lambda d: evidence.check_language(d, believes)),
    "every answer is success": (
        "answer",
        lambda d: outbound.check_answer(d, {"webhook": always_accepted}),
    ),
    "a deep receipt crashes": (
        "answer",
        lambda d: outbound.check_answer(d, {"webhook": reads_with_recursion}),
    ),
    "the vendor's words are repeated": (
        "answer",
        lambda d: outbound.check_answer(d, {"webhook": repeats_the_vendor}),
    ),
    "a wait without end": ("retry_after", lambda d: outbound.check_retry_after(d, unbounded)),
    "a host that is a disguise": ("target", lambda d: outbound.check_target(d, host_by_urlsplit)),
    "the last member of a cookie wins": (
        "consent_cookie",
        lambda d: page.check_cookie(d, page.last_member_wins),
    ),
    "a broken escape is mended": (
        "consent_cookie",
        lambda d: page.check_cookie(d, page.mends_escapes),
    ),
    "a page's whole address is kept": (
        "report",
        lambda d: page.check_report(d, page.keeps_the_page),
    ),
    "an error shows a secret": ("config", lambda d: outbound.check_config(d, shows_the_file)),
}


CRASHES: dict[str, type[Exception]] = {
    "deep nesting crashes": RecursionError,
    "a deep receipt crashes": RecursionError,
    "a key that crashes": ValueError,
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_corpus_finds_the_fault(fault: str) -> None:
    name, check = BROKEN[fault]
    parser = next(parser for parser in PARSERS if parser.name == name)
    shown: set[type[Exception]] = set()
    for path in parser.corpus():
        try:
            check(path.read_bytes())
        except Exception as broken:
            shown.add(type(broken))
    assert CRASHES.get(fault, AssertionError) in shown, shown
