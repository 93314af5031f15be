"""Refusals as answers: every error is a JSON object with ``code`` and ``message``.

Older tracking SDKs read ``payload['code']`` of whatever is not a 200, and take a missing key
for a network failure, so no error may leave without both.
"""

from __future__ import annotations

from typing import Any

import msgspec

from consentry.web.call import Reply

LONGEST_NUMBER = 18  # digits; any number of so many fits 64 bits


class Problem(Exception):
    """A request that is refused: it is the caller's move, unless the status is 503."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        *,
        retry_after_s: int | None = None,
        authenticate: bool = False,
        allow: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s
        self.authenticate = authenticate
        self.allow = allow

    def as_response(self) -> Reply:
        body = {"code": self.code, "message": self.message}
        if self.field is not None:
            body["field"] = self.field
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.authenticate:
            headers["WWW-Authenticate"] = 'Basic realm="consentry"'
        if self.allow is not None:
            headers["Allow"] = self.allow
        return json_response(body, self.status, headers)


def whole_number(text: str, field: str) -> int:
    """A cursor: a whole number from 0 that a database can hold. Raises Problem 400."""
    if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER:
        return int(text)
    raise Problem(400, "invalid_cursor", f"{field} is the value of next, or a number", field)


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """JSON that no cache keeps: every answer here is about somebody."""
    return json_reply(msgspec.json.encode(body), status, headers)


def json_reply(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """As ``json_response``, of what is written already."""
    if not headers:
        return Reply(body, status, _HEADERS)
    told = {"Content-Type": "application/json", "Cache-Control": "no-store", **headers}
    raw = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in told.items()]
    return Reply(body, status, raw)


_HEADERS = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
