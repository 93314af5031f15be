"""The story of a changed configuration: what it changes goes on record before it holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import msgspec

from consentry.core.policy import Policy
from consentry.flow.records import config_record, workspace_node
from consentry.flow.world import World
from consentry.ports import Commit


async def take_policy(world: World, policy: Policy) -> bool:
    """Put a policy into force; True when it differs from the last one on record.

    Raises StoreError when the change cannot be recorded; then the old policy stays in force.
    """
    before = last_policy(world, policy)
    policy_id = await world.store.policy_id(policy)
    differs = before is None or before.version != policy.version
    if differs:
        evidence = {
            "policyVersion": policy.version,
            "previousVersion": None if before is None else before.version,
            "changes": changes(before, policy),
        }
        await world.store.commit(Commit(records=(config_record(world, evidence),)))
    world.policy, world.policy_id = policy, policy_id
    return differs


def last_policy(world: World, policy: Policy) -> Policy | None:
    """The policy of the latest configuration record."""
    found = world.store.records_of([workspace_node(policy)], limit=1)
    if not found:
        return None
    version = found[0].record.evidence.get("policyVersion")
    policy_id = 0
    while (known := world.store.policy(policy_id)) is not None or policy_id == 0:
        if known is not None and known.version == version:
            return known
        policy_id += 1
    return None


def changes(before: Policy | None, after: Policy) -> list[dict[str, Any]]:
    """What differs, as ``{"what", "id", "before", "after"}``; an absent side is None."""
    found: list[dict[str, Any]] = []
    pairs = (
        ("category", "id", () if before is None else before.categories, after.categories),
        ("destination", "name", () if before is None else before.mappings, after.mappings),
        ("topic", "id", () if before is None else before.topics, after.topics),
    )
    for what, key, old, new in pairs:
        found += _differences(what, key, old, new)
    old_settings = None if before is None else _plain(before.settings)
    if old_settings != _plain(after.settings):
        found.append(
            {
                "what": "settings",
                "id": "",
                "before": old_settings,
                "after": _plain(after.settings),
            }
        )
    return found


def _differences(
    what: str, key: str, old: Iterable[Any], new: Iterable[Any]
) -> list[dict[str, Any]]:
    then = {getattr(one, key): _plain(one) for one in old}
    now = {getattr(one, key): _plain(one) for one in new}
    return [
        {"what": what, "id": name, "before": then.get(name), "after": now.get(name)}
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(asdict(value))
