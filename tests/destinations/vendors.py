"""Every vendor beside what its stand-in's modes must come to, for events and for each verb.

A mode that is not named has the usual grade. `None` means that the vendor is not asked at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.destinations import (
    amplitude,
    datamanager,
    ga4,
    meta,
    mixpanel,
    posthog,
    rudderstack,
    segment,
    tiktok,
    twilio,
)
from consentry.destinations.instruction import Found
from consentry.destinations.message import Message
from consentry.secret import Secret
from tests.destinations.messages import track
from tests.destinations.service_account import service_account

KEY = (Secret("k3y"),)
ACCOUNT = (Secret(service_account()),)
TOKEN = (Secret("t0ken"),)
SENT = {"ok", "noop", "partial", "garbage"}
MODES = ("ok", "noop", "partial", "429", "401", "5xx", "slow", "reset", "garbage", "truncate")
USUAL: Mapping[str, Grade] = {
    "ok": Grade.ACCEPTED,
    "noop": Grade.NOOP,
    "partial": Grade.ACCEPTED,
    "429": Grade.RATE_LIMITED,
    "401": Grade.AUTH_BLOCKED,
    "5xx": Grade.FAILED_RETRY,
    "slow": Grade.FAILED_RETRY,  # over the bound of the exchange
    "reset": Grade.FAILED_RETRY,
    "garbage": Grade.FAILED_RETRY,
    "truncate": Grade.FAILED_RETRY,
}


@dataclass(frozen=True)
class Told:
    """What one verb comes to in each mode, and what reading back finds then."""

    grades: Mapping[str, Grade] = field(default_factory=dict)
    found: Mapping[str, Found] = field(default_factory=dict)
    shows: Callable[[dict[str, Any]], bool] | None = None  # of the person's state, when ok
    order: Mapping[str, Any] = field(default_factory=dict)  # what is else of the instruction
    after: Verb | None = None  # what was ordered before, so that this one looks it up first


@dataclass(frozen=True)
class Vendor:
    """``grades`` of events by mode; ``orders`` by verb. ``name`` is the stand-in's."""

    module: ModuleType
    options: Callable[[str], Any]
    grades: Mapping[str, Grade] = field(default_factory=dict)
    orders: Mapping[Verb, Told] = field(default_factory=dict)
    events: bool = True

    @property
    def name(self) -> str:
        kind: str = self.module.SPEC.kind
        return kind


def erased(person: dict[str, Any]) -> bool:
    return bool(person["erasedAt"]) and not person["events"]


def suppressed(person: dict[str, Any]) -> bool:
    return bool(person["suppressed"])


EVENTS_SAY_NOTHING = {"noop": Grade.ACCEPTED, "garbage": Grade.ACCEPTED}
ROWS = {"noop": Grade.FAILED_FINAL, "partial": Grade.FAILED_RETRY}  # in a 201
REGULATED = {"noop": Grade.ACCEPTED}
STREAMS = {"ok": Found.EQUAL, "noop": Found.UNKNOWN, "partial": Found.DIFFERENT}

