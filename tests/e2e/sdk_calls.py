"""What the server-side SDKs are made to send: one table for all of them.

A case is one call and the destinations that may have it. People are named per test, so that
no case meets the records of another. The library's own members are left to the library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.e2e.sdk_world import ADVERTISING, ANALYTICS, BOTH, NOTHING

UPDATE = "Segment Consent Preference Updated"


@dataclass(frozen=True)
class Case:
    """One call: its type, its members, and where the event may go."""

    name: str
    message: dict[str, Any]
    expected: frozenset[str]


def segment_form(**preferences: bool) -> dict[str, Any]:
    """A context with Segment's consent object."""
    return {"consent": {"categoryPreferences": preferences}}


def rudder_form(*allowed: str, denied: tuple[str, ...] = ()) -> dict[str, Any]:
    """A context with RudderStack's consent object."""
    return {
        "consentManagement": {
            "provider": "custom",
            "resolutionStrategy": "or",
            "allowedConsentIds": list(allowed),
            "deniedConsentIds": list(denied),
        }
    }


YES = segment_form(analytics=True, advertising=True)
STATISTICS = segment_form(analytics=True, advertising=False)
ADS = segment_form(analytics=False, advertising=True)
NO = segment_form(analytics=False, advertising=False)


def _case(
    name: str, type_: str, expected: frozenset[str], context: Any = None, /, **more: Any
) -> Case:
    message = {"type": type_, "userId": f"@{name}", **more}
    if context is not None:
        message["context"] = context
    return Case(name, message, expected)


def _track(name: str, expected: frozenset[str], context: Any = None, /, **more: Any) -> Case:
    return _case(name, "track", expected, context, event=name, **more)


EVERY_TYPE = (
    _case("identify", "identify", BOTH, YES, traits={"plan": "pro"}),
    _case("page", "page", ANALYTICS, STATISTICS, name="Home", properties={"path": "/"}),
    _case("screen", "screen", ADVERTISING, ADS, name="Start", properties={"n": 1}),
    _case("group", "group", NOTHING, NO, groupId="g1", traits={"seats": 3}),
    _case("alias", "alias", ANALYTICS, STATISTICS, previousId="@alias-before"),
    _track("track", BOTH, YES, properties={"price": 9.5, "title": "Tee \u2615"}),
)
STAMPS = (
    _track("unstamped", NOTHING),
    _track("empty_stamp", NOTHING, segment_form()),
    _track("one_missing", ANALYTICS, segment_form(analytics=True)),
    _track("unknown_category", NOTHING, segment_form(telepathy=True)),
    _track("draft_form", ADVERTISING, {"consentCategories": {"advertising": True}}),
    _track("two_forms_disagree", ANALYTICS, YES | rudder_form("analytics")),
    _track("rudder_form", BOTH, rudder_form("analytics", "advertising")),
    _track(
        "rudder_form_denied_wins",
        ADVERTISING,
        rudder_form("analytics", "advertising", denied=("analytics",)),
    ),
    _track("rudder_form_empty", NOTHING, rudder_form()),
    _track("narrowed", BOTH - {"ads"}, YES, integrations={"ads": False}),
    _track(
        "all_but_one", frozenset({"warehouse"}), YES, integrations={"All": False, "warehouse": True}
    ),
    _track("true_lifts_nothing", NOTHING, NO, integrations={"ads": True}),
)
CHOICES = (
    _track("choice", ANALYTICS | {"crm"}, STATISTICS, userId="@chooser"),
    _track("after_choice", ANALYTICS, userId="@chooser"),
    _track("stamp_against_record", ANALYTICS, YES, userId="@chooser"),
    _case(
        "identify_after_choice",
        "identify",
        ANALYTICS,
        None,
        userId="@chooser",
        anonymousId="@device",
    ),
    _track("device_of_the_refuser", ANALYTICS, YES, userId=None, anonymousId="@device"),
)
APART = (*EVERY_TYPE, *STAMPS)
CASES = (*APART, *CHOICES)


def calls(cases: tuple[Case, ...], person: str) -> list[dict[str, Any]]:
    """The messages, numbered, with people of this test in the place of ``@``."""
    made = json.loads(json.dumps([c.message for c in cases]).replace('"@', f'"{person}-'))
    for n, (case, message) in enumerate(zip(cases, made, strict=True)):
        message.setdefault("context", {})["case"] = n
        if case.name == "choice":
            message["event"] = UPDATE
    return [{k: v for k, v in m.items() if v is not None} for m in made]


def expected(cases: tuple[Case, ...]) -> list[frozenset[str]]:
    """Where each of the messages may go, in the same order."""
    return [case.expected for case in cases]
