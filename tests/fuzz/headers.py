"""The parsers of what stands in a head: keys, tokens, signals, addresses, queries."""

from __future__ import annotations

import asyncio
import atexit
import base64
import functools
import hmac
import ipaddress
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import ASGIApp

from consentry.config import Server, Source, load_config
from consentry.config.places import CDNS
from consentry.core.moment import SECOND, parse
from consentry.core.rule import UNKNOWN, How, Place
from consentry.secret import Secret
from consentry.web.app import COLD, create_app
from consentry.web.ingest import read_gpc
from consentry.web.problems import LONGEST_NUMBER, Problem, whole_number
from consentry.web.site import Site, read_token, request_key
from tests.fuzz.parser import Parser

SECRET = "a-secret-of-the-shop-0123456789-0123456789"
SHOP = Source("website", ("wk_website",), subject_token_secrets=(Secret(SECRET),))
NOW = parse("2026-11-22T12:00:00Z")
NOW_S = NOW // SECOND


def request(*headers: tuple[bytes, bytes], peer: str = "192.0.2.9") -> Request:
    """A request as the HTTP server hands it on."""
    return Request({"type": "http", "headers": list(headers), "client": (peer, 1)})


# -- keys -----------------------------------------------------------------------------------------
def check_key(data: bytes, read: Callable[[Request], str | None] = request_key) -> str:
    """The value of an Authorization header."""
    try:
        key = read(request((b"authorization", data)))
    except Problem as problem:
        assert problem.status == 401
        return problem.message
    if key is None:
        return "none"
    scheme, _, value = data.decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        assert key == value.strip()
        return "bearer"
    assert scheme.lower() == "basic", "a scheme that nobody offers was taken"
    assert base64.b64decode(value.strip()).decode().partition(":")[0] == key
    return "basic"


_schemes = st.sampled_from(
    (b"Basic ", b"basic ", b"Bearer ", b"BEARER\t", b"Digest ", b"", b"Basic")
)
_credentials = st.binary(max_size=12).map(base64.b64encode) | st.binary(max_size=12)
keys = st.builds(lambda scheme, value: scheme + value, _schemes, _credentials)


# -- tokens ---------------------------------------------------------------------------------------
def check_token(data: bytes, read: Callable[..., str | None] = read_token) -> str:
    """A subject token: whom it proves, if anybody."""
    token = data.decode("latin-1")
    user = read(token, Secret(SECRET), SHOP, NOW)
    assert user is None or isinstance(user, str)
    proven = _proven(token)
    if user is not None:
        assert user == proven, f"{user!r} was taken for proven"
    return "refused" if user is None else "proven"


