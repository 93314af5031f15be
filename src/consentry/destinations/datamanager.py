"""Google's Data Manager API: conversions for Google Ads and others, and withdrawals from audiences.

Source: googleapis, google/ads/datamanager/v1 (ingestion_service, event, consent,
request_status_per_destination). Its words for consent are its own: CONSENT_GRANTED and
CONSENT_DENIED, where the Measurement Protocol says GRANTED and DENIED.

A request that is taken has a number, and the number has a state: that is what a withdrawal proves.
Every event that comes here goes to the destination as a conversion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import ad_events, google, named
from consentry.destinations.batches import (
    object_of,
    rows_in,
    same_for,
    send_rows,
    unconfigured,
    unreadable,
    untaken,
)
from consentry.destinations.common import JSON, at, click_id
from consentry.destinations.contact import email_of, event_name, moment_of, phone_of
from consentry.destinations.http import Unsendable, json_body, outcome_of_status
from consentry.destinations.inbound import objects
from consentry.destinations.instruction import Found, Instruction, Orders, Person, Reading
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.obeying import Question, read_all
from consentry.destinations.options import check_base_url
from consentry.destinations.spec import Spec
from consentry.destinations.steps import Known, Spoiled, Step, follow
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="datamanager",
    title="Google Data Manager",
    batch_max=500,  # 2000 is the limit, though an error message speaks of 10 000
    batch_bytes=1_000_000,
    events=frozenset({"track"}),
    proves="A 200 says that the request was taken; what became of its rows is worked out later.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs={Verb.SUPPRESS: Grade.JOB_DONE},
    needs=frozenset({"emails", "phones"}),
    cannot=(
        "A withdrawal takes a person out of the audiences that are configured. The state is of "
        "a whole request, which may be about several people; conversions stay where they are."
    ),
    batch_max=500,
    reads_back=True,
)
SCOPE = "https://www.googleapis.com/auth/datamanager"
MOST_EVENTS = 2000
MOST_MEMBERS = 10_000
MOST_DESTINATIONS = 10  # of one request
MOST_IDENTIFIERS = 10  # of one person


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which account receives, with whose key, and which audiences a withdrawal is about.

    ``account_type`` and ``account_id``: the account that is operated, such as ``GOOGLE_ADS``.
    ``login_account_id``: the manager account of the same type that gives access, if there is one.
    ``conversion_id``: the conversion action (``productDestinationId``) that events go to.
    ``audience_ids``: the audiences that a withdrawal is about; without them it is gated.
    ``service_account``: the JSON key of a service account, or ``service_account_file``: its file.
    ``ad_user_data_category``, ``ad_personalization_category``: whose grant fills ``consent``.
    ``base_url``: the API. ``token_url``: where the key is exchanged for a token.
    """

    account_id: str
    conversion_id: str
    account_type: str = "GOOGLE_ADS"
    login_account_id: str | None = None
    audience_ids: tuple[str, ...] = ()
    service_account: tuple[Secret, ...] = ()
    service_account_file: str | None = None
    ad_user_data_category: str = "advertising"
    ad_personalization_category: str = "advertising"
    base_url: str = "https://datamanager.googleapis.com"
    token_url: str = google.TOKEN_URL

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        google.check_access(self.service_account, self.service_account_file, self.token_url)
        if not self.service_account and self.service_account_file is None:
            raise ValueError("service_account: a key, or service_account_file, is needed")
        for name in ("account_id", "conversion_id", "account_type"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: must not be empty")

    def access(self) -> google.Access:
        """What is exchanged for a token."""
        found = google.access_of(
            self.service_account, self.service_account_file, self.token_url, SCOPE
        )
        assert found is not None, "the options were checked"
        return found


def item_of(message: Message, options: Options) -> dict[str, Any]:
    """One conversion. Raises `Unsendable` if Google could match it with nobody."""
    user = list(identifiers([email_of(message) or ""], [phone_of(message) or ""]))
    clicks = {
        name: click for name in ("gclid", "gbraid", "wbraid") if (click := click_id(message, name))
    }
    if not user and not clicks:
        raise Unsendable("userData: neither an address, a phone number nor a click")
    item: dict[str, Any] = {
        "eventTimestamp": moment_of(message).isoformat().replace("+00:00", "Z"),
        "transactionId": ad_events.order_id(message) or message.message_id,
        "eventName": event_name(message),
        "eventSource": "WEB",
        "consent": {
            "adUserData": _consent(message.consent, options.ad_user_data_category),
            "adPersonalization": _consent(message.consent, options.ad_personalization_category),
        },
    }
    if user:
        item["userData"] = {"userIdentifiers": user}
    if clicks:
        item["adIdentifiers"] = clicks
    worth = ad_events.worth(message)
    if "value" in worth:
        item["conversionValue"] = worth["value"]
    if "currency" in worth:
        item["currency"] = worth["currency"]
    return item


def _consent(preferences: Mapping[str, bool], category: str) -> str:
    return "CONSENT_GRANTED" if preferences.get(category) is True else "CONSENT_DENIED"


def identifiers(emails: Sequence[str], phones: Sequence[str]) -> Iterator[dict[str, str]]:
    """Who, hashed. A Gmail address in both forms: others may have sent it with its dots."""
    for address in emails:
        for plain in dict.fromkeys((named.email(address), named.google_email(address))):
            if plain:
                yield {"emailAddress": named.sha256(plain)}
    for number in phones:
        if digits := named.e164(number):
            yield {"phoneNumber": named.sha256(digits)}


def destination(options: Options, product: str) -> dict[str, Any]:
    """Where rows go: an account and what of it."""
    found: dict[str, Any] = {
        "operatingAccount": {"accountType": options.account_type, "accountId": options.account_id},
        "productDestinationId": product,
    }
    if options.login_account_id:
        login = {"accountType": options.account_type, "accountId": options.login_account_id}
        found["loginAccount"] = login
    return found


def _request(path: str, body: Mapping[str, Any], token: str, options: Options) -> Request:
    headers = (("Authorization", f"Bearer {token}"), JSON)
    return Request("POST", at(options.base_url, path), headers, json_body(body))


def batch_request(items: Sequence[dict[str, Any]], token: str, options: Options) -> Request:
    """One request for 1 to 2000 conversions. Raises `Unsendable` if it is no JSON."""
    body = {
        "destinations": [destination(options, options.conversion_id)],
        "events": list(items),
        "encoding": "HEX",
    }
    return _request("/v1/events:ingest", body, token, options)


def outcomes_of(response: Response, whom: Sequence[object]) -> tuple[Outcome, ...]:
    """Accepted under the number of the request. One bad row fails all of them."""
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is not Grade.ACCEPTED:
        if response.status == 400 and len(whom) > 1:
            raise Spoiled
        return same_for(usual, whom)
    number = object_of(response).get("requestId")
    if not isinstance(number, str) or not number:
        return same_for(unreadable(response), whom)
    return same_for(Outcome(Grade.ACCEPTED, response.status, "request taken", ref=number), whom)


async def send(
    client: OutboundClient,
    messages: Sequence[Message],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """One attempt for one batch."""
    return await google.with_token(
        client,
        options.access(),
        len(messages),
        lambda token: send_rows(
            client,
            messages,
            lambda message: item_of(message, options),
            MOST_EVENTS,
            lambda items: batch_request(items, token, options),
            outcomes_of,
            last_look,
        ),
    )


def rows_of(person: Person) -> Iterator[dict[str, Any]]:
    """A person as members of an audience, at most ten identifiers in each."""
    found = list(identifiers(person.emails, person.phones))
    for start in range(0, len(found), MOST_IDENTIFIERS):
        yield {"userData": {"userIdentifiers": found[start : start + MOST_IDENTIFIERS]}}


def order_request(
    members: Sequence[dict[str, Any]], audiences: Sequence[str], token: str, options: Options
) -> Request:
    """Takes 1 to 10 000 members out of 1 to 10 audiences. Raises `Unsendable` if it is no JSON."""
    body = {
        "destinations": [destination(options, audience) for audience in audiences],
        "audienceMembers": list(members),
        "encoding": "HEX",
    }
    return _request("/v1/audienceMembers:remove", body, token, options)


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """Everybody out of the audiences."""
    if instructions[0].verb not in ORDERS.verbs:
        return untaken(instructions)
    if not options.audience_ids:
        return unconfigured(instructions, "audience_ids")
    rows = [(n, row) for n, one in enumerate(instructions) for row in rows_of(one.person)]

    async def attempt(token: str) -> Attempted:
        steps: list[Step | Known] = []
        for start in range(0, len(options.audience_ids), MOST_DESTINATIONS):
            some = options.audience_ids[start : start + MOST_DESTINATIONS]

            def request_of(
                members: Sequence[dict[str, Any]], some: tuple[str, ...] = some
            ) -> Request:
                return order_request(members, some, token, options)

            steps += rows_in(rows, MOST_MEMBERS, request_of, outcomes_of)
        return await follow(client, len(instructions), steps, last_look)

    if not rows:
        return await follow(client, len(instructions), (), last_look)
    return await google.with_token(client, options.access(), len(instructions), attempt)


async def read_back(
    client: OutboundClient, instruction: Instruction, options: Options, ref: str
) -> Reading:
    """The state of the requests that the order made."""
    if not ref:
        return await read_all(client, ())
    try:
        token = await google.token_for(client, options.access())
    except google.NoToken as reason:
        return Reading(Found.UNKNOWN, detail=str(reason))
    header = ("Authorization", f"Bearer {token}")
    base = at(options.base_url, "/v1/requestStatus:retrieve?requestId=")
    return await read_all(
        client,
        [
            Question(Request("GET", base + quote(number, safe=""), (header,), b""), read)
            for number in ref.split()
        ],
    )


_STATES = {
    "SUCCESS": Found.EQUAL,
    "PROCESSING": Found.PENDING,
    "FAILED": Found.DIFFERENT,
    "PARTIAL_SUCCESS": Found.DIFFERENT,
}
_FIRST = (Found.DIFFERENT, Found.UNKNOWN, Found.PENDING, Found.EQUAL)


def read(response: Response) -> Reading:
    """The worst state of all audiences of a request, with Google's reasons."""
    if response.status != 200:
        return Reading(Found.UNKNOWN, detail=f"HTTP {response.status}")
    states = objects(object_of(response).get("requestStatusPerDestination"))
    found = [_STATES.get(str(state.get("requestStatus")), Found.UNKNOWN) for state in states]
    worst = min(found, key=_FIRST.index, default=Found.UNKNOWN)
    reasons = sorted({reason for state in states for reason in _reasons(state)})
    detail = f"the request is {worst}" + (f": {', '.join(reasons)}" if reasons else "")
    return Reading(worst, Grade.JOB_DONE, detail)


def _reasons(state: Mapping[str, Any]) -> Iterator[str]:
    info = state.get("errorInfo")
    for count in objects(info.get("errorCounts")) if isinstance(info, dict) else []:
        reason = str(count.get("reason"))
        if reason.replace("_", "").isalnum():
            yield reason[:80]
