"""What works, and what the owner of a configuration should know before it runs."""

from __future__ import annotations

from consentry.config.parts import Workspace
from consentry.config.problem import Notes
from consentry.config.values import Enforcement, Source, Tag
from consentry.core.policy import AccountChoices, Policy, Settings, StampRule, Unmapped, Unstamped


def warn_of_loose_settings(notes: Notes, workspace: Workspace) -> None:
    """Each setting that lets through what the strict profile withholds."""
    loose = _loose(workspace.settings)
    if workspace.enforcement is Enforcement.SEGMENT and loose:
        notes.warning(
            ("workspace", "enforcement"),
            f"the segment profile lets through: {'; '.join(loose.values())}. "
            f"Tighten these keys one by one: {', '.join(loose)}",
        )
    elif loose:
        for key, consequence in loose.items():
            notes.warning(("workspace", key), f"looser than the strict profile: {consequence}")


def _loose(settings: Settings) -> dict[str, str]:
    found = {}
    if settings.unstamped is Unstamped.ALLOW:
        found["unstamped"] = "events that say nothing of consent go to every destination"
    if settings.unmapped is Unmapped.ALLOW:
        found["unmapped"] = "destinations without a category receive every event"
    if settings.stamp is StampRule.ALONE:
        found["stamp"] = (
            "earlier refusals on record do not stop an event whose consent object grants"
        )
    if settings.account_choices is AccountChoices.AS_GIVEN:
        found["account_choices"] = "whoever knows a public key can grant for any account"
    return found


def warn_of_mappings(notes: Notes, policy: Policy, tags: tuple[Tag, ...]) -> None:
    """Destinations that need no category, and categories that nothing needs."""
    enabled = {category.id for category in policy.categories if category.enabled}
    for index, mapping in enumerate(policy.mappings):
        mapped = any(category in enabled for category in mapping.categories)
        if mapped and mapping.exempt:
            notes.warning(
                ("destination", index, "exempt"),
                "has no effect while an enabled category is mapped: remove one or the other",
            )
        elif not mapped and not mapping.exempt:
            withheld = policy.settings.unmapped is Unmapped.WITHHOLD
            effect = "nothing is sent to it" if withheld else "everything is sent to it"
            notes.warning(
                ("destination", index, "categories"),
                f"no enabled category is mapped, so {effect}: map one, or say in exempt why it "
                "needs none",
            )
    needed = {c for mapping in policy.mappings for c in mapping.categories}
    needed.update(c for tag in tags for c in tag.categories)
    for index, category in enumerate(policy.categories):
        if category.enabled and not category.essential and category.id not in needed:
            notes.warning(
                ("category", index),
                "people are asked for it and nothing needs it: map it to a destination or a tag, "
                "or remove it",
            )


def warn_of_emptiness(notes: Notes, sources: tuple[Source, ...], policy: Policy) -> None:
    """A configuration that can do nothing."""
    if not sources:
        notes.warning((), "there is no [[source]], so no event is accepted: add one")
    if not policy.mappings:
        notes.warning((), "there is no [[destination]], so nothing is sent anywhere: add one")
