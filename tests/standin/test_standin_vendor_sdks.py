"""The vendors' own SDKs, unmodified, pointed at the stand-in: contract and connector are not one
hand's opinion.

Left out, and why: facebook-business is not permissively licensed (for use with Meta's services
alone) and brings pycountry, which is LGPL; Segment publishes no Python SDK of its Public API on
PyPI; TikTok's and Google's Data Manager clients are not on PyPI or speak gRPC only. For these
the contract is what the sources named in the stand-in's files say.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from amplitude import Amplitude, BaseEvent
from amplitude.constants import EventLogLevel
from mixpanel import Consumer, Mixpanel, MixpanelException
from posthog import Posthog
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from consentry.destinations import twilio
from consentry.destinations.instruction import InboundCall
from consentry.secret import Secret
from tests.running import StandIn, call, stand_in, wait_for

SID, TOKEN, SENDER = "AC" + "1" * 32, "t0ken", "MG" + "2" * 32


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with stand_in() as vendors:
        yield vendors


@pytest.fixture
def vendors(running: StandIn) -> StandIn:
    running.reset()
    return running


def person(vendors: StandIn, vendor: str, key: str) -> dict[str, Any]:
    """What a vendor knows of a person, as soon as it does."""

    def known() -> dict[str, Any] | None:
        persons = call(vendors.base, "GET", f"/_ctl/{vendor}/state").json["persons"]
        found: dict[str, Any] | None = persons.get(key)
        return found

    found: dict[str, Any] = wait_for(known, what=f"{vendor} knows {key}")
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [event["event"] for event in found["events"]]


# Amplitude


class Said:
    """What the SDK says of events, from its own thread."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self._changed = threading.Condition()

    def __call__(self, event: BaseEvent, code: int, message: str | None = None) -> None:
        with self._changed:
            self.codes[event.event_type] = code
            self._changed.notify_all()

    def of(self, *events: str) -> list[int]:
        with self._changed:
            assert self._changed.wait_for(lambda: set(events) <= set(self.codes), 30)
        return [self.codes[event] for event in events]


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def amplitude(vendors: StandIn, said: Said) -> Iterator[Amplitude]:
    client = Amplitude("k3y")
    client.configuration.server_url = f"{vendors.base}/amplitude/2/httpapi"
    client.configuration.callback = said
    client.configuration.event_log_level = EventLogLevel.NONE
    client.configuration.logger = logging.getLogger("amplitude-quiet")
    yield client
    client.shutdown()


def test_amplitude_takes_events(vendors: StandIn, amplitude: Amplitude, said: Said) -> None:
    amplitude.track(BaseEvent("Order Completed", user_id="alice", device_id="device-1"))
    amplitude.flush()
    assert said.of("Order Completed") == [200]
    assert names(person(vendors, "amplitude", "alice")) == ["Order Completed"]


def test_amplitude_drops_what_a_400_lists_and_sends_the_rest_again(
    vendors: StandIn, amplitude: Amplitude, said: Said
) -> None:
    amplitude.track(BaseEvent("short", user_id="al"))  # under five characters
    amplitude.track(BaseEvent("long", user_id="alice"))
    amplitude.flush()
    assert said.of("short") == [400]
    amplitude.flush()
    assert said.of("long") == [200]
    assert names(person(vendors, "amplitude", "alice")) == ["long"]


# Mixpanel


def mixpanel(vendors: StandIn) -> Mixpanel:
    base = f"{vendors.base}/mixpanel"
    consumer = Consumer(f"{base}/track", f"{base}/engage", f"{base}/import")
    return Mixpanel("t0ken", consumer)


def test_mixpanel_takes_events_and_profiles(vendors: StandIn) -> None:
    client = mixpanel(vendors)
    client.track("alice", "Order Completed", {"price": 3})
    client.people_set("alice", {"plan": "pro"})
    found = person(vendors, "mixpanel", "alice")
    assert (names(found), found["traits"]) == (["Order Completed"], {"plan": "pro"})
    client.people_delete("alice", meta={"$ignore_alias": True})
    assert person(vendors, "mixpanel", "alice")["traits"] == {}


def test_mixpanel_says_what_the_vendor_said(vendors: StandIn) -> None:
    vendors.mode("mixpanel", "401")
    with pytest.raises(MixpanelException):
        mixpanel(vendors).track("alice", "Order Completed")


# PostHog


@pytest.fixture
def posthog(vendors: StandIn) -> Iterator[Posthog]:
    client = Posthog("phc_1", host=f"{vendors.base}/posthog", sync_mode=True, gzip=True)
    yield client
    client.shutdown()


def test_posthog_takes_events(vendors: StandIn, posthog: Posthog) -> None:
    posthog.capture("Order Completed", distinct_id="alice", properties={"price": 3})
    posthog.set(distinct_id="alice", properties={"plan": "pro"})
    found = person(vendors, "posthog", "alice")
    assert names(found) == ["Order Completed", "$set"]
    assert found["traits"]["plan"] == "pro"


# Twilio


@pytest.fixture
def texts(vendors: StandIn) -> Client:
    client = Client(SID, TOKEN)
    client.accounts.base_url = f"{vendors.base}/twilio"
    return client


def consent(number: str, **changes: str) -> dict[str, str]:
    usual = {"correlation_id": "a" * 32, "sender_id": SENDER, "status": "opt-out"}
    return {"contact_id": number, "source": "website", **usual, **changes}


def test_twilio_keeps_consent_and_a_201_holds_rows_that_failed(
    vendors: StandIn, texts: Client
) -> None:
    good = consent("+4915112345678")
    bad = consent("no number", correlation_id="b" * 32)
    answered = texts.accounts.v1.bulk_consents.create(items=[good, bad])
    rows = {row["correlation_id"]: row["error_code"] for row in answered.items}
    assert rows == {"a" * 32: 0, "b" * 32: 30646}
    assert person(vendors, "twilio", "+4915112345678")["suppressed"] is True


@pytest.mark.parametrize(("mode", "status"), [("401", 401), ("429", 429), ("5xx", 500)])
def test_twilio_says_what_the_vendor_said(
    vendors: StandIn, texts: Client, mode: str, status: int
) -> None:
    vendors.mode("twilio", mode)
    with pytest.raises(TwilioRestException) as caught:
        texts.accounts.v1.bulk_consents.create(items=[consent("+4915112345678")])
    assert caught.value.status == status


def test_what_twilio_signs_is_heard_and_our_reading_of_it_is_the_sdks() -> None:
    url = "https://consent.example/v1/inbound/texts?a=b"
    form = {"AccountSid": SID, "MessageSid": "SM1", "From": "+4915112345678", "Body": "STOP"}
    signature = RequestValidator(TOKEN).compute_signature(url, form)
    body = "&".join(f"{name}={value.replace('+', '%2B')}" for name, value in form.items())
    options = twilio.Options(account_sid=SID, auth_token=(Secret(TOKEN),), sender_id=SENDER)
    heard = twilio.hear(
        InboundCall("POST", url, {"x-twilio-signature": signature}, body.encode(), 0), options
    )
    assert [(one.said, one.denied) for one in heard] == [("STOP", True)]
