"""What is kept with a choice: what the person was shown, where, and by which browser.

What a page says of itself is kept as said. What the server can know it finds itself: whether a
text with that hash was ever shown by it, the network that the request came from, the family of
the browser. All of it is in the record's private part; the leaf commits to it, no more.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any

from consentry.core.moment import Moment
from consentry.flow.records import Origin, page_alone
from consentry.web import bodies
from consentry.web.browsers import family_of
from consentry.web.call import Asked
from consentry.web.problems import Problem
from consentry.web.site import Site

IPV4_BITS, IPV6_BITS = 24, 48


def said_of(evidence: bodies.Evidence | None) -> dict[str, Any]:
    """What was said with a choice. The notice's text is archived by its hash, not here."""
    if evidence is None:
        return {}
    kept = {
        "action": evidence.action,
        "surface": evidence.surface,
        "noticeId": evidence.notice_id,
        "noticeVersion": evidence.notice_version,
        "noticeHash": evidence.notice_hash,
        "language": evidence.language,
        "layout": evidence.layout,
        "host": evidence.host,
        "page": None if evidence.page is None else page_alone(evidence.page),
        "jurisdiction": evidence.jurisdiction,
        "ruleVersion": evidence.rule_version,
        "sdkVersion": evidence.sdk_version,
    }
    if evidence.notice_text is not None:
        found = _hash(evidence.notice_text)
        if evidence.notice_hash not in (None, found):
            message = "noticeHash is not the SHA-256 of noticeText"
            raise Problem(400, "notice_mismatch", message, "evidence.noticeHash")
        kept["noticeHash"] = found
    return {name: value for name, value in kept.items() if value is not None}


def notice_in(
    site: Site, evidence: bodies.Evidence | None, origin: Origin, *, form: bool = False
) -> tuple[str, str] | None:
    """Hash and text of a notice that came with a choice, where it is archived.

    Everybody has the public key. So it archives texts of forms alone, and so many a day of one
    source; a choice is never refused for its text.
    """
    if evidence is None or evidence.notice_text is None:
        return None
    public = origin.trust == "public"
    if public and not (form and site.foreign.takes(origin.source, site.world.clock.now())):
        return None
    return _hash(evidence.notice_text), evidence.notice_text


def evidence_of(
    site: Site, request: Asked, evidence: bodies.Evidence | None, *, public: bool, now: Moment
) -> dict[str, Any]:
    """All that is kept. ``public`` is whether a person's own browser speaks."""
    kept = said_of(evidence)
    kept.update(_checked(site, kept, evidence, now))
    if public:
        network = network_of(site.client_ip(request))
        family = family_of(request.headers.get("user-agent", ""))
        kept.update({k: v for k, v in (("network", network), ("browser", family)) if v})
    return kept


def _checked(
    site: Site, kept: dict[str, Any], evidence: bodies.Evidence | None, now: Moment
) -> dict[str, Any]:
    """Whether the server ever had shown what a person is said to have seen.

    It did if a configuration record names that hash: what anybody sends is archived under its
    hash too, however much it looks like ours. ``noticeBy`` is "sender" for a text that came with
    the choice. ``noticeKnown`` is False for every hash that was not shown, ``noticeContradicts``
    lists what does not fit to the text. What is known of neither is counted.
    """
    digest = kept.get("noticeHash")
    if digest is None:
        return {}
    small = "placeholder" if kept.get("surface") == "placeholder" else None
    notices = site.world.notices
    shown = notices.shown(site.world.store, digest)
    if shown is None:
        if evidence is not None and evidence.notice_text is not None:
            return {"noticeKnown": False, "noticeBy": "sender"}
        site.meters.unknown_notices.inc()
        return {"noticeKnown": False}
    wrong = [
        name
        for name, right in (
            ("noticeId", kept.get("noticeId") in (None, shown.id)),
            ("language", kept.get("language") in (None, shown.language)),
            ("layout", kept.get("layout") in (None, small or shown.layout)),
            ("noticeVersion", notices.was_edition(digest, kept.get("noticeVersion"), now)),
        )
        if not right
    ]
    # A page need not say what the text under the hash says already. The place of a frame looks
    # the same under every layout of the notice.
    layout = {"layout": kept.get("layout", small or shown.layout)}
    if not wrong:
        return {"noticeKnown": True, **layout}
    site.meters.unknown_notices.inc()
    return {"noticeKnown": True, "noticeContradicts": wrong, **layout}


def network_of(address: str | None) -> str | None:
    """The network that an address is in, so wide that it names nobody: /24, or /48."""
    if address is None:
        return None
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ipaddress.IPv4Network((int(ip), IPV4_BITS), strict=False))
    return str(ipaddress.IPv6Network((int(ip), IPV6_BITS), strict=False))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
