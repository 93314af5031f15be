"""The browser files at ``/sdk/``.

Anyone may load them from anywhere: they hold nothing of a workspace. A name stays the same over
versions, so it is asked for again; with its hash in the query (``?v=``) it never changes.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache

from starlette.requests import Request

from consentry import sdk
from consentry.web.call import Answer, Reply
from consentry.web.problems import Problem
from consentry.web.site import Site

SHORTEST_HASH = 8
FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "public, max-age=300, must-revalidate"
_TYPES = {
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
}
_OPEN = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class _File:
    """``digest`` is the SHA-256 of the plain bytes, in hexadecimal."""

    plain: bytes
    zipped: bytes
    digest: str
    media_type: str


@cache
def _files() -> dict[str, _File]:
    return {
        name: _File(
            plain,
            gzip.compress(plain, 9, mtime=0),
            hashlib.sha256(plain).hexdigest(),
            _TYPES[name.rpartition(".")[2]],
        )
        for name, plain in sdk.files().items()
    }


def address(name: str) -> str:
    """The path of a file that may be kept for ever. Raises KeyError, or NotBuilt."""
    return f"/sdk/{name}?v={_files()[name].digest[:16]}"


async def get_file(site: Site, request: Request) -> Answer:
    """GET /sdk/{file}: a browser file, or a language's texts."""
    try:
        found = _files().get(request.path_params["file"])
    except sdk.NotBuilt:
        raise Problem(404, "not_built", "the browser files are not part of this build") from None
    if found is None:
        raise Problem(404, "not_found", "there is no such browser file")
    asked = request.query_params.get("v", "")
    exact = len(asked) >= SHORTEST_HASH and found.digest.startswith(asked)
    packed = "gzip" in request.headers.get("accept-encoding", "")
    tag = f'"{found.digest[:32]}{"-gz" if packed else ""}"'
    headers = {**_OPEN, "Cache-Control": FOR_EVER if exact else ASK_AGAIN, "ETag": tag}
    if tag in [t.strip() for t in request.headers.get("if-none-match", "").split(",")]:
        return _reply(b"", 304, headers)
    headers["Content-Type"] = found.media_type
    if packed:
        headers["Content-Encoding"] = "gzip"
    return _reply(found.zipped if packed else found.plain, 200, headers)


def _reply(body: bytes, status: int, headers: dict[str, str]) -> Reply:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Reply(body, status, raw)
