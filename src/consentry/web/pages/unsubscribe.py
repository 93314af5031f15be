"""What a link in a mail may do for years: say no, and nothing else.

A GET shows a page, since mail scanners follow every link. A POST withdraws. Mail programs POST
``List-Unsubscribe=One-Click`` by themselves (RFC 8058): no cookie, no redirect, the same again
when it comes again.
"""

from __future__ import annotations

from starlette.requests import Request

from consentry.core.choice import Answer
from consentry.core.policy import channel_key, is_topic
from consentry.flow.links import Expired, Link, LinkType
from consentry.flow.record_choice import withdrawal_of
from consentry.web.call import Reply
from consentry.web.pages import answers, html
from consentry.web.pages.fields import read_fields
from consentry.web.pages.html import Words
from consentry.web.pages.items import STOP, Way, names_of, ways_of
from consentry.web.site import Site

TEXTS = ("page.unsubscribe.", "page.preferences.withdraw", "page.channel.", "page.channels.")


async def get_unsubscribe(site: Site, request: Request) -> Reply:
    """GET /unsubscribe: asks whether to withdraw. Changes nothing."""
    words = html.words_for(site, request)
    link = _link(site, request)
    if not isinstance(link, Link):
        return _refused(site, words, link)
    return _ask(site, words, request, link)


async def post_unsubscribe(site: Site, request: Request) -> Reply:
    """POST /unsubscribe: withdraws what the link is about."""
    fields = await read_fields(site, request)
    words = html.words_for(site, request, fields.get("lang"))
    link = _link(site, request)
    if not isinstance(link, Link):
        return _refused(site, words, link)
    one_click = fields.get("List-Unsubscribe") == "One-Click"
    answer = _answer(site, link, "all" if one_click else fields.get("do"))
    if answer is None:
        return _ask(site, words, request, link, status=400)
    # A mail program that posts by itself showed nothing of ours to anybody.
    page = None if one_click else answers.seen_by(fields, _shown(site, words, link))
    told = answers.evidence(site, request, words, "withdraw", "link", page)
    told["oneClick"] = one_click
    await answers.record(site, request, link.subject, answer, told, page, by_link=True)
    return html.message(
        site, words, "unsubscribe", 200, tone="done", text="done", manage=not one_click
    )


def _answer(site: Site, link: Link, do: str) -> Answer | None:
    """Only denials, by construction: there is nothing else that this door can say."""
    covered = _covered(site, link)
    if do == "messages":
        covered = frozenset(filter(is_topic, covered))
    elif do.startswith(STOP):
        covered &= {channel_key(do.removeprefix(STOP))}
        return Answer(frozenset(), covered) if covered else None
    elif do != "all":
        return None
    return Answer(frozenset(), covered)


def _shown(site: Site, words: Words, link: Link) -> tuple[str, str]:
    named = names_of(site, words, _covered(site, link))
    named += [way.name for way in _ways(site, words, link)]
    return html.shown(site, words, "unsubscribe", TEXTS, named)


def _covered(site: Site, link: Link) -> frozenset[str]:
    """What the link is about; without a bound everything that is not essential."""
    if link.keys is not None:
        return frozenset(link.keys)
    return withdrawal_of(site.world, None, None).denied


def _ways(site: Site, words: Words, link: Link) -> tuple[Way, ...]:
    """Where the link covers several channels as a whole, each of them by itself."""
    found = ways_of(site, words, link.keys)
    return found if len(found) > 1 else ()


def _link(site: Site, request: Request) -> Link | Expired | None:
    token = request.query_params.get("t", "")
    return site.office.links.read(LinkType.WITHDRAW, token, site.world.clock.now())


def _refused(site: Site, words: Words, link: Expired | None) -> Reply:
    """What to do next: ask for another link."""
    if link is None:
        return html.message(site, words, "invalid", 400, mails=True)
    return html.message(site, words, "expired", 410, mails=True)


def _ask(site: Site, words: Words, request: Request, link: Link, status: int = 200) -> Reply:
    covered = _covered(site, link)
    topics = frozenset(filter(is_topic, covered))
    messages, uses = names_of(site, words, topics), names_of(site, words, covered - topics)
    if len(messages) == 1:
        question = words.fill("page.unsubscribe.topic", topic=messages[0])
    elif messages:
        question = words["page.unsubscribe.question"]
    else:
        question = words["page.preferences.text"]
    if len(topics) == len(covered):
        buttons = [("all", words["page.unsubscribe.button"])]
    else:
        buttons = [("messages", words["page.unsubscribe.all"])] if topics else []
        buttons += [("all", words["page.preferences.withdraw"])]
    return html.page(
        site,
        words,
        "unsubscribe",
        status,
        title=words["page.unsubscribe.title"],
        question=question,
        messages=messages if len(messages) > 1 else [],
        uses=uses,
        buttons=buttons,
        ways=_ways(site, words, link),
        stop=STOP,
        seen=_shown(site, words, link)[0],
        action=f"{html.root_of(site)}/unsubscribe?t={request.query_params['t']}",
    )
