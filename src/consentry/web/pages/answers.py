"""A choice that was made on a page, recorded with what stood there."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from starlette.requests import Request

from consentry.core.choice import Answer
from consentry.core.record import Node
from consentry.flow.opt_in import LINK
from consentry.flow.record_choice import Answered, record_choice
from consentry.flow.records import Origin, Said
from consentry.ledger.entry import RecordType
from consentry.web.browsers import family_of
from consentry.web.consent import tell_choice
from consentry.web.evidence import network_of
from consentry.web.ingest import read_gpc
from consentry.web.pages import html
from consentry.web.pages.fields import Fields
from consentry.web.pages.html import Words
from consentry.web.site import Site

_HASH = re.compile("[0-9a-f]{64}")


async def record(
    site: Site,
    request: Request,
    subject: tuple[Node, ...],
    answer: Answer,
    evidence: dict[str, Any],
    page: Seen | None,
    *,
    by_link: bool,
) -> Answered:
    """Durable when it returns. Raises StoreUnavailable.

    ``by_link``: who holds the link speaks for its subject. Otherwise it is a browser, which speaks
    for the device that it is, and its signal is recorded with what it says.
    """
    now, place = site.world.clock.now(), site.place_of(request)
    origin = Origin("", LINK if by_link else "public", place=place)
    said = Said(subject=subject, answer=answer, received_at=now, made_at=now, evidence=evidence)
    gpc = None if by_link else read_gpc(request)
    text = None if page is None else page.text
    answered = await record_choice(site.world, said, origin, notice=text, gpc=gpc)
    tell_choice(site, answered, RecordType.CHOICE)
    return answered


class Seen(NamedTuple):
    """What stood on the page that a form is of: ``hash``, and (hash, text) where it is known.

    ``text`` is None where the page would be another one now: then nobody knows any more what
    the person read.
    """

    hash: str | None
    text: tuple[str, str] | None

    @property
    def same(self) -> bool:
        return self.text is not None


def seen_by(fields: Fields, shown: tuple[str, str]) -> Seen:
    """``shown`` is what would be shown now, as (SHA-256 in hex, text)."""
    named = fields.get("seen")
    if named == shown[0]:
        return Seen(named, shown)
    return Seen(named if _HASH.fullmatch(named) else None, None)


def evidence(
    site: Site, request: Request, words: Words, action: str, surface: str, page: Seen | None
) -> dict[str, Any]:
    """How the choice was asked for. ``page`` is None where a program answers, to which nothing
    was shown."""
    kept: dict[str, Any] = {"action": action, "surface": surface}
    if page is not None:
        kept |= {"noticeId": site.config.notice.id, "language": words.language}
        kept["noticeHash"] = page.hash
        if page.same:
            kept["noticeVersion"] = html.notice_version(site)
        if page.hash is not None:
            kept["noticeKnown"] = page.same
    kept |= network_and_family(site, request)
    return {name: value for name, value in kept.items() if value is not None}


def network_and_family(site: Site, request: Request) -> dict[str, Any]:
    """What the server knows of a browser by itself: the wider network, and the family."""
    return {
        "network": network_of(site.client_ip(request)),
        "browser": family_of(request.headers.get("user-agent", "")),
    }
