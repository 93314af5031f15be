"""The preference centre as a page: for who holds an edit link, and for the visitor's own device.

It works without JavaScript. A GET shows, a POST records. An edit link speaks for the subject it
names. Without one, the page is the device's own: it reads the ``consentry`` cookie and writes it.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any

from starlette.requests import Request

from consentry.core.choice import Answer
from consentry.core.record import Node, NodeKind
from consentry.flow.links import Expired, Link, LinkType
from consentry.web.call import Reply
from consentry.web.cookies import expire, refused_cookies
from consentry.web.ingest import read_gpc
from consentry.web.pages import answers, asked_for, device, html
from consentry.web.pages.answers import Seen
from consentry.web.pages.device import Device
from consentry.web.pages.fields import Fields, read_fields
from consentry.web.pages.html import Words
from consentry.web.pages.items import STOP, Board, answer_of, board, rule_at, subject_standing
from consentry.web.problems import Problem
from consentry.web.site import Site

TEXTS = (
    "page.preferences.",
    "page.channel.",
    "page.channels.",
    "action.",
    "category.always",
    "category.details",
    "category.destinations",
    "category.tags",
    "category.nobody",
)
_SAVING = ("save", "withdraw")


class Done(StrEnum):
    """What a page says of the form that was sent."""

    NOTHING = ""
    SAVED = "saved"
    CHANGED = "changed"  # the page is another one now: what was turned on has to be looked at


async def get_preferences(site: Site, request: Request) -> Reply:
    """GET /preferences: what holds, and a form to change it. Changes nothing."""
    words = html.words_for(site, request)
    if "t" not in request.query_params:
        return _show_device(site, words, request, device.of(site, request))
    link = _link(site, request)
    if not isinstance(link, Link):
        return _refused(site, words, link)
    return _show_subject(site, words, request, link)


async def post_preferences(site: Site, request: Request) -> Reply:
    """POST /preferences: records what was chosen, or sends a link to an address that is known."""
    fields = await read_fields(site, request)
    words = html.words_for(site, request, fields.get("lang"))
    if fields.get("do") == "request":
        return await asked_for.ask_for_link(site, words, request, fields)
    if fields.get("do") not in _SAVING and not fields.get("do").startswith(STOP):
        raise Problem(400, "no_choice", "this form says neither save, withdraw nor stop", "do")
    if "t" not in request.query_params:
        return await _save_device(site, words, request, fields)
    link = _link(site, request)
    if not isinstance(link, Link):
        return _refused(site, words, link)
    offered = _board_of(site, words, request, link)
    page = answers.seen_by(fields, _shown(site, words, offered))
    answer = _answer(fields, offered, page)
    if answer is not None:
        told = answers.evidence(site, request, words, _action(fields), "preference_centre", page)
        await answers.record(site, request, link.subject, answer, told, page, by_link=True)
    return _show_subject(site, words, request, link, done=_done(fields, page))


async def _save_device(site: Site, words: Words, request: Request, fields: Fields) -> Reply:
    one = device.of(site, request)
    proven = device.proven(site, request, one, fields.get("proof"))
    if proven is None:
        return html.message(site, words, "error", 403)
    subject = (Node(NodeKind.DEVICE, proven.id),)
    offered = _device_board(site, words, request, proven)
    page = answers.seen_by(fields, _shown(site, words, offered))
    answer = _answer(fields, offered, page)
    if answer is None:
        return _show_device(site, words, request, proven, done=_done(fields, page))
    told = answers.evidence(site, request, words, _action(fields), "preference_centre", page)
    await answers.record(site, request, subject, answer, told, page, by_link=False)
    proven = proven.after(answer.granted, site.world.policy.asked)
    reply = _show_device(site, words, request, proven, done=_done(fields, page))
    held = subject_standing(site, subject, alone=True)
    version = html.notice_version(site)
    for cookie in device.cookies_of(site, request, proven, held, version):
        reply.raw_headers.append((b"set-cookie", cookie.encode("latin-1")))
    now = _device_board(site, words, request, proven)
    refused = frozenset(item.key for item in now.categories if not item.on)
    expire(request, reply, refused_cookies(site.config.tags, refused, request.cookies, "/"))
    return reply


def _answer(fields: Fields, offered: Board, page: Seen) -> Answer | None:
    """What is recorded; None where nothing was said. Of a page that has changed only the noes."""
    answer = answer_of(fields, offered)
    if fields.get("do").startswith(STOP) and not answer.denied:
        raise Problem(400, "no_choice", "nothing is sent by this channel here", "do")
    if not page.same:
        answer = answer.refusals
    return answer if answer.granted or answer.denied else None


def _action(fields: Fields) -> str:
    return "save" if fields.get("do") == "save" else "withdraw"


def _done(fields: Fields, page: Seen) -> Done:
    if page.same or _action(fields) == "withdraw":
        return Done.SAVED
    return Done.CHANGED


# -- what is shown ----------------------------------------------------------------------------
def _show_subject(
    site: Site, words: Words, request: Request, link: Link, *, done: Done = Done.NOTHING
) -> Reply:
    action = f"{html.root_of(site)}/preferences?t={request.query_params['t']}"
    return _page(site, words, _board_of(site, words, request, link), action, done=done)


def _show_device(
    site: Site,
    words: Words,
    request: Request,
    one: Device,
    *,
    done: Done = Done.NOTHING,
) -> Reply:
    # The browser's word on where a form comes from is asked for: see ``device.proven``.
    told = {"Referrer-Policy": "same-origin"}
    return _page(
        site,
        words,
        _device_board(site, words, request, one),
        f"{html.root_of(site)}/preferences",
        done=done,
        proof=device.proof(site, one),
        mails=True,
        headers=told,
    )


def _page(
    site: Site,
    words: Words,
    shown: Board,
    action: str,
    *,
    done: Done,
    proof: str = "",
    **more: Any,
) -> Reply:
    return html.page(
        site,
        words,
        "preferences",
        409 if done is Done.CHANGED else 200,
        title=words["page.preferences.title"],
        done=done,
        seen=_shown(site, words, shown)[0],
        silent=shown.silent,
        categories=shown.categories,
        topics=shown.topics,
        sent=shown.sent,
        ways=shown.ways,
        stop=STOP,
        always=shown.always,
        items=shown.items,
        gpc=shown.gpc,
        action=action,
        proof=proof,
        **more,
    )


def _shown(site: Site, words: Words, offered: Board) -> tuple[str, str]:
    version = html.notice_version(site)
    return html.shown(site, words, "preferences", TEXTS, offered.named(), version=version)


def _board_of(site: Site, words: Words, request: Request, link: Link) -> Board:
    standing = subject_standing(site, link.subject, alone=link.alone)
    return board(site, words, standing, rule_at(site, request), link.keys)


def _device_board(site: Site, words: Words, request: Request, one: Device) -> Board:
    standing = subject_standing(site, (Node(NodeKind.DEVICE, one.id),), alone=True)
    gpc = read_gpc(request) is True
    shown = board(site, words, standing, rule_at(site, request), topics=False, gpc=gpc)
    return replace(
        shown,
        categories=tuple(
            replace(item, on=False, said=False) if one.refuses(item.key) else item
            for item in shown.categories
        ),
    )


def _link(site: Site, request: Request) -> Link | Expired | None:
    token = request.query_params.get("t", "")
    return site.office.links.read(LinkType.EDIT, token, site.world.clock.now())


def _refused(site: Site, words: Words, link: Expired | None) -> Reply:
    if link is None:
        return html.message(site, words, "invalid", 400, mails=True)
    return html.message(site, words, "expired", 410, mails=True)
