"""Plain forms as browsers and mail providers send them: form-urlencoded or multipart."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from python_multipart.exceptions import FormParserError
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request

from consentry.web.arriving import read_body
from consentry.web.problems import Problem
from consentry.web.site import Site

LONGEST_FORM = 64 * 1024
MOST_FIELDS = 1500
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


class Fields:
    """What a form said, in the order it was said. Files are no fields."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def get(self, name: str) -> str:
        """The first value; empty when there is none."""
        return next((value for key, value in self._pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]


def is_form(request: Request) -> bool:
    """Whether a browser's form, and not a program, sent this."""
    return _media_type(request) in (URLENCODED, MULTIPART)


async def read_fields(site: Site, request: Request) -> Fields:
    """Raises Problem 400, 408, 413."""
    body = await read_body(request, LONGEST_FORM, site.choice_room)
    return await parse_fields(request, body)


async def parse_fields(request: Request, body: bytes) -> Fields:
    """As ``read_fields``, of a body that is there. Without a media type it is urlencoded."""
    kind = _media_type(request)
    if kind not in (URLENCODED, MULTIPART, ""):
        raise Problem(400, "no_form", f"send a form, as {URLENCODED} or {MULTIPART}")

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""  # how Starlette's request says that it has ended

    try:
        if kind == MULTIPART:
            data = await MultiPartParser(
                request.headers, stream(), max_files=0, max_fields=MOST_FIELDS
            ).parse()
        else:
            data = await FormParser(request.headers, stream(), max_fields=MOST_FIELDS).parse()
    except (MultiPartException, FormParserError, KeyError, LookupError, UnicodeError):
        raise Problem(400, "unreadable_form", "the form cannot be read") from None
    pairs = [(name, value) for name, value in data.multi_items() if isinstance(value, str)]
    return Fields(pairs[:MOST_FIELDS])


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
