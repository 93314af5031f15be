"""Twilio: who may be sent text messages, in both directions.

Sources: twilio-oai (twilio_accounts_v1), twilio.com/docs/messaging/features/consent-api and
bulk-upsert-consents-api; the signature as twilio's own SDK checks it (request_validator.py).

A 201 answers a request whose rows may all have failed: each row has a code of its own. Twilio's
words are opt-in and opt-out. An opt-in lifts an earlier STOP, so nobody is opted in because a
data category was granted again: only a topic that they chose does that. Somebody who answers STOP is heard through the webhook of incoming
messages; Twilio stops by itself, and the other systems hear of it from here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import named
from consentry.destinations.batches import object_of, rows_each, unreadable, untaken
from consentry.destinations.common import at, basic
from consentry.destinations.http import Unsendable, json_body, outcome_of_status, unsent
from consentry.destinations.inbound import header, objects, phone_node, prove_any
from consentry.destinations.instruction import Heard, InboundCall, Instruction, Orders, Unproven
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.options import check_base_url, check_secrets
from consentry.destinations.spec import Spec
from consentry.destinations.steps import follow
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="twilio",
    title="Twilio (consent for text messages)",
    batch_max=1,
    batch_bytes=64 * 1024,
    events=frozenset(),
    proves="It takes no events; what it answers to an order is said for each number.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs={Verb.SUPPRESS: Grade.ACCEPTED, Verb.GRANT: Grade.ACCEPTED},
    needs=frozenset({"phones"}),
    cannot=(
        "Consent is kept for a sender as a whole and cannot be read back: have one destination "
        "for each. A grant of a data category opts nobody in. The API is a pilot that Twilio "
        "opens on request."
    ),
    channels=frozenset({"sms"}),
    batch_max=25,
    hears=True,
)
MOST_ITEMS = 25  # of one request; 100 requests a minute
STATUS = {Verb.SUPPRESS: "opt-out", Verb.GRANT: "opt-in"}
_NUMBER = re.compile(r"\+[1-9][0-9]{1,14}")
_SID = re.compile(r"AC[0-9a-f]{32}")


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose account, and for which sender consent is kept.

    ``account_sid``: ``AC…``. ``auth_token``: the account's; the first is used to send, each may
    have signed what Twilio sends us. ``sender_id``: a messaging service (``MG…``) or a number.
    ``base_url``: the accounts API.
    """

    account_sid: str
    auth_token: tuple[Secret, ...]
    sender_id: str
    base_url: str = "https://accounts.twilio.com"

    def __post_init__(self) -> None:
        check_secrets("auth_token", self.auth_token)
        check_base_url(self.base_url)
        if not _SID.fullmatch(self.account_sid):
            raise ValueError("account_sid: must be AC and 32 digits of hex")
        if not self.sender_id.strip():
            raise ValueError("sender_id: must not be empty")


