"""A small configuration that is right, and the kinds it is read with."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from consentry.config import Config, ConfigError, Kind, Problem, read_config
from consentry.destinations import ga4, rudderstack, segment, webhook
from consentry.destinations.instruction import Orders
from consentry.destinations.spec import Spec


@dataclass(frozen=True)
class Known:
    spec: Spec
    options: type[msgspec.Struct]
    orders: Orders | None = None


KINDS: dict[str, Kind] = {
    "webhook": Known(webhook.SPEC, webhook.Options, webhook.ORDERS),
    "segment": Known(segment.SPEC, segment.Options),
    "rudderstack": Known(rudderstack.SPEC, rudderstack.Options),
    "ga4": Known(ga4.SPEC, ga4.Options),
}
LONG = "0123456789abcdef0123456789abcdef"
ENVIRON = {
    "ADMIN": f"admin-{LONG}",
    "BACKEND": f"backend-{LONG}",
    "TOKEN": f"token-{LONG}",
    "HOOK": f"hook-{LONG}",
    "OTHER": f"other-{LONG}",
    "BLANK": " ",
    "BYTES": "no utf-8 \udcff",
}
GOOD = """\
[workspace]
name = "Acme"

[[category]]
id = "analytics"
gpc = false

[[category]]
id = "advertising"
gpc = true

[[topic]]
id = "news"
channels = ["email", "sms"]

[[source]]
name = "website"
write_key = "wk_website"
origins = ["https://shop.example"]
subject_token_secret = "env:TOKEN"

[[source]]
name = "backend"
secret_key = "env:BACKEND"

[[destination]]
name = "warehouse"
kind = "webhook"
categories = ["analytics"]
url = "https://hooks.example/consentry"
secret = "env:HOOK"

[[destination]]
name = "ga"
kind = "ga4"
categories = ["advertising", "analytics"]
measurement_id = "G-1"
api_secret = "env:HOOK"

[[tag]]
name = "pixel"
categories = ["advertising"]
hosts = ["*.ads.example"]

[retention]
events_days = 7

[store]
url = "sqlite:///consentry.db"

[server]
admin_key = "env:ADMIN"
trusted_proxies = ["10.0.0.0/8"]
place_from = "cloudflare"
"""


def read(text: str) -> Config:
    """Read ``text`` with the environment and kinds of this module."""
    return read_config(text, ENVIRON, kinds=KINDS)


def errors(text: str) -> tuple[Problem, ...]:
    """The errors of ``text``; none if it is right."""
    try:
        read(text)
    except ConfigError as error:
        return error.problems
    return ()


def changed(old: str, new: str) -> str:
    """GOOD with one passage replaced; the passage must be there once."""
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_the_sample_is_right_and_has_nothing_to_warn_of() -> None:
    assert errors(GOOD) == ()
    assert read(GOOD).warnings == ()
