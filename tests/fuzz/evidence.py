"""The parsers of what is kept of a visit: a page, a network, a browser, and a language to show."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from hypothesis import strategies as st

from consentry.flow.notices import nothing_shown
from consentry.flow.records import page_alone
from consentry.web.browsers import family_of
from consentry.web.evidence import network_of
from tests.fuzz.parser import Parser

FAMILIES = {
    "bot", "Samsung Internet", "Opera", "Edge", "Vivaldi", "Yandex", "UC Browser", "DuckDuckGo",
    "Firefox", "Chrome", "Safari", "Internet Explorer", "other",
}  # fmt: skip
_BEFORE_HOST = re.compile(r"^(?:[a-z][a-z0-9+.-]*:[/\\]*|[/\\]{2,})[^/\\]*@", re.IGNORECASE)


def check_page(data: bytes, cut: Callable[[str], str] = page_alone) -> str:
    """A page's address: no query, no fragment, nobody's name and password before its host."""
    said = data.decode("utf-8", "replace")
    found = cut(said)
    assert not set("?#") & set(found), found
    assert not _BEFORE_HOST.match(found), found
    assert len(found) <= len(said)
    assert cut(found) == found, "cut once is cut"
    return "as it was" if found == said else "cut"


_pieces = st.sampled_from(
    ("https://", "http:\\\\", "//", "https:", "mailto:", "ann:pw@", "ann@", "shop.example", "/cart",
     "/@ann", "?email=a@b.c", "#pay", "\\", "@", ":", "é", "")
)  # fmt: skip
pages = st.lists(_pieces, max_size=6).map(lambda pieces: "".join(pieces).encode())


def check_network(data: bytes, read: Callable[[str | None], str | None] = network_of) -> str:
    """An address, as wide a network as names nobody."""
    said = data.decode("latin-1")
    found = read(said)
    try:
        ip = ipaddress.ip_address(said.partition("%")[0])
    except ValueError:
        assert found is None, "what is no address is in no network"
        return "none"
    assert found is not None
    network = ipaddress.ip_network(found)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    assert network.prefixlen == (24 if network.version == 4 else 48)
    assert (mapped or ip) in network
    return f"IPv{network.version}"


networks = (
    st.ip_addresses().map(str)
    | st.ip_addresses(v=4).map("::ffff:{}".format)
    | st.ip_addresses(v=6).map("{}%eth0".format)
    | st.text(alphabet="0123456789.:abf%/ ", max_size=20)
).map(str.encode)


def check_browser(data: bytes, read: Callable[[str], str | None] = family_of) -> str:
    """A user agent: of all that it says, one of a dozen words is kept."""
    found = read(data.decode("latin-1"))
    assert found is None or found in FAMILIES, found
    assert (found is None) == (not data.decode("latin-1")[:1000].strip())
    return found or "none"


_words = st.sampled_from(
    ("Mozilla/5.0", "(X11; Linux x86_64)", "Chrome/142.0", "Safari/605.1", "Firefox/145.0",
     "Edg/142.0", "OPR/120", "Googlebot/2.1", "MSIE 9.0", "é", " ", "curl/8")
)  # fmt: skip
browsers = st.lists(_words, max_size=6).map(lambda words: " ".join(words).encode("latin-1"))


def _language(header: str) -> str:
    return nothing_shown().language(None, header)


def check_language(data: bytes, read: Callable[[str], str] = _language) -> str:
    """Accept-Language: whatever it asks for, a language that is there is shown."""
    found = read(data.decode("latin-1"))
    assert found in nothing_shown().languages, found
    return "the usual one" if found == "en" else "another"


_tags = st.sampled_from(("de", "de-AT", "FR", "tlh", "*", "zh-Hant-TW", "ar", "en", "x-a", "-", ""))
_weights = st.sampled_from(("", ";q=0", ";q=1", ";q=0.5", ";q=nan", ";q=9", ";q", ";;", "; q=0.1"))
accepted = st.lists(st.builds(str.__add__, _tags, _weights), max_size=6).map(
    lambda parts: ",".join(parts).encode()
)

PARSERS = (
    Parser("page", check_page, pages | st.text(max_size=30).map(str.encode)),
    Parser("network", check_network, networks),
    Parser("browser", check_browser, browsers | st.binary(max_size=30)),
    Parser("language", check_language, accepted | st.binary(max_size=30)),
)
