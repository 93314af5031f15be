"""POST /v1/links: links for an operator's own mails."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from consentry.core.policy import channel_key, topic_key
from consentry.flow import describe
from consentry.flow.links import LinkType
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Reply
from consentry.web.consent import LARGEST_BODY, trusted_caller
from consentry.web.problems import Problem, json_response
from consentry.web.site import Site


async def post_links(site: Site, request: Request) -> Reply:
    """POST /v1/links: a link that speaks for one subject, for mails that you send."""
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    trusted_caller(site, request)
    body = bodies.read_bytes(raw, bodies.LinkFor)
    office, now = site.office, site.world.clock.now()
    if not office.ready:
        message = "links cannot be made: set [pages].secret and [server].base_url"
        raise Problem(409, "pages_not_configured", message)
    subject, keys = body.subject.nodes(), _keys(site, body)
    type_ = LinkType(body.type)
    make = office.editing if type_ is LinkType.EDIT else office.withdrawal
    link = make(subject, now, keys)
    url = office.url(type_, link)
    reply: dict[str, Any] = {"url": url, "expiresAt": describe.time(link.expires_at)}
    if type_ is LinkType.WITHDRAW:
        reply["headers"] = {
            "List-Unsubscribe": f"<{url}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
    return json_response(reply)


def _keys(site: Site, body: bodies.LinkFor) -> tuple[str, ...] | None:
    """What the link is bound to. A name that does not exist would make a link that does nothing."""
    if body.categories is None and body.topics is None and body.channels is None:
        return None
    keys = dict.fromkeys(body.categories or (), "categories")
    for topic, channels in (body.topics or {}).items():
        keys.update({topic_key(topic, channel): "topics" for channel in channels})
    keys.update({channel_key(channel): "channels" for channel in body.channels or ()})
    for key, field in keys.items():
        if key not in site.world.policy.folded:
            raise Problem(400, "unknown_category", f"the workspace has no {key}", field)
    if not keys:
        raise Problem(400, "empty_choice", "name at least one category or topic", "categories")
    return tuple(sorted(keys))
