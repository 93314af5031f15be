"""The link in a confirmation mail: a GET asks, a POST grants, once."""

from __future__ import annotations

from starlette.requests import Request

from consentry.flow import opt_in
from consentry.flow.opt_in import Link
from consentry.ledger.entry import RecordType
from consentry.outbox import OptIn
from consentry.web.call import Reply
from consentry.web.consent import tell_choice
from consentry.web.pages import answers, html
from consentry.web.pages.fields import read_fields
from consentry.web.pages.html import Words
from consentry.web.site import Site

TEXTS = ("page.confirm.",)
_STATUS = {Link.USED: ("used", 410), Link.ENDED: ("expired", 410), Link.UNKNOWN: ("invalid", 400)}


async def get_confirm(site: Site, request: Request) -> Reply:
    """GET /confirm: asks to confirm a sign-up. Changes nothing."""
    link, waiting = opt_in.look_up(site.world, _token(request), site.world.clock.now())
    words = html.words_for(site, request, None if waiting is None else waiting.language)
    if waiting is None:
        return _refused(site, words, link)
    return _ask(site, words, request, waiting)


def _ask(site: Site, words: Words, request: Request, waiting: OptIn, status: int = 200) -> Reply:
    return html.page(
        site,
        words,
        "confirm",
        status,
        title=words["page.confirm.title"],
        topic=_topic(site, words, waiting),
        action=f"{html.root_of(site)}/confirm?t={_token(request)}",
        seen=_shown(site, words, waiting)[0],
    )


def _shown(site: Site, words: Words, waiting: OptIn) -> tuple[str, str]:
    return html.shown(site, words, "confirm", TEXTS, [_topic(site, words, waiting)])


async def post_confirm(site: Site, request: Request) -> Reply:
    """POST /confirm: grants what was asked for. It works once."""
    fields = await read_fields(site, request)
    token, now = _token(request), site.world.clock.now()
    link, waiting = opt_in.look_up(site.world, token, now)
    words = html.words_for(
        site, request, fields.get("lang") or (None if waiting is None else waiting.language)
    )
    if waiting is None or fields.get("do") != "confirm":
        return _refused(site, words, Link.UNKNOWN if waiting is not None else link)
    shown = _shown(site, words, waiting)
    if fields.get("seen") != shown[0]:
        return _ask(site, words, request, waiting, 409)  # it asks for something else now
    told = {
        "confirmNoticeHash": shown[0],
        "confirmLanguage": words.language,
        "confirmedBy": answers.network_and_family(site, request),
    }
    link, answered = await opt_in.confirm(
        site.world, token, now, told, shown, place=site.place_of(request)
    )
    if answered is None:
        return _refused(site, words, link)
    site.meters.sign_ups.labels("confirmed").inc()
    tell_choice(site, answered, RecordType.CHOICE)
    return html.message(site, words, "confirm", 200, tone="done", text="done", manage=True)


def _token(request: Request) -> str:
    """As it may stand in a page: no more than the characters that tokens have."""
    token = request.query_params.get("t", "")
    plain = token.replace("-", "").replace("_", "")
    return token if len(token) <= 100 and plain.isascii() and plain.isalnum() else ""


def _topic(site: Site, words: Words, waiting: OptIn) -> str:
    return site.office.topic_names(site.world.policy, waiting.keys, words.language)


def _refused(site: Site, words: Words, link: Link) -> Reply:
    name, status = _STATUS[link]
    return html.message(site, words, name, status)
