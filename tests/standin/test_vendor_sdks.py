"""The vendors' own published SDKs, unmodified, against the stand-in.

So that what a connector sends and what the stand-in takes are not one hand's opinion.

Left out: Braze publishes no SDK for Python. mailchimp-marketing 3.0.80 stands under an agreement of
Mailchimp's own, which is no permissive licence, so it is not installed here; the paths and bodies
of the stand-in follow it all the same.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.running import StandIn, call, stand_in

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the SDKs import is their own business
    from customerio import CustomerIO
    from hubspot import HubSpot
    from hubspot.crm.contacts import PublicGdprDeleteInput
    from hubspot.events.send import BehavioralEventHttpCompletionRequest
    from klaviyo_api import KlaviyoAPI
    from openapi_client.api_arg_options import USE_DICTIONARY_FOR_RESPONSE_DATA
    from openapi_client.exceptions import BadRequestException, UnauthorizedException
    from python_http_client.exceptions import NotFoundError
    from sendgrid import SendGridAPIClient

pytestmark = pytest.mark.filterwarnings("ignore")
NUMBERS = itertools.count(1)
EMAIL, PHONE = "alice@example.com", "+4915112345678"


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


def place(running: StandIn, vendor: str) -> tuple[str, str]:
    """The base of an instance that nobody else uses, and its name."""
    instance = f"sdk{next(NUMBERS)}"
    return f"{running.base}/{vendor}/{instance}", instance


def persons(running: StandIn, vendor: str, instance: str) -> dict[str, Any]:
    state = call(running.base, "GET", f"/_ctl/{vendor}/state?instance={instance}").json
    found: dict[str, Any] = state["persons"]
    return found


# Klaviyo


def klaviyo(base: str) -> KlaviyoAPI:
    return KlaviyoAPI(
        "pk_1", max_delay=1, max_retries=0, test_host=base,
        options={USE_DICTIONARY_FOR_RESPONSE_DATA: True},
    )  # fmt: skip


def profiles(channel: str, consent: str, **attributes: str) -> dict[str, Any]:
    held = {**attributes, "subscriptions": {channel: {"marketing": {"consent": consent}}}}
    return {"profiles": {"data": [{"type": "profile", "attributes": held}]}}


def on_list(kind: str, attributes: dict[str, Any], list_id: str) -> dict[str, Any]:
    relation = {"list": {"data": {"type": "list", "id": list_id}}}
    return {"data": {"type": kind, "attributes": attributes, "relationships": relation}}


def marketing(api: KlaviyoAPI) -> dict[str, Any]:
    found = api.Profiles.get_profiles(
        additional_fields_profile=["subscriptions"], filter=f'equals(email,"{EMAIL}")'
    )
    (profile,) = found["data"]
    held: dict[str, Any] = profile["attributes"]["subscriptions"]["email"]["marketing"]
    return held


def test_klaviyos_sdk_creates_an_event(running: StandIn) -> None:
    base, instance = place(running, "klaviyo")
    event = {
        "properties": {"value": 3},
        "unique_id": "m-1",
        "metric": {"data": {"type": "metric", "attributes": {"name": "Order Completed"}}},
        "profile": {"data": {"type": "profile", "attributes": {"email": EMAIL}}},
    }
    for _ in range(2):
        klaviyo(base).Events.create_event({"data": {"type": "event", "attributes": event}})
    (alice,) = persons(running, "klaviyo", instance).values()
    assert [each["event"] for each in alice["events"]] == ["Order Completed"]


def test_klaviyos_sdk_subscribes_reads_and_unsubscribes(running: StandIn) -> None:
    base, _ = place(running, "klaviyo")
    api = klaviyo(base)
    subscribe = profiles("email", "SUBSCRIBED", email=EMAIL)
    api.Profiles.bulk_subscribe_profiles(
        on_list("profile-subscription-bulk-create-job", subscribe, "L1")
    )
    assert marketing(api)["can_receive_email_marketing"] is True
    members = api.Lists.get_profiles_for_list("L1", filter=f'any(email,["{EMAIL}"])')
    assert [each["attributes"]["email"] for each in members["data"]] == [EMAIL]
    leave = profiles("email", "UNSUBSCRIBED", email=EMAIL)
    api.Profiles.bulk_unsubscribe_profiles(
        on_list("profile-subscription-bulk-delete-job", leave, "L1")
    )
    assert api.Lists.get_profiles_for_list("L1", filter=f'any(email,["{EMAIL}"])')["data"] == []
    assert marketing(api)["can_receive_email_marketing"] is True, "only the list was left"
    api.Profiles.bulk_unsubscribe_profiles(
        on_list("profile-subscription-bulk-delete-job", leave, "L1")
    )
    assert marketing(api)["can_receive_email_marketing"] is False, "not on it: from everything"


def test_klaviyos_sdk_suppresses_and_lifts_it(running: StandIn) -> None:
    base, _ = place(running, "klaviyo")
    api = klaviyo(base)
    held = {"profiles": {"data": [{"type": "profile", "attributes": {"email": EMAIL}}]}}
    job = api.Profiles.bulk_suppress_profiles(
        {"data": {"type": "profile-suppression-bulk-create-job", "attributes": held}}
    )
    identity = job["data"]["id"]
    asked = api.Profiles.get_bulk_suppress_profiles_job(identity)
    assert asked["data"]["attributes"]["status"] == "complete"
    assert [each["reason"] for each in marketing(api)["suppression"]] == ["USER_SUPPRESSED"]
    api.Profiles.bulk_unsuppress_profiles(
        {"data": {"type": "profile-suppression-bulk-delete-job", "attributes": held}}
    )
    assert marketing(api)["suppression"] == []


def test_klaviyos_sdk_erases(running: StandIn) -> None:
    base, instance = place(running, "klaviyo")
    api = klaviyo(base)
    imported = {"email": EMAIL, "phone_number": PHONE}
    api.Profiles.create_or_update_profile({"data": {"type": "profile", "attributes": imported}})
    profile = {"data": {"type": "profile", "attributes": {"email": EMAIL}}}
    deletion = {"type": "data-privacy-deletion-job", "attributes": {"profile": profile}}
    api.Data_Privacy.request_profile_deletion({"data": deletion})
    assert api.Profiles.get_profiles(filter=f'equals(email,"{EMAIL}")')["data"] == []
    (alice,) = persons(running, "klaviyo", instance).values()
    assert alice["erasedAt"]


def test_klaviyos_sdk_reads_its_errors(running: StandIn) -> None:
    base, _ = place(running, "klaviyo")
    api = klaviyo(base)
    nobody = {"profile": {"data": {"type": "profile", "attributes": {}}}}
    with pytest.raises(BadRequestException):
        api.Data_Privacy.request_profile_deletion(
            {"data": {"type": "data-privacy-deletion-job", "attributes": nobody}}
        )
    running.mode("klaviyo", "401", count=1)
    with pytest.raises(UnauthorizedException):
        marketing(api)


# HubSpot


def hubspot(base: str) -> HubSpot:
    return HubSpot(access_token="pat-1", host=base)


def test_hubspots_sdk_sends_an_event(running: StandIn) -> None:
    base, instance = place(running, "hubspot")
    event = BehavioralEventHttpCompletionRequest(
        event_name="pe123_order_completed",
        email=EMAIL,
        properties={"value": "3"},
        uuid="6f1c1d2e-0000-4000-8000-000000000001",
    )
    for _ in range(2):
        hubspot(base).events.send.basic_api.send(behavioral_event_http_completion_request=event)
    alice = persons(running, "hubspot", instance)[EMAIL]
    assert [each["event"] for each in alice["events"]] == ["pe123_order_completed"]


def test_hubspots_sdk_reads_and_erases_a_contact(running: StandIn) -> None:
    base, instance = place(running, "hubspot")
    api = hubspot(base)
    event = BehavioralEventHttpCompletionRequest(
        event_name="pe123_order_completed", email=EMAIL, properties={}
    )
    api.events.send.basic_api.send(behavioral_event_http_completion_request=event)
    contact = api.crm.contacts.basic_api.get_by_id(EMAIL, id_property="email")
    assert contact.properties["email"] == EMAIL
    api.crm.contacts.basic_api.purge(PublicGdprDeleteInput(object_id=EMAIL, id_property="email"))
    assert persons(running, "hubspot", instance)[EMAIL]["erasedAt"]


def test_hubspots_sdk_speaks_of_subscriptions_in_plain_requests(running: StandIn) -> None:
    """Its release knows version 3 of this part; version 4 is reached by ``api_request``."""
    base, _ = place(running, "hubspot")
    api = hubspot(base)
    path = f"/communication-preferences/v4/statuses/{EMAIL}"
    body = {"subscriptionId": 39644612, "channel": "EMAIL", "statusState": "UNSUBSCRIBED"}
    asked = {"method": "POST", "path": path, "body": body, "base_url": base}
    answer = api.api_request(asked)
    assert answer.json()["results"][0]["status"] == "UNSUBSCRIBED"
    everything = f"{path}/unsubscribe-all?channel=EMAIL"
    made = api.api_request({"method": "POST", "path": everything, "base_url": base})
    assert made.status_code == 200
    read = api.api_request({"method": "GET", "path": everything, "base_url": base})
    assert [each["status"] for each in read.json()["results"]] == ["UNSUBSCRIBED"]
    assert json.loads(read.text)["status"] == "SUCCESS"


# SendGrid


def test_sendgrids_sdk_suppresses_reads_and_lifts(running: StandIn) -> None:
    base, _ = place(running, "sendgrid")
    asm = SendGridAPIClient("SG.1", host=base).client.asm
    group = asm.groups._("10").suppressions
    added = group.post(request_body={"recipient_emails": [EMAIL]})
    assert (added.status_code, json.loads(added.body)) == (201, {"recipient_emails": [EMAIL]})
    found = group.search.post(request_body={"recipient_emails": [EMAIL, "b@example.com"]})
    assert json.loads(found.body) == [EMAIL]
    everything = getattr(asm.suppressions, "global")
    everything.post(request_body={"recipient_emails": [EMAIL]})
    assert json.loads(everything._(EMAIL).get().body) == {"recipient_email": EMAIL}
    assert everything._(EMAIL).delete().status_code == 204
    assert json.loads(everything._(EMAIL).get().body) == {}
    assert group._(EMAIL).delete().status_code == 204


def test_sendgrids_sdk_finds_and_deletes_a_contact(running: StandIn) -> None:
    base, _ = place(running, "sendgrid")
    contacts = SendGridAPIClient("SG.1", host=base).client.marketing.contacts
    assert contacts.put(request_body={"contacts": [{"email": EMAIL}]}).status_code == 202
    found = json.loads(contacts.search.emails.post(request_body={"emails": [EMAIL]}).body)
    identity = found["result"][EMAIL]["contact"]["id"]
    deleted = contacts.delete(query_params={"ids": identity})
    assert (deleted.status_code, list(json.loads(deleted.body))) == (202, ["job_id"])
    with pytest.raises(NotFoundError):
        contacts.search.emails.post(request_body={"emails": [EMAIL]})


# Customer.io


def test_customerios_sdk_tracks_deletes_and_suppresses(running: StandIn) -> None:
    base, instance = place(running, "customerio")
    api = CustomerIO("site", "key", retries=0)
    api.base_url = f"{base}/api/v1"  # it speaks https to a host alone, and the stand-in does not
    api.identify(id="alice", email=EMAIL, plan="gold")
    api.track("alice", "Order Completed", {"value": 3})
    alice = persons(running, "customerio", instance)["alice"]
    assert (alice["traits"]["plan"], alice["eventCount"]) == ("gold", 1)
    api.delete("alice")
    api.track("alice", "Order Completed")
    assert persons(running, "customerio", instance)["alice"]["eventCount"] == 1, "back again"
    api.suppress("alice")
    api.track("alice", "Order Completed")
    assert persons(running, "customerio", instance)["alice"]["eventCount"] == 0
    api.unsuppress("alice")
    api.track("alice", "Order Completed")
    assert persons(running, "customerio", instance)["alice"]["eventCount"] == 1
