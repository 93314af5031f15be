"""The cookies of refused tags that no script can delete: the server expires them on request.

A page asks after a withdrawal. It works where the server answers on the site's own name, for only
then does the browser send it the site's cookies. Nothing is expired that no ``[[tag]]`` names, so
nobody is logged out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta
from starlette.requests import Request

from consentry.config import Tag
from consentry.csp.values import domains, names_cookie
from consentry.web import bodies
from consentry.web.call import Answer
from consentry.web.consent import LARGEST_BODY, caller
from consentry.web.problems import json_response
from consentry.web.renewal import renew
from consentry.web.site import Site, read_body

MOST = 50
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")


class Refused(bodies.Body):
    """POST /v1/consent/cookies: what is refused now."""

    categories: Annotated[list[bodies.CategoryId], Meta(max_length=100)]
    write_key: str | None = None


async def post_cookies(site: Site, request: Request) -> Answer:
    """POST /v1/consent/cookies: expire what refused tags stored, HttpOnly cookies too.

    The browser's own refusal, if nothing is granted beside it, is made to last.
    """
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    body = bodies.read_bytes(raw, Refused)
    caller(site, request, body.write_key)
    names = refused_names(site.config.tags, frozenset(body.categories), request.cookies)
    answer = json_response({"expired": names}, headers={"Cache-Control": "no-store"})
    host = request.headers.get("host", "")
    above = domains(host.rpartition(":")[0] if ":" in host else host)
    for name in names:
        for domain in ("", *above):
            text = f"{name}=; Max-Age=0; Path=/{domain and f'; Domain={domain}'}"
            answer.raw_headers.append((b"set-cookie", text.encode()))
    return renew(site, request, answer)


def refused_names(
    tags: Iterable[Tag], categories: frozenset[str], names: Iterable[str]
) -> list[str]:
    """Those that a tag of a refused category stores, and no other tag."""
    known = tuple(tags)
    refused = [p for tag in known if categories & {*tag.categories} for p in tag.cookies]
    kept = [p for tag in known if not categories & {*tag.categories} for p in tag.cookies]
    found = [
        name
        for name in names
        if _NAME.fullmatch(name)
        and not name.startswith("consentry")
        and names_cookie(refused, name)
        and not names_cookie(kept, name)
    ]
    return sorted(found)[:MOST]