def _proven(token: str) -> str | None:
    """By the book, and with nothing but the standard library."""
    try:
        head, claims, signature = token.split(".")
        told = json.loads(_decoded(head))
        found = json.loads(_decoded(claims))
        signed = hmac.digest(SECRET.encode(), f"{head}.{claims}".encode(), "sha256")
        genuine = hmac.compare_digest(signed, _decoded(signature))
    except (ValueError, TypeError, RecursionError):
        return None
    if not genuine or told.get("alg") != "HS256" or not isinstance(found, dict):
        return None
    if found.get("typ") != "subject" or found.get("aud") != "website":
        return None
    issued, expires, user = found.get("iat"), found.get("exp"), found.get("sub")
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        return None
    in_time = issued - 5 <= NOW_S <= expires and expires - issued <= 3600
    return user if in_time and isinstance(user, str) and user else None


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encoded(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def signed(head: Any, claims: Any, secret: str = SECRET, *, digest: str = "sha256") -> bytes:
    """A token with this head and these claims."""
    text = f"{_encoded(head)}.{_encoded(claims)}"
    return f"{text}.{_encoded(hmac.digest(secret.encode(), text.encode(), digest))}".encode()


_odd = st.sampled_from((None, True, -1, 1e400, float("nan"), "x", [], {}, NOW_S, 10**30))


@st.composite
def tokens(draw: st.DrawFn) -> bytes:
    """A good token with something changed."""
    claims: dict[str, Any] = {
        "typ": "subject", "aud": "website", "sub": "u", "iat": NOW_S - 5, "exp": NOW_S + 60,
    }  # fmt: skip
    for name in draw(st.lists(st.sampled_from(sorted(claims)), max_size=2)):
        near = st.integers(NOW_S - 4000, NOW_S + 4000)
        claims[name] = draw(near if name in ("iat", "exp") else _odd | st.text(max_size=3))
    algorithm = draw(st.sampled_from((*["HS256"] * 9, "HS512", "none", "None", "RS256", "")))
    head = {
        "alg": algorithm,
        "typ": "JWT",
        **draw(st.sampled_from(({}, {}, {}, {}, {"crit": ["x"]}, {"kid": "1"}, {"b64": False}))),
    }
    secret = draw(st.sampled_from((*[SECRET] * 9, "wk_website", "", SECRET[:-1])))
    token = signed(head, claims, secret, digest="sha512" if algorithm == "HS512" else "sha256")
    return draw(
        st.sampled_from((token, token, token[:-1], token + b"=", token.rpartition(b".")[0] + b"."))
    )


_strange = st.sampled_from((b"[", b"{", b"null", b"7", b"[" * 9000, b'{"alg":["HS256"]}', b"\xff"))
strange_tokens = st.lists(_strange.map(_encoded), max_size=6).map(lambda p: ".".join(p).encode())


# -- signals and addresses ------------------------------------------------------------------------
def check_gpc(data: bytes, read: Callable[[Request], bool | None] = read_gpc) -> str:
    """Each line a Sec-GPC header; a line that begins with ``+`` is another header's name."""
    lines = data.split(b"\n")
    values = [(b"sec-gpc", line) for line in lines if not line.startswith(b"+")]
    others = [(line[1:].lower(), b"x") for line in lines if line.startswith(b"+")]
    found = read(request(*others, *values))
    refused = any(value.decode("latin-1").strip() == "1" for _, value in values)
    assert (found is True) == refused, "a signal was overlooked, or made up"
    return str(found)


gpc_headers = st.lists(
    st.sampled_from((b"1", b" 1 ", b"0", b"", b"1, 1", b"true", b"+origin", b"+sec-fetch-mode")),
    max_size=4,
).map(b"\n".join)

TRUSTED = ("10.0.0.0/8", "fd00::/8")


@functools.cache
def proxied() -> Site:
    """A site that trusts two networks of proxies."""
    site = quiet()
    networks = tuple(ipaddress.ip_network(text) for text in TRUSTED)
    server = replace(site.config.server, trusted_proxies=networks)
    assert isinstance(server, Server)
    return replace(site, config=replace(site.config, server=server))


def check_address(data: bytes, read: Callable[[Request], str | None] | None = None) -> str:
    """First who connects, then a line for each X-Forwarded-For header."""
    peer, *lines = data.decode("latin-1").split("\n")
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    found = (read or proxied().client_ip)(request(*headers, peer=peer))
    said = [hop.strip() for line in lines for hop in line.split(",")]
    assert found == _nearest_stranger(peer, said), f"{found!r}"
    return "the peer" if found == peer else "a hop"


def _nearest_stranger(peer: str, said: list[str]) -> str:
    """From the near end: the first that is no trusted proxy, or who is the last that is."""
    nearest = peer
    for hop in reversed(said):
        if not _is_proxy(nearest) or not _is_ip(hop):
            break
        nearest = hop
    return nearest


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_proxy(text: str) -> bool:
    networks = [ipaddress.ip_network(network) for network in TRUSTED]
    return _is_ip(text) and any(ipaddress.ip_address(text) in network for network in networks)


_hops = st.sampled_from(
    ("10.0.0.1", "10.1.2.3", "fd00::1", "198.51.100.7", "2001:db8::1", "unknown", "", "1.2.3.4:80",
     "::ffff:10.0.0.1", "010.0.0.1", "fe80::1%eth0", "_hidden", "10.0.0.1 ")
)  # fmt: skip
_hop_lines = st.lists(_hops, max_size=4).map(",".join)
addresses = st.tuples(
    st.sampled_from(("10.0.0.1", "fd00::2")) | _hops, st.lists(_hop_lines, max_size=3)
).map(lambda found: "\n".join((found[0], *found[1])).encode())


# -- queries --------------------------------------------------------------------------------------
ADMIN = "an-admin-key-0123456789-0123456789-0123456"
CONFIG = """[workspace]
name = "Acme"
[store]
url = "memory://"
[[category]]
id = "analytics"
[[source]]
name = "website"
write_key = "wk_website"
[server]
admin_key = "env:ADMIN"
"""


@functools.cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@functools.cache
def quiet() -> Site:
    """A served workspace in memory, without a listener."""
    from consentry.compose import start

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "consentry.toml"
        path.write_text(CONFIG)
        config = load_config(str(path), {"ADMIN": ADMIN})
    running = loop().run_until_complete(start(config))
    atexit.register(lambda: loop().run_until_complete(running.stop()))
    return running.site


ENDLESS = "/v1/tail"
FOR_PAGES = "/v1/stream"
IN_WORDS = ("/preferences", "/unsubscribe", "/confirm")  # these speak to people, in HTML


def check_query(data: bytes) -> str:
    """A path and a query, asked by the operator."""
    path, _, query = data.partition(b"?")
    plain = path.decode("latin-1")
    if plain.startswith(ENDLESS):
        return "endless"
    if not query.isascii():
        return "no HTTP"  # the listener's parser refuses such a line
    scope = {
        "type": "http", "method": "GET", "path": plain, "query_string": query, "scheme": "http",
        "headers": [(b"authorization", f"Bearer {ADMIN}".encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    app = create_app(quiet())
    status, body = loop().run_until_complete(_asked(app, scope))
    if status == 403 and plain == FOR_PAGES:
        return "for pages"
    assert status in (200, 400, 404, 405), status
    if plain in IN_WORDS:
        return "a page"
    if status != 200:
        told = json.loads(body)
        assert told["code"], "a refusal has a code"
        assert told["message"], "and a message"
        return str(told["code"])
    return "answered"


async def _asked(app: ASGIApp, scope: dict[str, Any]) -> tuple[int, bytes]:
    sent: list[Any] = []

    parts = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if not parts:
            await asyncio.Event().wait()  # the client stays
        return parts.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:])


_paths = st.sampled_from(
    [p.replace("{write_key}", "wk_website").replace("{subject:path}", "user_id:u")
      .replace("{message_id:path}", "m").replace("{digest}", "0" * 64)
     for method, p, _ in COLD if method == "GET"]
)  # fmt: skip
_values = st.sampled_from(
    ("", "0", "-1", "1", "9" * 18, "9" * 19, "%C2%B2", "\u00b2", "x:1", ":1", "x:", "x:-1", "%00",
     "true", "waiting", "dead", "%ff", "1e3", "0x1", "+1", "2026-11-27", "day", "day,day", ",", "de", "de-", "1_000", "a:b:1")
)  # fmt: skip
_fields = st.sampled_from(
    ("cursor", "first", "state", "destination", "history", "since", "by", "language", "x")
)
queries = st.builds(
    lambda path, pairs: f"{path}?{'&'.join(f'{k}={v}' for k, v in pairs)}".encode(),
    _paths | st.builds(lambda p, more: p + more, _paths, st.text(max_size=4)),
    st.lists(st.tuples(_fields, _values), max_size=3),
)


def check_number(data: bytes, read: Callable[[str, str], int] = whole_number) -> str:
    """A cursor."""
    text = data.decode("utf-8", "replace")
    try:
        found = read(text, "cursor")
    except Problem as problem:
        assert (problem.status, problem.field) == (400, "cursor")
        return "refused"
    assert 0 <= found < 10**LONGEST_NUMBER
    assert text.isascii()
    assert str(found) == (text.lstrip("0") or "0")
    return "number"


numbers = st.text(alphabet="0123456789-+_ .\u00b2\u0663e", max_size=25).map(str.encode)

# -- places ---------------------------------------------------------------------------------------
COUNTRY_HEADERS = dict(CDNS.values())


def check_place(data: bytes, read: Callable[[Request], Place] | None = None) -> str:
    """First who connects, then a line ``name: value`` for each header."""
    peer, *lines = data.decode("latin-1").split("\n")
    pairs = [(name.strip().lower(), value) for name, _, value in (x.partition(":") for x in lines)]
    raw = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in pairs]
    found = (read or proxied().place_of)(request(*raw, peer=peer))
    said = [(name, value.strip().upper()) for name, value in pairs if name in COUNTRY_HEADERS]
    if not said or not _is_proxy(peer):
        assert found.how is How.NOBODY_LOOKED, "a stranger was believed"
        return "nobody"
    countries = {value for _, value in said}
    one_each = len({name for name, _ in said}) == len(said)
    if len(countries) != 1 or not one_each or not re.fullmatch("[A-Z]{2}", min(countries)):
        assert found == UNKNOWN, "a word that says nothing was believed"
        return "unknown"
    if found != UNKNOWN:  # some words of two letters are no country
        assert found.country == min(countries)
        regions = " ".join(v.upper() for n, v in pairs if n in COUNTRY_HEADERS.values())
        assert found.region is None or re.fullmatch("[A-Z0-9]{1,3}", found.region)
        assert found.region is None or found.region in regions
    return "unknown" if found == UNKNOWN else "a place" if found.region is None else "a region"


_words = st.sampled_from(
    (b"US", b"de", b" FR ", b"XX", b"T1", b"", b"?", b"US, DE", b"USA", b"\xc4\xd6")
)
_parts = st.sampled_from((b"CA", b"us-ca", b"California", b"", b"75", b"\xb2", b"C A"))
_place_lines = st.sampled_from(sorted(COUNTRY_HEADERS)).flatmap(
    lambda name: (
        st.tuples(st.just(name.encode() + b": "), _words).map(b"".join)
        | st.tuples(st.just(COUNTRY_HEADERS[name].encode() + b": "), _parts).map(b"".join)
    )
)
places = st.builds(
    lambda peer, lines: b"\n".join((peer, *lines)),
    st.sampled_from((b"10.0.0.1", b"fd00::7", b"192.0.2.9", b"")),
    st.lists(_place_lines, max_size=4),
)


PARSERS = (
    Parser("key", check_key, keys),
    Parser("token", check_token, tokens() | strange_tokens | st.binary(max_size=30)),
    Parser("gpc", check_gpc, gpc_headers),
    Parser("address", check_address, addresses),
    Parser("place", check_place, places),
    Parser("query", check_query, queries),
    Parser("number", check_number, numbers),
)
