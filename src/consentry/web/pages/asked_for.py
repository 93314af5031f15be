"""A link to one's own choices, asked for by address: the same answer whether it is known or not."""

from __future__ import annotations

import asyncio

import structlog
from starlette.requests import Request

from consentry.core.choice import nodes_named
from consentry.core.record import Node, NodeKind
from consentry.core.stamp import Invalid
from consentry.flow import opt_in
from consentry.ports import StoreError
from consentry.web.call import Reply
from consentry.web.pages import html
from consentry.web.pages.fields import Fields
from consentry.web.pages.html import Words
from consentry.web.problems import Problem
from consentry.web.site import Site

log = structlog.get_logger()


async def ask_for_link(site: Site, words: Words, request: Request, fields: Fields) -> Reply:
    """Raises Problem 409 where no mail can be sent, and 429."""
    if not site.office.reaches(NodeKind.EMAIL):
        raise Problem(409, "mail_not_configured", "no mail can be sent: set [smtp] and [pages]")
    site.strangers.check(site.client_ip(request))
    try:
        (node,) = nodes_named(None, None, fields.get("email"), None)
    except Invalid:
        raise Problem(400, "invalid_email", words["form.invalid"], "email") from None
    # Answered before it is done: how long it takes would say whether the address is known.
    task = asyncio.create_task(_ask(site, node, words.language))
    site.at_work.add(task)
    task.add_done_callback(site.at_work.discard)
    return html.message(site, words, "request", 200, tone="done", text="sent")


async def _ask(site: Site, node: Node, language: str) -> None:
    now, most = site.world.clock.now(), site.config.pages.mails_a_day
    try:
        fate = await opt_in.ask_for_link(site.world, node, language, now, most)
    except StoreError as error:
        log.error("link_not_sent", error=type(error).__name__)
        return
    site.meters.links_asked_for.labels(fate).inc()
    site.post_soon()
