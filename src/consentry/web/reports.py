"""What pages tried to send without consent: told by browsers and by the page's guard, counted.

A browser sends a violation report to a URL in a header and can add no header of its own, so the
key stands in that URL. It is the public write key, which every visitor's page shows anyway; a
secret one is refused there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta
from starlette.requests import Request

from consentry.config import Source, Tag
from consentry.core import moment
from consentry.core.leak import (
    MOST_REPORTS,
    OTHER,
    Leak,
    counted,
    from_browser,
    from_guard,
    names_host,
)
from consentry.flow import describe
from consentry.leaks import MOST_LEAKS, MOST_UNKNOWN, LeakCount
from consentry.web.arriving import read_body
from consentry.web.bodies import Body, convert
from consentry.web.call import Answer
from consentry.web.problems import Problem, json_response
from consentry.web.site import REPORTS, Site
from consentry.web.strict_json import read_checked

LARGEST_BODY = 64 * 1024
UNKNOWN = "unknown"
_WRAPPED = "reports"


class Held(Body):
    """One request that the page's guard held back. ``category`` is what the page lacked."""

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    kind: Annotated[str, Meta(min_length=1, max_length=40)]
    category: Annotated[str, Meta(max_length=100)] | None = None
    page: Annotated[str, Meta(max_length=2000)] = ""
    count: Annotated[int, Meta(ge=1, le=100_000)] = 1


class HeldBack(Body):
    """What the guard sends: POST /v1/csp-reports."""

    leaks: Annotated[list[Held], Meta(max_length=MOST_REPORTS)]
    write_key: str | None = None


async def post_reports(site: Site, request: Request) -> Answer:
    """POST /v1/csp-reports: what a page tried to send without consent."""
    key = request.query_params.get("key")
    source = None if key is None else _source(site, request, key)
    value = read(await read_body(request, LARGEST_BODY, site.room))
    told = convert(value, HeldBack) if isinstance(value, dict) and "leaks" in value else None
    body_key = None if told is None else told.write_key
    if source is None:
        source = _source(site, request, body_key)
    elif body_key is not None and site.source_of(body_key) is not source:
        raise Problem(400, "key_conflict", "the URL and the body name different keys", "writeKey")
    if told is not None:
        leaks, ignored = held_back(told.leaks)
    else:
        leaks, ignored = counted(map(from_browser, listed(value)))
    await _count(site, source, leaks)
    if ignored:
        site.meters.reports_ignored.labels(source.name).inc(ignored)
    return json_response({"counted": sum(leaks.values()), "ignored": ignored})


def _source(site: Site, request: Request, key: str | None) -> Source:
    """The public source of a key, within its limits.

    Raises Problem: 401 for a key that is missing or unknown, 400 for a secret one or for two that
    contradict each other, 403 for another site's page, 429.
    """
    source = site.tracking_source(request, key)
    if source is None:
        site.meters.unknown_keys.inc()
        raise Problem(401, "unknown_key", "no source has this key", authenticate=True)
    if source.trusted:
        message = "reports come from browsers: use the write key of a public source"
        raise Problem(400, "secret_key", message, "key")
    site.check_origin(source, request)
    site.check_rate(source, 1, REPORTS)
    return source


def read(raw: bytes) -> Any:
    """A JSON value. The Reporting API sends a list, which is read as the member of an object."""
    if not raw.lstrip(b" \t\r\n").startswith(b"["):
        return read_checked(raw)
    value = read_checked(b'{"%s":%s}' % (_WRAPPED.encode(), raw))
    if list(value) != [_WRAPPED]:
        raise Problem(400, "invalid_json", "the body holds more than one value")
    return value[_WRAPPED]


def listed(value: Any) -> list[Any]:
    """The reports in a body of either format. Raises Problem 400."""
    reports = value if isinstance(value, list) else [value]
    if len(reports) > MOST_REPORTS:
        raise Problem(400, "too_many", f"at most {MOST_REPORTS} reports in one request")
    if isinstance(value, dict) and not isinstance(value.get("csp-report"), dict):
        message = "send a csp-report, a list of reports, or the guard's leaks"
        raise Problem(400, "invalid_body", message)
    return reports


def held_back(held: Iterable[Held]) -> tuple[dict[Leak, int], int]:
    """What the guard counted, and how much of it names no host."""
    counts: dict[Leak, int] = {}
    ignored = 0
    for each in held:
        leak = from_guard(each.host, each.kind, each.page)
        if leak is None:
            ignored += each.count
        else:
            counts[leak] = counts.get(leak, 0) + each.count
    return counts, ignored


async def _count(site: Site, source: Source, leaks: dict[Leak, int]) -> None:
    """Known hosts find room where strangers' inventions have taken all of theirs."""
    now = site.world.clock.now()
    tagged = {leak: n for leak, n in leaks.items() if tags_of(site, leak.host)}
    others = {leak: n for leak, n in leaks.items() if leak not in tagged}
    for part, most in ((tagged, MOST_LEAKS), (others, MOST_UNKNOWN)):
        if part:  # each of them is one transaction
            await site.world.store.leaks.count(source.name, part, most, now)
    for leak, count in leaks.items():
        tags = tags_of(site, leak.host)
        label = tags[0].name if tags else UNKNOWN
        stopped = "true" if leak.stopped else "false"
        site.meters.leaks.labels(source.name, label, leak.via.value, stopped).inc(count)


def tags_of(site: Site, host: str) -> list[Tag]:
    """The tags that name a host, as the configuration is now."""
    return [
        tag for tag in site.config.tags if any(names_host(pattern, host) for pattern in tag.hosts)
    ]


async def get_leaks(site: Site, request: Request) -> Answer:
    """GET /v1/leaks: the leak report. ``since`` leaves out what was last seen before."""
    site.require_admin(request)
    since = request.query_params.get("since")
    try:
        after = 0 if since is None else moment.parse(since)
    except (ValueError, OverflowError):
        message = "since is a time: 2026-01-31T00:00:00Z"
        raise Problem(400, "invalid_time", message, "since") from None
    rows = site.world.store.leaks.since(after)
    return json_response({"leaks": [_described(site, row) for row in rows]})


def _described(site: Site, row: LeakCount) -> dict[str, Any]:
    leak = row.leak
    tags = [] if leak.host == OTHER else tags_of(site, leak.host)
    categories = dict.fromkeys(category for tag in tags for category in tag.categories)
    return {
        "source": row.source,
        "host": leak.host,
        "kind": leak.kind,
        "page": leak.page,
        "via": leak.via.value,
        "stopped": leak.stopped,
        "count": row.times,
        "firstAt": describe.time(row.first_at),
        "lastAt": describe.time(row.last_at),
        "tags": [tag.name for tag in tags],
        "categories": list(categories),
    }