VENDORS = (
    Vendor(
        segment,
        lambda base: segment.Options(
            write_key=KEY, base_url=f"{base}/segment", api_token=TOKEN, api_url=f"{base}/segment"
        ),
        EVENTS_SAY_NOTHING,
        {
            Verb.SUPPRESS: Told(REGULATED, STREAMS, suppressed),
            Verb.GRANT: Told(REGULATED, STREAMS, lambda person: not person["suppressed"]),
            Verb.ERASE: Told(REGULATED, STREAMS, erased),
        },
    ),
    Vendor(
        rudderstack,
        lambda base: rudderstack.Options(
            write_key=KEY,
            base_url=f"{base}/rudderstack",
            access_token=TOKEN,
            destination_ids=("d1",),
            api_url=f"{base}/rudderstack",
        ),
        EVENTS_SAY_NOTHING,
        {
            # A regulation is made all the same; that it is not in force shows when it is read.
            Verb.SUPPRESS: Told(
                {"noop": Grade.ACCEPTED}, {"ok": Found.EQUAL, "noop": Found.DIFFERENT}, suppressed
            ),
            Verb.ERASE: Told({"noop": Grade.ACCEPTED}, {"ok": Found.UNKNOWN}, erased),
            Verb.GRANT: Told(
                {"noop": Grade.ACCEPTED},
                {"ok": Found.EQUAL, "noop": Found.DIFFERENT},
                lambda person: not person["suppressed"],
                after=Verb.SUPPRESS,
            ),
        },
    ),
    Vendor(
        amplitude,
        lambda base: amplitude.Options(
            api_key=KEY,
            secret_key=TOKEN,
            base_url=f"{base}/amplitude",
            privacy_url=f"{base}/amplitude",
        ),
        {"partial": Grade.FAILED_FINAL},  # the only event is the one that is refused
        {Verb.ERASE: Told({"partial": Grade.NOOP}, {"ok": Found.EQUAL}, erased)},
    ),
    Vendor(
        mixpanel,
        lambda base: mixpanel.Options(
            token=KEY, gdpr_token=TOKEN, base_url=f"{base}/mixpanel", app_url=f"{base}/mixpanel"
        ),
        {"partial": Grade.FAILED_FINAL},
        {
            Verb.SUPPRESS: Told(
                dict.fromkeys(("ok", "noop", "partial"), Grade.SENT_UNVERIFIABLE),
                {"ok": Found.UNKNOWN},
                lambda person: suppressed(person) and not person["traits"],
            ),
            Verb.ERASE: Told(
                {"noop": Grade.ACCEPTED},
                {"ok": Found.EQUAL, "noop": Found.DIFFERENT, "partial": Found.DIFFERENT},
                erased,
            ),
        },
    ),
    Vendor(
        meta,
        lambda base: meta.Options(
            dataset_id="1", access_token=TOKEN, base_url=f"{base}/meta", ad_account="act_2"
        ),
        {"partial": Grade.NOOP},  # the one event of the request is the one that is missing
        {Verb.SUPPRESS: Told({"partial": Grade.NOOP}, {}, suppressed)},
    ),
    Vendor(
        tiktok,
        lambda base: tiktok.Options(
            event_source_id="C1",
            access_token=TOKEN,
            base_url=f"{base}/tiktok",
            advertiser_ids=("1",),
            audience_ids=("2",),
        ),
        {"partial": Grade.NOOP},
        {Verb.SUPPRESS: Told({"partial": Grade.NOOP}, {}, suppressed)},
    ),
    Vendor(
        ga4,
        lambda base: ga4.Options(
            api_secret=KEY,
            measurement_id="G-1",
            base_url=f"{base}/ga4",
            property_id="7",
            service_account=ACCOUNT,
            admin_url=f"{base}/ga4",
            token_url=f"{base}/google/token",
        ),
        dict.fromkeys(SENT, Grade.SENT_UNVERIFIABLE),
        {Verb.ERASE: Told({"noop": Grade.ACCEPTED}, {}, erased)},
    ),
    Vendor(
        datamanager,
        lambda base: datamanager.Options(
            account_id="1",
            conversion_id="2",
            audience_ids=("3",),
            service_account=ACCOUNT,
            base_url=f"{base}/datamanager",
            token_url=f"{base}/google/token",
        ),
        {"noop": Grade.ACCEPTED},  # what became of it is worked out later
        {
            Verb.SUPPRESS: Told(
                {"noop": Grade.ACCEPTED},
                {"ok": Found.EQUAL, "noop": Found.DIFFERENT, "partial": Found.DIFFERENT},
                suppressed,
            )
        },
    ),
    Vendor(
        posthog,
        lambda base: posthog.Options(
            api_key=KEY,
            personal_api_key=TOKEN,
            project_id="1",
            base_url=f"{base}/posthog",
            app_url=f"{base}/posthog",
        ),
        {},
        {Verb.ERASE: Told({"partial": Grade.FAILED_RETRY}, {"ok": Found.EQUAL}, erased)},
    ),
    Vendor(
        twilio,
        lambda base: twilio.Options(
            account_sid="AC" + "1" * 32,
            auth_token=TOKEN,
            sender_id="MG" + "2" * 32,
            base_url=f"{base}/twilio",
        ),
        {},
        {
            Verb.SUPPRESS: Told(ROWS, {}, suppressed),
            Verb.GRANT: Told(
                ROWS,
                {},
                lambda person: not person["suppressed"],
                {"whole": False, "topics": (("news", "sms"),)},
            ),
        },
        events=False,
    ),
)
BY_NAME = {vendor.name: vendor for vendor in VENDORS}


def event(message_id: str = "m-1", **changes: Any) -> Message:
    """Something that Alice did a moment ago; ads know her by her address."""
    ago = (datetime.now(UTC) - datetime(2026, 11, 5, 12, tzinfo=UTC)).total_seconds() - 60
    traits = {"email": "alice@example.com", "phone": "+4915112345678"}
    context = {
        "traits": traits,
        "page": {"url": "https://shop.example/film?gclid=g-1"},
        "userAgent": "Mozilla/5.0",
        "ip": "203.0.113.9",
    }
    members = {"context": context, "properties": {"order_id": message_id, "revenue": 9.5}}
    usual: dict[str, Any] = {"anonymous_id": "anon-1", "user_id": "alice", "made": ago}
    return track(message_id, **usual | members | changes)
