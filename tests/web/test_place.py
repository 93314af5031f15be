"""What a trusted proxy writes of a visitor's place, spelled as networks spell it."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from consentry.config.places import CDNS
from consentry.core.rule import UNKNOWN, How, Place
from consentry.web.place import place_in

US_CA = Place("US", "CA", How.HEADER)
DE = Place("DE", None, How.HEADER)

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
