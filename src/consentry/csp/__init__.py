"""Consent-bound Content-Security-Policy: the browser itself refuses what a person refused.

For applications: wrap yours in ``AsgiMiddleware`` or ``WsgiMiddleware``. Nothing but the
standard library is loaded, unless the rules are read from a file. docs/csp.md has the rest.
"""

from consentry.csp.asgi import AsgiMiddleware
from consentry.csp.cookie import granted, normalised
from consentry.csp.policy import reach
from consentry.csp.reading import from_file
from consentry.csp.response import GRANTED, NONCE
from consentry.csp.values import Category, Rules, Tag
from consentry.csp.wsgi import WsgiMiddleware

__all__ = [
    "GRANTED",
    "NONCE",
    "AsgiMiddleware",
    "Category",
    "Rules",
    "Tag",
    "WsgiMiddleware",
    "from_file",
    "granted",
    "normalised",
    "reach",
]
