"""POST /v1/forms: sign-up forms, from a script or from a page without any.

A form asks, it does not grant: a public key can be used by anyone, with anyone's address. The
address gets one mail, and only a click there counts (docs/decisions/0005).
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from starlette.requests import Request

from consentry.core.choice import nodes_named
from consentry.core.moment import SECOND
from consentry.core.policy import topic_key
from consentry.core.record import Node, NodeKind
from consentry.core.stamp import Invalid
from consentry.flow import opt_in
from consentry.flow.office import CHANNELS
from consentry.flow.opt_in import Fate, SignUp
from consentry.ports import StoreUnavailable
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Answer, Reply
from consentry.web.consent import LARGEST_BODY, Caller, caller
from consentry.web.evidence import evidence_of, notice_in
from consentry.web.pages import html
from consentry.web.pages.fields import Fields, is_form, parse_fields
from consentry.web.problems import Problem, json_response
from consentry.web.site import Site

TRAP = "website"  # a field that people do not see; what fills it in is a program
EVEN_S = 0.05
"""A form is answered so long after it came, or a multiple of that. What is withheld writes nothing,
so it would be answered sooner, and tell that the address is suppressed or was written to lately."""


class Sent(NamedTuple):
    """A form, however it came. ``back`` is where the browser goes afterwards."""

    body: bodies.Form
    back: str = ""


async def post_forms(site: Site, request: Request) -> Answer:
    """POST /v1/forms: asks an address to confirm a sign-up."""
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    if not is_form(request):
        body = bodies.read_bytes(raw, bodies.Form)
        await _take(site, request, body)
        return json_response({"status": "requested"}, 202)
    fields = await parse_fields(request, raw)
    words = html.words_for(site, request, fields.get("language"))
    try:
        sent = _of_fields(fields)
        who = await _take(site, request, sent.body)
    except Problem as problem:
        return _not_taken(site, words, problem)
    if sent.back and _may_return(site, who, sent.back):
        return Reply(b"", 303, [(b"location", sent.back.encode()), (b"cache-control", b"no-store")])
    return html.page(
        site,
        words,
        "message",
        202,
        title=words["page.confirm.title"],
        text=words["form.sent"],
        tone="done",
        more="",
        manage=False,
    )


async def _take(site: Site, request: Request, body: bodies.Form) -> Caller:
    """Raises Problem: 400, 401, 403, 409 where it could not be confirmed, 429, 503."""
    who = caller(site, request, body.write_key)
    node = _address(body.subject)
    if not site.office.reaches(node.kind):
        missing = "[smtp]" if node.kind is NodeKind.EMAIL else "[sms]"
        message = f"no sign-up can be confirmed: set {missing}, [pages].secret, [server].base_url"
        raise Problem(409, "mail_not_configured", message)
    keys = _keys(site, body, node)
    if not who.trusted:
        site.strangers.check(site.client_ip(request))
    if body.website:
        site.meters.sign_ups.labels("trapped").inc()
        return who
    clock = asyncio.get_running_loop().time
    began = clock()
    fate = await _ask(site, request, who, body, node, keys)
    await asyncio.sleep(EVEN_S - (clock() - began) % EVEN_S)
    site.meters.sign_ups.labels(fate).inc()
    if fate is Fate.FULL:
        raise Problem(503, "unavailable", "too many mails are waiting", retry_after_s=60)
    # Whether an address was written to lately, or never wants to be, is nobody's business.
    site.post_soon()
    return who


async def _ask(
    site: Site,
    request: Request,
    who: Caller,
    body: bodies.Form,
    node: Node,
    keys: tuple[str, ...],
) -> Fate:
    now = site.world.clock.now()
    wanted = None if body.evidence is None else body.evidence.language
    evidence: dict[str, Any] = {
        **evidence_of(site, request, body.evidence, public=not who.trusted, now=now),
        "surface": "form",
    }
    if body.form is not None:
        evidence["form"] = body.form
    sign_up = SignUp(
        node=node,
        keys=keys,
        origin=who.origin,
        received_at=now,
        ends_at=now + site.config.pages.confirm_hours * 3600 * SECOND,
        language=html.words_for(site, request, wanted).language,
        evidence=evidence,
        notice=notice_in(site, body.evidence, who.origin, form=True),
    )
    try:
        return await opt_in.ask(site.world, sign_up, site.config.pages.mails_a_day)
    except StoreUnavailable:
        message = "the store cannot be written; nothing was recorded"
        raise Problem(503, "unavailable", message, retry_after_s=2) from None


def _address(subject: bodies.Address) -> Node:
    """The one address that is asked. Raises Problem 400."""
    if (subject.email is None) == (subject.phone is None):
        raise Problem(400, "one_address", "name either email or phone", "subject")
    try:
        (node,) = nodes_named(None, None, subject.email, subject.phone)
    except Invalid as error:
        raise Problem(400, error.code, error.message, error.field) from None
    return node


def _keys(site: Site, body: bodies.Form, node: Node) -> tuple[str, ...]:
    """Topics that there are, on channels that reach this address. Raises Problem 400."""
    found = []
    for topic, channels in body.topics.items():
        for channel, yes in channels.items():
            key = topic_key(topic, channel)
            field = f"topics.{topic}.{channel}"
            if key not in site.world.policy.category:
                raise Problem(400, "unknown_topic", "the workspace has no such topic", field)
            if key in site.world.policy.transactional:
                message = "this topic is sent without consent, so nobody signs up for it"
                raise Problem(400, "transactional", message, field)
            if CHANNELS.get(channel) is not node.kind:
                message = "this channel does not reach this address"
                raise Problem(400, "channel_mismatch", message, field)
            if not yes:
                message = "a form only asks; say no with POST /v1/consent/withdraw"
                raise Problem(400, "not_a_sign_up", message, field)
            found.append(key)
    if not found:
        raise Problem(400, "empty_choice", "name at least one topic", "topics")
    return tuple(sorted(found))


# -- without a script -------------------------------------------------------------------------
def _of_fields(fields: Fields) -> Sent:
    """A browser's form as the body that a script sends. Raises Problem 400."""
    email, phone = fields.get("email") or None, fields.get("phone") or None
    usual = "email" if phone is None else "sms"
    topics: dict[str, dict[str, bool]] = {}
    for text in fields.all("topic"):
        topic, _, channel = text.partition(":")
        topics.setdefault(topic, {})[channel or usual] = True
    evidence = {
        name: value
        for name in ("noticeId", "noticeVersion", "noticeText", "language", "page")
        if (value := fields.get(name))
    }
    raw = {
        "subject": {k: v for k, v in (("email", email), ("phone", phone)) if v is not None},
        "topics": topics,
        "evidence": evidence,
        "website": fields.get(TRAP),
        "writeKey": fields.get("writeKey"),
    }
    if fields.get("form"):
        raw["form"] = fields.get("form")
    return Sent(bodies.convert(raw, bodies.Form), fields.get("redirect"))


def _may_return(site: Site, who: Caller, back: str) -> bool:
    """Only to a site that the source names: else we would be a way to send people anywhere."""
    source = next((s for s in site.config.sources if s.name == who.origin.source), None)
    if source is None or not back.isascii() or not back.isprintable() or "\\" in back:
        return False
    return any(back == o or back.startswith((f"{o}/", f"{o}?", f"{o}#")) for o in source.origins)


def _not_taken(site: Site, words: html.Words, problem: Problem) -> Reply:
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    invalid = problem.status == 400
    return html.page(
        site,
        words,
        "message",
        problem.status,
        headers,
        title=words["page.error.title"],
        text=words["form.invalid"] if invalid else words["page.error.text"],
        tone="problem",
        more="",
        manage=False,
    )
