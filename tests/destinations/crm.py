"""The vendors of mail and customer data, as the tests of their connectors see them.

``ASKED`` names what can be asked of each: an event, and orders. A case says what it comes to
when all is well and in the two modes whose meaning is the vendor's own; the other modes mean the
same everywhere (`EVERYWHERE`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.destinations import braze, customerio, hubspot, klaviyo, mailchimp, sendgrid
from consentry.destinations.instruction import Found, Instruction
from consentry.destinations.message import Message
from consentry.secret import Secret
from tests.destinations.instructions import instruction
from tests.destinations.messages import track

NEWS = (("news", "email"),)
TEXTS = (("news", "sms"),)
PUSH = (("news", "push"),)
UNKNOWN_TOPIC = (("club", "email"),)

EVERYWHERE = {
    "429": Grade.RATE_LIMITED,
    "401": Grade.AUTH_BLOCKED,
    "5xx": Grade.FAILED_RETRY,
    "slow": Grade.FAILED_RETRY,
    "reset": Grade.FAILED_RETRY,
    "garbage": Grade.FAILED_RETRY,
    "truncate": Grade.FAILED_RETRY,
}


@dataclass(frozen=True)
class Case:
    """Something asked of a vendor, after what was asked ``before``.

    ``noop`` and ``partial`` are the grades in those modes. ``read`` is what asking again says
    after it went well, ``unread`` after the vendor did nothing; None: it is not asked.
    """

    asked: Instruction | None  # None: an event
    ok: Grade = Grade.ACCEPTED
    noop: Grade = Grade.ACCEPTED
    partial: Grade = Grade.ACCEPTED
    before: tuple[Instruction, ...] = ()
    read: Found | None = Found.EQUAL
    unread: Found | None = Found.DIFFERENT
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Vendor:
    """A connector, how it is pointed at the stand-in, and what is asked of it."""

    module: ModuleType
    options: Callable[..., Any]
    cases: dict[str, Case]


def order(verb: Verb, topics: tuple[tuple[str, str], ...] = (), **changes: Any) -> Instruction:
    """An order about Alice: whole, unless it names topics."""
    return instruction(verb, whole=not topics, topics=topics, **changes)


def event(message_id: str = "m-1", **members: Any) -> Message:
    """A purchase by Alice, whose address stands in the event, made just now."""
    age = datetime.now(UTC) - datetime(2026, 11, 5, 12, tzinfo=UTC)
    properties = {"email": "alice@example.com", "value": 3} | members.pop("properties", {})
    return track(
        message_id, made=age.total_seconds(), user_id="alice", properties=properties, **members
    )


def klaviyo_options(base: str = "https://a.klaviyo.com", **more: Any) -> klaviyo.Options:
    given: dict[str, Any] = {"lists": {"news:email": "L1", "news:sms": "L2"}}
    given["webhook_secret"] = (Secret("klaviyo-webhook-secret"),)
    return klaviyo.Options(api_key=(Secret("pk_1"),), base_url=base, **given | more)


KLAVIYO = Vendor(
    klaviyo,
    klaviyo_options,
    {
        "event": Case(None),
        "withdrawal": Case(order(Verb.SUPPRESS), before=(order(Verb.GRANT, NEWS),)),
        "grant": Case(order(Verb.GRANT), before=(order(Verb.SUPPRESS),)),
        "topic withdrawn": Case(
            order(Verb.SUPPRESS, NEWS),
            before=(order(Verb.GRANT, NEWS),),
        ),
        "topic granted": Case(order(Verb.GRANT, NEWS), unread=Found.DIFFERENT),
        "sms topic withdrawn": Case(
            order(Verb.SUPPRESS, TEXTS), before=(order(Verb.GRANT, TEXTS),)
        ),
        "erasure": Case(order(Verb.ERASE), before=(order(Verb.GRANT, NEWS),), unread=Found.PENDING),
    },
)


def braze_options(base: str = "https://rest.iad-01.braze.com", **more: Any) -> braze.Options:
    groups = {"news:email": "g-mail", "news:sms": "g-sms", "news:push": "g-push"}
    given: dict[str, Any] = {"groups": groups, "webhook_token": (Secret("currents-token"),)}
    return braze.Options(api_key=(Secret("braze-key"),), base_url=base, **given | more)


LEFT_OUT = Grade.FAILED_FINAL  # errors beside a success: some of it was not done
BRAZE = Vendor(
    braze,
    braze_options,
    {
        "event": Case(None, noop=Grade.NOOP),
        "withdrawal": Case(
            order(Verb.SUPPRESS),
            before=(order(Verb.GRANT, NEWS), order(Verb.GRANT, TEXTS)),
            noop=Grade.NOOP,
            partial=LEFT_OUT,
        ),
        "grant that may lift": Case(
            order(Verb.GRANT),
            before=(order(Verb.GRANT, NEWS), order(Verb.SUPPRESS)),
            noop=Grade.NOOP,
            partial=LEFT_OUT,
            options={"resubscribe": True},
        ),
        "topic withdrawn": Case(
            order(Verb.SUPPRESS, NEWS), before=(order(Verb.GRANT, NEWS),), partial=LEFT_OUT
        ),
        "topic granted": Case(
            order(Verb.GRANT, NEWS), before=(order(Verb.SUPPRESS, NEWS),), partial=LEFT_OUT
        ),
        "sms topic withdrawn": Case(
            order(Verb.SUPPRESS, TEXTS), before=(order(Verb.GRANT, TEXTS),), partial=LEFT_OUT
        ),
        "push topic withdrawn": Case(
            order(Verb.SUPPRESS, PUSH), before=(order(Verb.GRANT, PUSH),), partial=LEFT_OUT
        ),
        "erasure": Case(
            order(Verb.ERASE),
            before=(order(Verb.GRANT, NEWS),),
            noop=Grade.NOOP,
            partial=Grade.NOOP,
            unread=Found.PENDING,
        ),
    },
)


def hubspot_options(base: str = "https://api.hubapi.com", **more: Any) -> hubspot.Options:
    given: dict[str, Any] = {"subscriptions": {"news:email": "39644612"}, "portal_id": "123"}
    given["client_secret"] = (Secret("hubspot-client-secret"),)
    return hubspot.Options(access_token=(Secret("pat-1"),), base_url=base, **given | more)


HUBSPOT = Vendor(
    hubspot,
    hubspot_options,
    {
        "event": Case(None),
        "withdrawal": Case(order(Verb.SUPPRESS), noop=Grade.NOOP, partial=Grade.FAILED_FINAL),
        "topic withdrawn": Case(
            order(Verb.SUPPRESS, NEWS),
            before=(order(Verb.GRANT, NEWS),),
            noop=Grade.NOOP,
            partial=Grade.FAILED_FINAL,
        ),
        "topic granted": Case(
            order(Verb.GRANT, NEWS),
            before=(order(Verb.SUPPRESS, NEWS),),
            noop=Grade.NOOP,
            partial=Grade.FAILED_FINAL,
        ),
        "erasure": Case(order(Verb.ERASE), unread=Found.PENDING),
    },
)


def mailchimp_options(base: str | None = "https://us1.example", **more: Any) -> Any:
    given: dict[str, Any] = {"lists": {"news:email": "A1", "deals:email": "A0/I1"}}
    given["webhook_secret"] = (Secret("mailchimp-secret"),)
    return mailchimp.Options(
        api_key=(Secret("key-us1"),), audience="A0", base_url=base, **given | more
    )


DEALS = (("deals", "email"),)
JOINED = (order(Verb.GRANT, NEWS), order(Verb.GRANT, DEALS))
MAILCHIMP = Vendor(
    mailchimp,
    mailchimp_options,
    {
        "event": Case(None, before=JOINED),
        "withdrawal": Case(order(Verb.SUPPRESS), before=JOINED, noop=Grade.NOOP),
        "grant that may lift": Case(
            order(Verb.GRANT),
            before=(*JOINED, order(Verb.SUPPRESS)),
            noop=Grade.NOOP,
            options={"resubscribe": True},
        ),
        "topic withdrawn": Case(order(Verb.SUPPRESS, NEWS), before=JOINED, noop=Grade.NOOP),
        "topic granted": Case(
            order(Verb.GRANT, NEWS),
            before=(*JOINED, order(Verb.SUPPRESS, NEWS)),
            noop=Grade.NOOP,
        ),
        "interest withdrawn": Case(order(Verb.SUPPRESS, DEALS), before=JOINED, noop=Grade.NOOP),
        "interest granted": Case(
            order(Verb.GRANT, DEALS),
            before=(*JOINED, order(Verb.SUPPRESS, DEALS)),
            noop=Grade.NOOP,
        ),
        "erasure": Case(order(Verb.ERASE), before=JOINED),
    },
)


def sendgrid_options(base: str = "https://api.sendgrid.com", **more: Any) -> sendgrid.Options:
    given: dict[str, Any] = {"groups": {"news:email": "10"}}
    return sendgrid.Options(api_key=(Secret("SG.1"),), base_url=base, **given | more)


SENDGRID = Vendor(
    sendgrid,
    sendgrid_options,
    {
        "withdrawal": Case(order(Verb.SUPPRESS), noop=Grade.NOOP),
        "grant that may lift": Case(
            order(Verb.GRANT), before=(order(Verb.SUPPRESS),), options={"resubscribe": True}
        ),
        "topic withdrawn": Case(order(Verb.SUPPRESS, NEWS), noop=Grade.NOOP),
        "topic granted": Case(order(Verb.GRANT, NEWS), before=(order(Verb.SUPPRESS, NEWS),)),
    },
)


def customerio_options(base: str = "https://track.customer.io", **more: Any) -> Any:
    given: dict[str, Any] = {"topic_ids": {"news:email": "7", "news:push": "8"}}
    given["signing_key"] = (Secret("cio-signing-key"),)
    return customerio.Options(
        site_id="site", api_key=(Secret("cio-key"),), base_url=base, **given | more
    )


CUSTOMERIO = Vendor(
    customerio,
    customerio_options,
    {
        "event": Case(None),
        "withdrawal": Case(order(Verb.SUPPRESS)),
        "grant that may lift": Case(order(Verb.GRANT), options={"resubscribe": True}),
        "topic withdrawn": Case(order(Verb.SUPPRESS, NEWS)),
        "topic granted": Case(order(Verb.GRANT, NEWS)),
        "push topic withdrawn": Case(order(Verb.SUPPRESS, PUSH)),
        "erasure": Case(order(Verb.ERASE)),
    },
)

VENDORS: dict[str, Vendor] = {
    "sendgrid": SENDGRID,
    "customerio": CUSTOMERIO,
    "klaviyo": KLAVIYO,
    "braze": BRAZE,
    "hubspot": HUBSPOT,
    "mailchimp": MAILCHIMP,
}