async def send(
    client: OutboundClient,
    messages: Sequence[Message],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """Takes no events, so none is sent."""
    return unsent(Unsendable("Twilio takes orders, no events"), messages)


def item_of(instruction: Instruction, number: str, options: Options) -> dict[str, str]:
    """What is said of one number. The correlation id is that of every attempt."""
    granted = instruction.verb is Verb.GRANT
    told = f"{instruction.order_id}\n{number}".encode("utf-8", "surrogatepass")
    return {
        "contact_id": number,
        "correlation_id": hashlib.sha256(told).hexdigest()[:32],
        "sender_id": options.sender_id,
        "status": STATUS[instruction.verb],
        "source": "others",  # where a choice was made, the record says
        # A denial counts from when it was received; a sender's clock may be behind an older yes.
        "date_of_consent": (granted and instruction.made_at) or instruction.received_at,
    }


def order_request(items: Sequence[Mapping[str, str]], options: Options) -> Request:
    """One request for 1 to 25 numbers. Raises `Unsendable` if it is no JSON."""
    form = [("Items", json_body(dict(item)).decode()) for item in items]
    headers = (
        basic(options.account_sid, options.auth_token[0].reveal()),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept", "application/json"),
    )
    url = at(options.base_url, "/v1/Consents/Bulk")
    return Request("POST", url, headers, urlencode(form).encode())


def order_outcome(response: Response, correlation_id: str) -> Outcome:
    """What became of one number: a 201 says that the request was read, its row says the rest."""
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is not Grade.ACCEPTED:
        return usual
    for item in objects(object_of(response).get("items")):
        if item.get("correlation_id") != correlation_id:
            continue
        code = item.get("error_code")
        if code == 0 and not isinstance(code, bool):
            return Outcome(Grade.ACCEPTED, response.status, "consent taken")
        # INTERNAL_SERVER_ERROR is among the reasons of 30646, and that one passes.
        passing = "INTERNAL" in str(item.get("error_messages"))
        grade = Grade.FAILED_RETRY if passing else Grade.FAILED_FINAL
        known = code if isinstance(code, int) else "unknown"
        return Outcome(grade, response.status, f"the row failed: error {known}")
    return unreadable(response)


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """A row for every number; the worst of a person's numbers counts."""
    first = instructions[0]  # they share verb, whole and topics
    texts = first.whole or any(channel == "sms" for _, channel in first.topics)
    if first.verb not in ORDERS.verbs or not texts:
        return untaken(instructions)
    if first.verb is Verb.GRANT and first.whole:
        kept = Outcome(Grade.GATED, detail="nobody is opted in who may have answered STOP")
        return Attempted((kept,) * len(instructions))
    steps = rows_each(
        list(rows_of(instructions, options)),
        MOST_ITEMS,
        lambda items: order_request(items, options),
        lambda response, item: order_outcome(response, item["correlation_id"]),
    )
    return await follow(client, len(instructions), steps, last_look)


def rows_of(
    instructions: Sequence[Instruction], options: Options
) -> Iterator[tuple[int, dict[str, str]]]:
    """(place, what is said) of every number that is one."""
    for place, instruction in enumerate(instructions):
        for number in instruction.person.phones:
            if digits := named.e164(number):
                yield place, item_of(instruction, digits, options)


# What people answer. Words: twilio.com/docs/messaging/tutorials/advanced-opt-out.
STOP = frozenset({"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"})
START = frozenset({"START", "UNSTOP", "YES"})


def hear(call: InboundCall, options: Options) -> tuple[Heard, ...]:
    """What an incoming message says of its sender's consent; nothing for any other message.

    Raises `Unproven` unless the account's token signed the address and every parameter. The
    scheme states no time; the number of the message makes a repetition the same one.
    """
    try:
        form = parse_qs(call.body.decode(), keep_blank_values=True, max_num_fields=1000)
    except (UnicodeDecodeError, ValueError):
        raise Unproven("the body is no form") from None
    _prove(call, form, options)
    if _one(form, "AccountSid") != options.account_sid:
        raise Unproven("it is about another account")
    said = _said(_one(form, "OptOutType"), _one(form, "Body"))
    sender, number = _one(form, "From"), _one(form, "MessageSid")
    node = phone_node(sender) if _NUMBER.fullmatch(sender) else None  # no whatsapp:+…
    if said is None or node is None or not number:
        return ()
    return (Heard(node, said in STOP, said, f"twilio:{number}", channels=("sms",)),)


def _said(opt_out_type: str, body: str) -> str | None:
    """Twilio's own reading where the service has Advanced Opt-Out, else the word itself."""
    word = (opt_out_type or body).strip().upper()
    return word if word in STOP or word in START else None


def _one(form: Mapping[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0]


def _prove(call: InboundCall, form: Mapping[str, list[str]], options: Options) -> None:
    """HMAC-SHA1 with the token over the address and the sorted parameters, in base64.

    With or without the port: which of the two Twilio signs is not always the same.
    """
    settings = call.headers.get("x-twilio-webhooks-signature-settings", "")
    if "HMAC_SHA256" in settings.upper():  # signed with a shared key, which is no option here
        raise Unproven("it is signed with another key than the account's token")
    given = header(call, "x-twilio-signature")
    parameters = "".join(name + value for name in sorted(form) for value in sorted(set(form[name])))
    prove_any(
        given,
        [
            _signature(token, url + parameters)
            for token in options.auth_token
            for url in _spellings(call.url)
        ],
    )


def _signature(token: Secret, signed: str) -> str:
    key = token.reveal().encode("utf-8", "surrogatepass")
    mac = hmac.new(key, signed.encode("utf-8", "surrogatepass"), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode()


def _spellings(url: str) -> tuple[str, ...]:
    """The address as it is, without its port, and with the port of its scheme."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return (url,)
    usual = 443 if parts.scheme == "https" else 80
    spelled = (host, f"{host}:{port or usual}")
    return (url, *(urlunsplit(parts._replace(netloc=one)) for one in spelled))
