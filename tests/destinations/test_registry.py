"""The registry: every kind, connected lazily, and nothing loaded that is not used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consentry.core.delivery import Grade
from consentry.core.order import AFTER, Verb
from consentry.destinations.instruction import Found, Person
from consentry.destinations.registry import KINDS
from consentry.destinations.spec import ALL_EVENTS
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret
from tests.destinations.instructions import instruction
from tests.destinations.messages import track
from tests.destinations.service_account import service_account

# The least that each kind needs, pointing at a port where nobody listens.
NOWHERE = "http://127.0.0.1:1"
LEAST: dict[str, dict[str, Any]] = {
    "webhook": {"url": "http://127.0.0.1:1/", "secret": ["s"]},
    "segment": {"write_key": ["k"], "base_url": "http://127.0.0.1:1"},
    "rudderstack": {"write_key": ["k"], "base_url": "http://127.0.0.1:1"},
    "ga4": {"api_secret": ["s"], "measurement_id": "G-1", "base_url": "http://127.0.0.1:1"},
    "amplitude": {"api_key": ["k"], "base_url": NOWHERE, "privacy_url": NOWHERE},
    "mixpanel": {"token": ["k"], "base_url": NOWHERE, "app_url": NOWHERE},
    "meta": {"dataset_id": "1", "access_token": ["k"], "base_url": NOWHERE},
    "tiktok": {"event_source_id": "1", "access_token": ["k"], "base_url": NOWHERE},
    "posthog": {"api_key": ["k"], "base_url": NOWHERE, "app_url": NOWHERE},
    "twilio": {
        "account_sid": "AC" + "0" * 32,
        "auth_token": ["t"],
        "sender_id": "MG" + "0" * 32,
        "base_url": NOWHERE,
    },
    "datamanager": {
        "account_id": "1",
        "conversion_id": "2",
        "service_account": [service_account()],
        "token_url": NOWHERE,
    },
    "postgres": {"url": ["postgresql://u:p@127.0.0.1:1/d"], "allow_private_host": True},
    "parquet": {"path": "/dev/null/events"},
    "console": {},
    "braze": {"api_key": ["k"], "base_url": "http://127.0.0.1:1"},
    "klaviyo": {"api_key": ["k"], "base_url": "http://127.0.0.1:1"},
    "sendgrid": {"api_key": ["k"], "base_url": "http://127.0.0.1:1"},
    "customerio": {"site_id": "s", "api_key": ["k"], "base_url": "http://127.0.0.1:1"},
    "hubspot": {"access_token": ["t"], "portal_id": "1", "base_url": "http://127.0.0.1:1"},
    "mailchimp": {"api_key": ["k"], "audience": "A", "base_url": "http://127.0.0.1:1"},
}


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


def options_of(kind: str) -> Any:
    return msgspec.convert(LEAST[kind], KINDS[kind].options, dec_hook=lambda _, text: Secret(text))


def test_every_kind_is_there_under_its_own_name() -> None:
    assert set(KINDS) == set(LEAST)
    for name, kind in KINDS.items():
        assert kind.spec.kind == name
        assert kind.spec.proves.endswith(".")
        assert kind.spec.batch_max >= 1
        assert kind.spec.batch_bytes >= 1
        assert kind.spec.events <= ALL_EVENTS


FOUND = {
    "webhook": Grade.FAILED_RETRY,
    "segment": Grade.FAILED_RETRY,
    "rudderstack": Grade.FAILED_RETRY,
    "ga4": Grade.FAILED_FINAL,  # the event is too old for it
    "amplitude": Grade.FAILED_RETRY,
    "mixpanel": Grade.FAILED_RETRY,
    "meta": Grade.FAILED_FINAL,  # the event is too old for it
    "tiktok": Grade.FAILED_RETRY,
    "datamanager": Grade.FAILED_RETRY,
    "posthog": Grade.FAILED_RETRY,
    "twilio": Grade.FAILED_FINAL,  # it takes no events
    "postgres": Grade.FAILED_RETRY,
    "parquet": Grade.FAILED_FINAL,
    "console": Grade.SENT_UNVERIFIABLE,
    "braze": Grade.FAILED_RETRY,
    "klaviyo": Grade.FAILED_RETRY,
    "sendgrid": Grade.FAILED_FINAL,  # it takes no events
    "customerio": Grade.FAILED_FINAL,
    "hubspot": Grade.FAILED_FINAL,  # the event names no address
    "mailchimp": Grade.FAILED_FINAL,
}


@pytest.mark.parametrize("kind", LEAST)
async def test_connecting_opens_nothing_and_an_attempt_never_raises_for_the_world(
    kind: str, client: OutboundClient
) -> None:
    connected = KINDS[kind].connect(options_of(kind), client)
    assert connected.spec.kind == kind
    attempted = await connected.send([track("m", made=-30 * 86_400)], None)
    assert [outcome.grade for outcome in attempted.outcomes] == [FOUND[kind]]
    await connected.close()


@pytest.mark.parametrize("kind", LEAST)
def test_what_a_kind_says_of_its_orders_can_be_kept(kind: str) -> None:
    orders = KINDS[kind].orders
    if orders is None:
        assert KINDS[kind].hear is None
        return
    assert orders.verbs
    assert Verb.GATE not in orders.verbs  # that one is ours
    assert orders.needs
    assert orders.needs <= set(Person.__dataclass_fields__)
    assert orders.cannot.endswith(".")
    assert orders.batch_max >= 1
    assert orders.hears == (KINDS[kind].hear is not None)


@pytest.mark.parametrize("kind", LEAST)
@pytest.mark.parametrize("verb", [Verb.SUPPRESS, Verb.ERASE, Verb.GRANT])
async def test_an_order_never_raises_for_the_world_and_is_gated_where_none_is_taken(
    kind: str, verb: Verb, client: OutboundClient
) -> None:
    connected = KINDS[kind].connect(options_of(kind), client)
    attempted = await connected.obey([instruction(verb)], None)
    reading = await connected.read_back(instruction(verb), "")
    await connected.close()

    (outcome,) = attempted.outcomes
    assert outcome.grade in AFTER
    if KINDS[kind].orders is None:
        assert outcome.grade is Grade.GATED
        assert attempted.request_digest is None
    assert reading.found is Found.UNKNOWN


@pytest.mark.parametrize("kind", LEAST)
def test_an_unknown_option_is_refused(kind: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(
            {**LEAST[kind], "unknown": 1},
            KINDS[kind].options,
            dec_hook=lambda _, text: Secret(text),
        )


def run(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return done.stdout.strip()


def test_loading_the_registry_loads_no_client_and_no_driver() -> None:
    heavy = "('aiohttp', 'asyncpg', 'pyarrow')"
    print_loaded = f"print(*[name for name in {heavy} if name in sys.modules])"
    assert run(f"import sys, consentry.destinations.registry; {print_loaded}") == ""


@pytest.mark.parametrize(("kind", "package"), [("postgres", "asyncpg"), ("parquet", "pyarrow")])
def test_a_missing_extra_is_named_when_connecting(kind: str, package: str) -> None:
    said = run(
        f"import sys; sys.modules[{package!r}] = None\n"  # how Python itself marks it as absent
        "from consentry.destinations.registry import KINDS, ExtraMissing\n"
        f"try: KINDS[{kind!r}].connect(None, None)\n"
        "except ExtraMissing as missing: print(missing)"
    )
    assert said.endswith(f"needs {package}: install consentry[{kind}]")
