"""The cookies of refused tags that no script can delete: the server expires them on request.

A page asks after a withdrawal. It works where the server answers on the site's own name, for only
then does the browser send it the site's cookies. Nothing is expired that no ``[[tag]]`` names, so
nobody is logged out. A cookie with another path than / is not sent here: a whole name of a refused
tag is expired unseen where the page says that it lies, and where its entry states a path.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta
from starlette.requests import Request

from consentry.config import Tag
from consentry.csp import expiry
from consentry.csp.values import names_cookie, path_of_cookie
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Answer, Reply
from consentry.web.consent import LARGEST_BODY, caller
from consentry.web.problems import json_response
from consentry.web.renewal import renew
from consentry.web.site import Site

Places = dict[str, list[str]]
"""By name of a cookie, the paths where it may be, the likeliest first."""


class Refused(bodies.Body):
    """POST /v1/consent/cookies: what is refused now, and the path of the page's URL."""

    categories: Annotated[list[bodies.CategoryId], Meta(max_length=100)]
    path: str = "/"
    write_key: str | None = None


async def post_cookies(site: Site, request: Request) -> Answer:
    """POST /v1/consent/cookies: expire what refused tags stored, HttpOnly cookies too.

    The browser's own refusal, if nothing is granted beside it, is made to last.
    """
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    body = bodies.read_bytes(raw, Refused)
    caller(site, request, body.write_key)
    refused = frozenset(body.categories)
    places = refused_cookies(site.config.tags, refused, request.cookies, body.path)
    answer = json_response({"expired": sorted(places)}, headers={"Cache-Control": "no-store"})
    expire(request, answer, places)
    return renew(site, request, answer)


def expire(request: Request, reply: Reply, places: Places) -> None:
    """Adds the headers that take these cookies away."""
    host = request.headers.get("host", "")
    host = host.rpartition(":")[0] if ":" in host else host
    for value in expiry.taken_away(places.items(), host):
        reply.raw_headers.append((b"set-cookie", value.encode()))


def refused_cookies(
    tags: Iterable[Tag], categories: frozenset[str], names: Iterable[str], path: str
) -> Places:
    """Those that a tag of a refused category stores, and no other tag.

    ``names`` are those that the browser sent, ``path`` is the page's.
    """
    known = tuple(tags)
    refused = [p for tag in known if categories & {*tag.categories} for p in tag.cookies]
    kept = [p for tag in known if not categories & {*tag.categories} for p in tag.cookies]
    stated: Places = {}
    for entry in refused:
        name, where = path_of_cookie(entry)
        if "*" not in name:
            stated.setdefault(name, []).append(where)
    around = expiry.above(path)
    sent = frozenset(names)
    places: Places = {}
    for name in sorted({*sent, *stated}):
        if name.startswith("consentry") or not expiry.is_name(name):
            continue
        if not names_cookie(refused, name) or names_cookie(kept, name):
            continue
        paths = dict.fromkeys((*stated.get(name, ()), *around))
        if name not in sent:
            del paths["/"]  # there it would have been sent
        if paths:
            places[name] = sorted(paths, key=lambda path: path != "/")
    return places
