"""Policies as the model reads them, and the same as the product's configuration.

``plain(...)`` is the model's; ``config_of(plain)`` says the same in the product's values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from consentry.config import Config, DestinationConfig, Enforcement
from consentry.core.policy import STRICT, Category, Mapping, Match, Policy, Regime, Topic

Plain = dict[str, Any]
WORKSPACE = "shop"
CATEGORIES = ("analytics", "ads", "personal")
CHANNELS = ("email", "sms")
MESSAGES = ("news@email", "news@sms", "offers@sms", "offers@email", "receipts@email")
"""What people can be written about by which channel; not every policy has all of them."""
REACHES: dict[str, tuple[str, ...]] = {
    "alpha": CHANNELS,
    "beta": ("email",),
    "gamma": ("sms",),
    "delta": (),
}
"""The channels by which each destination reaches people."""
ADS_LAST_US = 20_000_000
GIVE_UP_HOURS = 0.02  # 72 seconds


class Options(msgspec.Struct, frozen=True):
    """Of a hostile destination: which one it is."""

    name: str


def base() -> Plain:
    """Four destinations that need one category, two, one of two, and none but an excuse; three
    carry topics, of which one needs no consent."""
    return {
        "categories": {
            "analytics": _category(),
            "ads": _category(max_age=ADS_LAST_US),
            "personal": _category(regime="opt_out"),
            "core": _category(essential=True),
        },
        "destinations": {
            "alpha": _destination("analytics", **_carries("alpha", "news", "offers", "receipts")),
            "beta": _destination("analytics", "ads", **_carries("beta", "news")),
            "gamma": _destination(
                *("ads", "core", "personal"),
                **{"match": "any", "share": True, **_carries("gamma", "offers")},
            ),
            "delta": _destination(exempt="our own log"),
        },
        "topics": {
            "news": {"channels": CHANNELS, "why": None},
            "offers": {"channels": ("sms",), "why": None},
            "receipts": {"channels": ("email",), "why": "We owe it by contract"},
        },
    }


def key_of(what: str) -> str:
    """As the product writes it down: ``news@sms`` has a key of its own, a category has its id."""
    topic, is_message, channel = what.partition("@")
    return f"topic:{topic}:{channel}" if is_message else what


def _category(**said: Any) -> Plain:
    given = {"essential": False, "enabled": True, "regime": "opt_in", "since": None}
    return {**given, "max_age": None, "means": None, **said}


def _destination(*categories: str, **said: Any) -> Plain:
    given = {"categories": categories, "enabled": True, "match": "all", "exempt": None}
    return {**given, "share": False, "topics": (), "reaches": (), **said}


def _carries(name: str, *topics: str) -> Plain:
    return {"topics": topics, "reaches": REACHES[name]}


def _set(part: str, name: str, **said: Any) -> Callable[[Plain, int], None]:
    return lambda plain, now: plain[part].get(name, {}).update(said)


def _since_now(plain: Plain, now: int) -> None:
    plain["categories"]["analytics"]["since"] = now


def _reorder(plain: Plain, now: int) -> None:
    plain["destinations"] = dict(reversed(plain["destinations"].items()))


def _remove(plain: Plain, now: int) -> None:
    plain["destinations"].pop("alpha", None)


CHANGES: dict[str, Callable[[Plain, int], None]] = {
    "nothing": lambda plain, now: None,
    "alpha is disabled": _set("destinations", "alpha", enabled=False),
    "alpha is removed": _remove,
    "beta needs less": _set("destinations", "beta", categories=("ads",)),
    "gamma needs all and is told nothing": _set("destinations", "gamma", match="all", share=False),
    "delta is unmapped": _set("destinations", "delta", exempt=None),
    "delta needs personal": _set("destinations", "delta", categories=("personal",)),
    "ads is turned off": _set("categories", "ads", enabled=False),
    "ads lasts three seconds": _set("categories", "ads", max_age=3_000_000),
    "analytics is asked anew": _since_now,
    "personal is opt-in": _set("categories", "personal", regime="opt_in"),
    "another order": _reorder,
    "offers are gone": lambda plain, now: plain["topics"].pop("offers", None),
    "offers go by mail": _set("topics", "offers", channels=("sms", "email")),
    "receipts need consent": _set("topics", "receipts", why=None),
    "offers need none": _set("topics", "offers", why="The law owes it"),
    "alpha carries news alone": _set("destinations", "alpha", topics=("news",)),
}


def changed(names: tuple[str, ...], now: int) -> Plain:
    """The base with these changes, in this order. ``now`` is a moment."""
    plain = base()
    for name in names:
        CHANGES[name](plain, now)
    return plain


def covers(plain: Plain) -> dict[str, set[str]]:
    """Who is behind each category that people are asked about."""
    return {
        c: {n for n, d in plain["destinations"].items() if d["enabled"] and c in d["categories"]}
        for c, spec in plain["categories"].items()
        if spec["enabled"] and not spec["essential"]
    }


def with_meaning(plain: Plain, means: dict[str, int]) -> Plain:
    """The same, with when each category took the meaning that it has."""
    categories = {c: {**s, "means": means.get(c)} for c, s in plain["categories"].items()}
    return {**plain, "categories": categories}


_POLICIES: dict[str, Policy] = {}


def policy_of(plain: Plain) -> Policy:
    """The product's policy that says the same; one object each, for its hash is costly."""
    key = repr(plain)
    if key not in _POLICIES:
        _POLICIES[key] = _policy(plain)
    return _POLICIES[key]


def _policy(plain: Plain) -> Policy:
    return Policy(
        WORKSPACE,
        STRICT,
        tuple(
            Category(
                name,
                essential=c["essential"],
                enabled=c["enabled"],
                regime=Regime(c["regime"]),
                requires_consent_since=c["since"],
                max_age_us=c["max_age"],
            )
            for name, c in plain["categories"].items()
        ),
        tuple(
            Mapping(
                name,
                name,
                categories=d["categories"],
                match=Match(d["match"]),
                enabled=d["enabled"],
                exempt=d["exempt"],
                share_consent=d["share"],
            )
            for name, d in plain["destinations"].items()
        ),
        tuple(
            Topic(name, name, t["channels"], transactional=t["why"])
            for name, t in plain["topics"].items()
        ),
    )


_PACE = {"alpha": (2, None), "beta": (3, None), "gamma": (1, None), "delta": (2, 20.0)}


def config_of(plain: Plain) -> Config:
    """The product's configuration that says the same."""
    destinations = tuple(
        DestinationConfig(name, name, Options(name), GIVE_UP_HOURS, *_PACE[name], d["topics"])
        for name, d in plain["destinations"].items()
    )
    policy = policy_of(plain)
    return Config(WORKSPACE, Enforcement.STRICT, False, policy, destinations=destinations)
