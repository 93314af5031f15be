"""What a trusted proxy writes of a visitor's place, spelled as networks spell it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from consentry.config import Server
from consentry.config.places import CDNS
from consentry.core.rule import NOBODY_LOOKED, UNKNOWN, How, Place
from consentry.web.place import Places, place_in
from tests.web.mmdb_file import mmdb

US_CA = Place("US", "CA", How.HEADER)
DE = Place("DE", None, How.HEADER)
BEHIND = Server(trusted_proxies=(ip_network("10.0.0.0/8"),))

# headers as they come: the place
CASES: dict[str, tuple[list[tuple[str, str]], Place | None]] = {
    "cloudflare": ([("CF-IPCountry", "US"), ("CF-Region-Code", "CA")], US_CA),
    "cloudfront": (
        [("CloudFront-Viewer-Country", "US"), ("CloudFront-Viewer-Country-Region", "CA")],
        US_CA,
    ),
    "vercel": ([("X-Vercel-IP-Country", "US"), ("X-Vercel-IP-Country-Region", "CA")], US_CA),
    "fastly": ([("Fastly-Geo-Country", "US"), ("Fastly-Geo-Region", "CA")], US_CA),
    "two networks that agree": ([("CF-IPCountry", "DE"), ("X-Vercel-IP-Country", "DE")], DE),
    "two networks that do not": ([("CF-IPCountry", "DE"), ("X-Vercel-IP-Country", "US")], UNKNOWN),
    "two regions": (
        [
            *(("CF-IPCountry", "US"), ("CF-Region-Code", "CA")),
            *(("X-Vercel-IP-Country", "US"), ("X-Vercel-IP-Country-Region", "PA")),
        ],
        Place("US", None, How.HEADER),
    ),
    "one that knows and one that does not": (
        [("CF-IPCountry", "DE"), ("X-Vercel-IP-Country", "XX")],
        UNKNOWN,
    ),
    "small letters": ([("CF-IPCountry", "us"), ("CF-Region-Code", "ca")], US_CA),
    "the region with its country": ([("CF-IPCountry", "US"), ("CF-Region-Code", "US-CA")], US_CA),
    "no region": ([("CF-IPCountry", "US")], Place("US", None, How.HEADER)),
    "a region's name": (
        [("CF-IPCountry", "US"), ("CF-Region-Code", "California")],
        Place("US", None, How.HEADER),
    ),
    "a region without a country": ([("CF-Region-Code", "CA")], None),
    "unknown at Cloudflare": ([("CF-IPCountry", "XX")], UNKNOWN),
    "Tor": ([("CF-IPCountry", "T1")], UNKNOWN),
    "empty": ([("CF-IPCountry", "")], UNKNOWN),
    "absent at Fastly": ([("Fastly-Geo-Country", "?")], UNKNOWN),
    "a continent": ([("CF-IPCountry", "EU")], UNKNOWN),
    "a name": ([("CF-IPCountry", "Germany")], UNKNOWN),
    "twice": ([("CF-IPCountry", "US"), ("CF-IPCountry", "DE")], UNKNOWN),
    "twice in one line": ([("CF-IPCountry", "US, DE")], UNKNOWN),
    "no ASCII": ([("CF-IPCountry", "\u00dc\u00df")], UNKNOWN),
    "nothing": ([("Accept", "*/*")], None),
}


@pytest.mark.parametrize(("sent", "place"), CASES.values(), ids=CASES.keys())
def test_a_place_is_read(sent: list[tuple[str, str]], place: Place | None) -> None:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in sent]
    assert place_in(Headers(raw=raw), CDNS.values()) == place


def test_a_network_that_was_stated_is_the_only_one_that_is_read() -> None:
    headers = Headers({"cf-ipcountry": "US", "x-country": "DE", "x-region": "BE"})
    assert place_in(headers, [("x-country", "x-region")]) == Place("DE", "BE", How.HEADER)
    assert place_in(headers, [("x-country", "")]) == DE
    assert place_in(headers, [("x-other", "")]) is None


def found(
    server: Server, sent: dict[str, str] | None, address: str | None = "203.0.113.9"
) -> Place:
    """The place of a visitor; ``sent`` is None where no trusted proxy speaks."""
    places = Places()
    places.take(server)
    assert places.looks is bool(server.trusted_proxies or server.mmdb)
    return places.find(None if sent is None else Headers(sent), lambda: address)


def test_where_nothing_was_promised_and_nothing_is_said_nobody_looked() -> None:
    assert found(BEHIND, {}) == NOBODY_LOOKED
    assert found(BEHIND, None) == NOBODY_LOOKED


@pytest.mark.parametrize("sent", [{}, None, {"x-vercel-ip-country": "US"}])
def test_a_header_that_was_promised_and_is_not_there_is_an_unknown_place(
    sent: dict[str, str] | None,
) -> None:
    assert found(replace(BEHIND, place_from=CDNS["cloudflare"]), sent) == UNKNOWN


def test_the_address_is_asked_where_no_header_knows(tmp_path: Path) -> None:
    file = tmp_path / "places.mmdb"
    fresno = {"country": {"iso_code": "US"}, "subdivisions": [{"iso_code": "CA"}]}
    file.write_bytes(mmdb({"203.0.113.0/24": fresno}))
    both = replace(BEHIND, mmdb=str(file))
    by_address = Place("US", "CA", How.ADDRESS)
    assert found(both, {}) == by_address
    assert found(both, None) == by_address
    assert found(both, {}, None) == UNKNOWN
    assert found(both, {}, "192.0.2.1") == UNKNOWN
    assert found(replace(both, place_from=CDNS["cloudflare"]), None) == by_address


# What Cloudflare's headers say beside a file by which the address is in Fresno, California.
BESIDE: dict[str, tuple[dict[str, str], Place]] = {
    "the part of the same country": ({"cf-ipcountry": "US"}, Place("US", "CA", How.ADDRESS)),
    "a part that it names": (
        {"cf-ipcountry": "US", "cf-region-code": "PA"},
        Place("US", "PA", How.HEADER),
    ),
    "another country": ({"cf-ipcountry": "DE"}, UNKNOWN),
    "another country with a part": ({"cf-ipcountry": "DE", "cf-region-code": "BE"}, UNKNOWN),
    "the exit of a network": ({"cf-ipcountry": "T1"}, UNKNOWN),
}


@pytest.mark.parametrize(("sent", "place"), BESIDE.values(), ids=BESIDE.keys())
def test_header_and_file_have_to_agree(tmp_path: Path, sent: dict[str, str], place: Place) -> None:
    file = tmp_path / "places.mmdb"
    fresno = {"country": {"iso_code": "US"}, "subdivisions": [{"iso_code": "CA"}]}
    file.write_bytes(mmdb({"203.0.113.0/24": fresno}))
    both = replace(BEHIND, mmdb=str(file))

    assert found(replace(both, place_from=CDNS["cloudflare"]), sent) == place
    # A proxy of one's own hands on whatever the visitor says of itself.
    assert found(both, sent) == Place("US", "CA", How.ADDRESS)


def test_a_file_that_does_not_know_leaves_the_header(tmp_path: Path) -> None:
    file = tmp_path / "places.mmdb"
    file.write_bytes(mmdb({"203.0.113.0/24": {"country": {"iso_code": "US"}}}))
    both = replace(BEHIND, mmdb=str(file), place_from=CDNS["cloudflare"])

    assert found(both, {"cf-ipcountry": "DE"}, "192.0.2.1") == DE


def test_a_file_that_stays_is_not_read_again(tmp_path: Path) -> None:
    places = Places()
    places.take(Server(mmdb=str(tmp_path / "a.mmdb")))
    first = places.file
    places.take(Server(mmdb=str(tmp_path / "a.mmdb")))
    assert places.file is first
    assert places.locate is not None
    assert places.locate("203.0.113.9") == UNKNOWN
    places.take(Server(mmdb=str(tmp_path / "b.mmdb")))
    assert places.file is not first
    places.take(Server())
    assert (places.file, places.locate, places.looks) == (None, None, False)
