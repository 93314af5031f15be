"""Pages as HTML: the language, the words, the template, and headers that let nothing else in."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from starlette.requests import Request

from consentry.core.record import NodeKind
from consentry.flow.office import fill
from consentry.notice import languages, negotiate, ranges, texts_of
from consentry.ports import StoreError
from consentry.web.call import Reply
from consentry.web.problems import Problem
from consentry.web.site import Site

if TYPE_CHECKING:
    from jinja2 import Environment

log = structlog.get_logger()
Handler = Callable[[Site, Request], Awaitable[Reply]]
_POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Vary": "Accept-Language, Cookie",
}


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of one page in one language, by key."""

    language: str
    direction: str
    texts: Mapping[str, str]

    def __getitem__(self, key: str) -> str:
        return self.texts[key]

    def fill(self, key: str, **values: object) -> str:
        return fill(self.texts[key], **values)


def words_for(site: Site, request: Request, wanted: str | None = None) -> Words:
    """In the language that a form repeats or a mail was written in, else the browser's."""
    notice = site.config.notice
    asked = [wanted] if wanted else []
    asked += [name] if (name := request.query_params.get("language")) else []
    asked += ranges(request.headers.get("accept-language", ""))
    language = negotiate(asked, languages(notice.texts), notice.language)
    texts = texts_of(notice, language)
    return Words(language, "rtl" if texts.get("direction") == "rtl" else "ltr", texts)


def page(
    site: Site,
    words: Words,
    template: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Reply:
    """A page. Every value is escaped as it is put in."""
    text = (
        _environment()
        .get_template(f"{template}.html")
        .render(
            words=words,
            site=site.config.workspace,
            root=root_of(site),
            privacy_url=site.config.notice.privacy_url,
            minutes=site.config.pages.edit_minutes,
            mails=values.pop("mails", False) and site.office.reaches(NodeKind.EMAIL),
            **values,
        )
    )
    told = {**_HEADERS, "Content-Language": words.language, **(headers or {})}
    raw = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in told.items()]
    return Reply(text.encode("utf-8", "replace"), status, raw)


def message(
    site: Site,
    words: Words,
    name: str,
    status: int,
    *,
    tone: str = "problem",
    text: str = "text",
    mails: bool = False,
    manage: bool = False,
    more: str = "",
) -> Reply:
    """A page that says one thing, by the keys ``page.NAME.title`` and ``page.NAME.text``."""
    return page(
        site,
        words,
        "message",
        status,
        title=words[f"page.{name}.title"],
        text=words.fill(f"page.{name}.{text}", minutes=site.config.pages.edit_minutes),
        tone=tone,
        mails=mails,
        manage=manage,
        more=more,
    )


def as_page(handler: Handler) -> Handler:
    """A page's handler whose refusals are pages too: a person reads them."""

    @wraps(handler)
    async def guarded(site: Site, request: Request) -> Reply:
        try:
            return await handler(site, request)
        except Problem as problem:
            told, status, wait_s = problem, problem.status, problem.retry_after_s
        except StoreError as error:
            log.error("store_failed", error=type(error).__name__)
            told, status, wait_s = None, 503, 2
        words = words_for(site, request)
        headers = {} if wait_s is None else {"Retry-After": str(wait_s)}
        return page(
            site,
            words,
            "message",
            status,
            headers,
            title=words["page.error.title"],
            text=words["page.error.text"],
            tone="problem",
            manage=False,
            more=words["form.invalid"] if told and told.code == "invalid_email" else "",
        )

    return guarded


def root_of(site: Site) -> str:
    """The path that a proxy serves us below, without a final slash."""
    base = site.config.server.base_url
    if base is None:
        return ""
    _, _, rest = base.partition("://")
    _, slash, path = rest.partition("/")
    return slash + path


def shown(
    site: Site, words: Words, page: str, prefixes: Iterable[str], items: list[Any], **more: Any
) -> tuple[str, str]:
    """What stood on a page, as (SHA-256 in hex, canonical JSON): the evidence of what was asked.

    A form carries the hash. So it is known whether what it answers is what would be shown now.
    """
    wanted = tuple(prefixes)
    canonical = msgspec.json.encode(
        {
            "notice": site.config.notice.id,
            "controller": site.config.workspace,
            "privacyUrl": site.config.notice.privacy_url,
            "page": page,
            "language": words.language,
            "texts": {k: t for k, t in words.texts.items() if k.startswith(wanted)},
            "items": items,
            **more,
        },
        order="sorted",
    )
    return hashlib.sha256(canonical).hexdigest(), canonical.decode()


def notice_version(site: Site) -> str:
    """The edition of the notice that holds now."""
    return site.world.notices.edition(site.world.clock.now()).version


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # with the first page

    return Environment(
        loader=PackageLoader("consentry.web.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> bytes:
    return (files("consentry.web.pages") / "pages.css").read_bytes()


async def get_style(site: Site, request: Request) -> Reply:
    """GET /pages.css: how the pages look."""
    headers = [
        (b"content-type", b"text/css; charset=utf-8"),
        (b"cache-control", b"public, max-age=300"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return Reply(_style(), 200, headers)
