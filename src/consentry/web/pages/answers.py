"""A choice that was made on a page, recorded with what stood there."""

from __future__ import annotations

from typing import Any

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
from consentry.web.pages.html import Words
from consentry.web.site import Site


async def record(
    site: Site,
    request: Request,
    subject: tuple[Node, ...],
    answer: Answer,
    evidence: dict[str, Any],
    shown: tuple[str, str],
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
    answered = await record_choice(site.world, said, origin, notice=shown, gpc=gpc)
    tell_choice(site, answered, RecordType.CHOICE)
    return answered


def evidence(
    site: Site, request: Request, words: Words, action: str, surface: str, shown: tuple[str, str]
) -> dict[str, Any]:
    """How the choice was asked for. ``shown`` is (SHA-256 in hex, text) of what stood there."""
    kept = {
        "action": action,
        "surface": surface,
        "noticeId": site.config.notice.id,
        "noticeVersion": notice_version(site),
        "noticeHash": shown[0],
        "noticeKnown": True,
        "language": words.language,
        **seen(site, request),
    }
    return {name: value for name, value in kept.items() if value is not None}


def seen(site: Site, request: Request) -> dict[str, Any]:
    """What the server knows of a browser by itself: the wider network, and the family."""
    return {
        "network": network_of(site.client_ip(request)),
        "browser": family_of(request.headers.get("user-agent", "")),
    }


def notice_version(site: Site) -> str:
    """The edition of the notice that holds now."""
    return site.world.notices.edition(site.world.clock.now()).version
