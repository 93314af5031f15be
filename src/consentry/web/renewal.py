"""The cookie of somebody who refused, written once more by the server.

Some browsers forget within a week what a script wrote, and a refusal does not age. Where the
server answers on the site's own name it can write the cookie that the browser sent, as it was.
Only one in which nothing is granted: an answer may have been given since, and a cookie that is
written back late may take a yes away, but never bring one back.
"""

from __future__ import annotations

from consentry.csp import cookie as cookies
from consentry.web.call import Asked, Reply
from consentry.web.pages.device import from_our_page
from consentry.web.site import Site


def renewed(site: Site, request: Asked, device: str | None = None) -> list[str]:
    """The Set-Cookie headers, where there is something to renew. ``device``: and it is this one."""
    if not from_our_page(site, request):
        return []
    values = cookies.cookies_named(request.headers.getlist("cookie"))
    claim = cookies.read(values[0]) if len(values) == 1 else None
    if claim is None or claim.granted or (device is not None and claim.device != device):
        return []
    notice, base = site.config.notice, site.config.server.base_url
    https = request.scope["scheme"] == "https" or (base or "").startswith("https:")
    kept = f"{cookies.NAME}={values[0]}; Max-Age={int(notice.cookie_days * 86_400)}"
    kept += "; Path=/; SameSite=Lax" + ("; Secure" if https else "")
    return [kept if notice.cookie_domain is None else f"{kept}; Domain={notice.cookie_domain}"]


def renew(site: Site, request: Asked, reply: Reply, device: str | None = None) -> Reply:
    """The reply, with the cookie if it is to be renewed."""
    for cookie in renewed(site, request, device):
        reply.raw_headers.append((b"set-cookie", cookie.encode("latin-1")))
    return reply
