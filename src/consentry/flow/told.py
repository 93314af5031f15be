"""What an event says of consent where it is handed over: never more than holds.

A receiver acts on the consent object that it is handed, so that object is narrowed to what holds
at this moment, in every form in which it stands. Nothing is ever added to what was said.
"""

from __future__ import annotations

from typing import Any

from consentry.core.decision import Question, granted
from consentry.core.policy import Policy
from consentry.core.preference import Standing


def holding(policy: Policy, question: Question, standing: Standing) -> dict[str, bool]:
    """What may be said of an event's consent, per category of the workspace."""
    # Those that are turned off too: the receiver may still act on them.
    return policy.bits.read(granted(policy, question, standing), policy.named)


def shared_choice(body: dict[str, Any], consent: dict[str, bool]) -> dict[str, Any]:
    """Nothing but ids, time and the effective preferences (spec/enforcement.md, D3)."""
    kept = ("type", "event", "messageId", "anonymousId", "userId", "timestamp", "receivedAt")
    shared = {name: body[name] for name in kept if name in body}
    return {**shared, "context": {"consent": {"categoryPreferences": consent}}}


def stamped(body: dict[str, Any], consent: dict[str, bool]) -> dict[str, Any]:
    """An event that said nothing of consent carries what was decided for it."""
    context = body.get("context") or {}
    return {**body, "context": {**context, "consent": {"categoryPreferences": consent}}}


def narrowed(body: dict[str, Any], consent: dict[str, bool]) -> dict[str, Any]:
    """A stamped event says what it said, less what has been withdrawn since."""
    context = body["context"]
    stated: dict[str, bool] = context["consent"]["categoryPreferences"]
    told = {c: granted and consent.get(c, granted) for c, granted in stated.items()}
    own = {**context["consent"], "categoryPreferences": told}
    fewer = {**context, "consent": own}
    # The other forms say the same in other words, and their readers act on those.
    draft = context.get("consentCategories")
    if draft is not None:
        fewer["consentCategories"] = {c: yes and told.get(c, False) for c, yes in draft.items()}
    if context.get("consentManagement") is not None:
        fewer["consentManagement"] = _narrowed_lists(context["consentManagement"], told)
    return {**body, "context": fewer}


def _narrowed_lists(management: dict[str, Any], told: dict[str, bool]) -> dict[str, Any]:
    """RudderStack's form: its server reads the denied ids alone."""
    allowed = management.get("allowedConsentIds", [])
    denied = management.get("deniedConsentIds", [])
    withdrawn = [c for c, granted in told.items() if not granted and c not in denied]
    return {
        **management,
        "allowedConsentIds": [c for c in allowed if told.get(c, False)],
        "deniedConsentIds": [*denied, *withdrawn],
    }
