"""The policy document: what a page needs in order to ask (docs/decisions/0012)."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from starlette.requests import Request

from consentry.config import Source
from consentry.core.moment import Moment
from consentry.flow.notices import Notices
from consentry.jurisdictions import Place, rule_of
from consentry.notice.document import Visit, document
from consentry.web.call import Answer
from consentry.web.ingest import read_gpc
from consentry.web.problems import Problem, json_reply
from consentry.web.site import Site

MOST_REMEMBERED = 1000
# A place comes from headers or the address, so no cache that people share may keep it.
_CACHED = {"Cache-Control": "private, max-age=300"}
_VARY = (b"vary", b"Accept-Language, Sec-GPC")


async def get_policy(site: Site, request: Request) -> Answer:
    """GET /v1/projects/{writeKey}/policy: which rule holds for this visitor, and how to ask."""
    source = site.source_of(request.path_params["write_key"])
    if source is None or source.trusted:
        raise Problem(404, "unknown_key", "no public source has this write key")
    body, tag = _document(site, source, request)
    headers = {**_CACHED, "ETag": tag}
    if tag in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]:
        reply = json_reply(b"", 304, headers)
    else:
        reply = json_reply(body, 200, headers)
    reply.raw_headers.append(_VARY)
    return reply


def _document(site: Site, source: Source, request: Request) -> tuple[bytes, str]:
    """The document and its entity tag; one that was made before is given again."""
    now, notices = site.world.clock.now(), site.world.notices
    place, gpc = site.place_of(request), read_gpc(request) is True
    asked = request.query_params.get("language")
    language = notices.language(asked, request.headers.get("accept-language", ""))
    rule, edition = rule_of(place, now), notices.edition(now)
    key = (source.name, place.code, rule.version, language, gpc, edition.version)
    known: dict[Any, tuple[bytes, str]] = site.documents_of(notices)
    found = known.get(key)
    if found is None:
        if len(known) >= MOST_REMEMBERED:
            known.clear()
        found = known[key] = _made(site, notices, source, place, language, gpc, now)
    return found


def _made(
    site: Site,
    notices: Notices,
    source: Source,
    place: Place,
    language: str,
    gpc: bool,
    now: Moment,
) -> tuple[bytes, str]:
    visit = Visit(place, rule_of(place, now), site.world.regimes.get(source.name), gpc)
    made = document(
        notices.policy,
        notices.notice,
        notices.tags,
        notices.rendered[language],
        notices.edition(now),
        notices.languages,
        visit,
    )
    body = msgspec.json.encode(made)
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
