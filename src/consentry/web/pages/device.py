"""The visitor's own device: its cookie, and the proof that a form comes from its own page.

A cookie comes along with whatever another site makes the browser send. So a form that writes
for a device carries a token made for that device, which only our page shows, and the browser has
to say that our page sent it (Sec-Fetch-Site, or Origin: ASVS 3.5.1).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace

from starlette.requests import Request

from consentry.core.event import LONGEST_ID
from consentry.core.moment import DAY, SECOND
from consentry.core.preference import Found, Standing
from consentry.core.record import Node, NodeKind
from consentry.csp import cookie as cookies
from consentry.flow.links import Link, LinkType
from consentry.web.call import Asked
from consentry.web.ingest import read_gpc
from consentry.web.site import Site

ALL = "*"  # as the page writes it (``sdk/js/src/cookie.ts``)
PROOF_FOR = DAY  # a page may lie open for a day


@dataclass(frozen=True, slots=True)
class Device:
    """``known`` is whether the browser brought this id. ``signal_at_s`` is from its cookie, and so
    is ``denied``: what was refused may not have reached the ledger yet. ``ALL`` is everything.
    """

    id: str
    known: bool
    signal_at_s: int = 0
    denied: frozenset[str] = frozenset()

    def refuses(self, category: str) -> bool:
        return not self.denied.isdisjoint((category, ALL))

    def after(self, granted: Collection[str], asked: Collection[str]) -> Device:
        """Once these were granted: what was refused before and not granted now stays refused."""
        return replace(self, denied=frozenset(filter(self.refuses, asked)) - frozenset(granted))


def of(site: Site, request: Request) -> Device:
    """The device of the cookie; a new one where there is none that can be read.

    One that cannot be read may be a refusal, so everything is.
    """
    values = cookies.cookies_named(request.headers.getlist("cookie"))
    claim = cookies.read(values[0]) if len(values) == 1 else None
    if claim is None or len(claim.device) > LONGEST_ID:
        return Device(str(uuid.uuid4()), False, denied=frozenset((ALL,) if values else ()))
    return Device(claim.device, True, claim.signal_at_s, claim.denied)


def proof(site: Site, one: Device) -> str:
    """What a form of this device carries."""
    node = Node(NodeKind.DEVICE, one.id)
    expires_at = site.world.clock.now() + PROOF_FOR
    return site.forms.token(LinkType.FORM, Link(subject=(node,), expires_at=expires_at))


def proven(site: Site, request: Request, one: Device, token: str) -> Device | None:
    """The device that a form is of: that of the cookie, or the new one that the page named."""
    link = site.forms.read(LinkType.FORM, token, site.world.clock.now())
    if not isinstance(link, Link) or not from_our_page(site, request):
        return None
    named = link.subject[0].value
    if one.known and one.id != named:
        return None
    return replace(one, id=named)


def from_our_page(site: Site, request: Asked) -> bool:
    """As the browser says; without its word the answer is no."""
    fetched = request.headers.get("sec-fetch-site")
    if fetched is not None:
        return fetched == "same-origin"
    origin = request.headers.get("origin", "")
    base = site.config.server.base_url
    ours = {f"{scheme}://{request.headers.get('host', '')}" for scheme in ("http", "https")}
    if base is not None:
        ours.add("/".join(base.split("/")[:3]))
    return origin in ours


def cookies_of(
    site: Site, request: Request, one: Device, held: Standing, version: str
) -> list[str]:
    """The Set-Cookie headers, as the browser's own script would write the cookie.

    It holds what the person said, and nothing of what silence grants. A signal that comes with the
    answer is dated with it, for the answer outweighs it. Where the cookie is shared by subdomains,
    one of this host alone would contradict it, and goes.
    """
    asked = site.world.policy.asked
    notice = site.config.notice
    at_s = site.world.clock.now() // SECOND
    signal_at_s = one.signal_at_s or (at_s if read_gpc(request) is True else 0)
    value = cookies.write(
        one.id,
        notice=f"{notice.id}@{version}",
        at_s=at_s,
        granted=[
            c for c in asked if held.of(c).grant and not (_refused(held.of(c)) or one.refuses(c))
        ],
        denied=[c for c in asked if held.of(c).block or one.refuses(c)],
        signal_at_s=signal_at_s,
    )
    rest = "; Path=/; SameSite=Lax" + ("; Secure" if is_https(site, request) else "")
    kept = f"{cookies.NAME}={value}; Max-Age={int(notice.cookie_days * 86_400)}{rest}"
    if notice.cookie_domain is None:
        return [kept]
    return [f"{cookies.NAME}=; Max-Age=0{rest}", f"{kept}; Domain={notice.cookie_domain}"]


def _refused(found: Found) -> bool:
    return found.block is not None or found.signal is not None


def is_https(site: Site, request: Request) -> bool:
    """Whether people reach this page by https: a proxy may stand in between."""
    base = site.config.server.base_url
    return request.url.scheme == "https" or (base is not None and base.startswith("https:"))
