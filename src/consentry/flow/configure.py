"""The story of a changed configuration: what it changes goes on record before it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import msgspec

from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.core.record import Node
from consentry.flow.notices import Notices
from consentry.flow.records import config_record, workspace_node
from consentry.flow.world import World
from consentry.ledger.entry import LedgerRecord, Record
from consentry.notice import Notice, as_told, history_of, told_by
from consentry.notice.edition import History, Told, read_told
from consentry.notice.values import PageTag
from consentry.ports import Commit, Store


class ReadsRecords(Protocol):
    """``records_of`` of ``ports.Store``."""

    def records_of(
        self, nodes: Iterable[Node], before: int | None = None, limit: int = 100
    ) -> Sequence[LedgerRecord]: ...


async def take_policy(world: World, policy: Policy, notices: Notices | None = None) -> bool:
    """Put a policy into force, with what people are shown; True when it differs from the last one
    on record.

    Raises StoreError when the change cannot be recorded; then the old policy stays in force.
    """
    before, now = last_policy(world, policy), world.clock.now()
    differs = False
    history = History()
    if notices is not None:
        told = told_in(world.store, policy)
        differs = not told or told[-1][1] != notices.told
        history = history_of([*told, (now, notices.told)] if differs else told)
        policy = as_told(policy, history)
        world.telling = history
    try:
        return await _take(world, before, policy, notices, history, now, differs)
    finally:
        world.telling = None


async def _take(
    world: World,
    before: Policy | None,
    policy: Policy,
    notices: Notices | None,
    history: History,
    now: Moment,
    differs: bool,
) -> bool:
    differs = differs or before is None or before.version != policy.version
    policy_id = await world.store.policy_id(policy)
    records: tuple[Record, ...] = ()
    if differs:
        records = (config_record(world, _evidence(before, policy, notices), now),)
    texts = () if notices is None else notices.unarchived(world.store)
    if records or texts:
        await world.store.commit(Commit(records=records, notices=texts))
    world.policy, world.policy_id = policy, policy_id
    if notices is not None:
        world.notices = notices.after(history)
    return differs


def _evidence(before: Policy | None, policy: Policy, notices: Notices | None) -> dict[str, Any]:
    evidence: dict[str, Any] = {
        "policyVersion": policy.version,
        "previousVersion": None if before is None else before.version,
        "changes": changes(before, policy),
    }
    if notices is not None:
        evidence["notice"] = msgspec.to_builtins(notices.told)
    return evidence


def told_in(store: ReadsRecords, policy: Policy) -> list[tuple[Moment, Told]]:
    """What people were told, by every configuration on record, from the first to the last."""
    found: list[tuple[Moment, Told]] = []
    before: int | None = None
    while page := store.records_of([workspace_node(policy)], before):
        before = page[-1].seq
        for entry in page:
            told = read_told(entry.record.evidence)
            if told is not None:
                found.append((entry.record.received_at, told))
    return found[::-1]


def history_in(
    store: ReadsRecords, policy: Policy, notice: Notice, tags: Sequence[PageTag], now: Moment
) -> History:
    """What a server with this store has told people, for who decides without one.

    What is not on record yet is taken to be told now. ``as_told`` puts it into the policy.
    """
    told = told_by(notice, policy, tags, {})
    return history_of([*told_in(store, policy), (now, told)])


def last_policy(world: World, policy: Policy) -> Policy | None:
    """The policy of the latest configuration record."""
    found = world.store.records_of([workspace_node(policy)], limit=1)
    if not found:
        return None
    return _numbered(world.store).get(found[0].record.evidence.get("policyVersion"))


def policies_in(store: Store, policy: Policy) -> list[tuple[Moment, Policy]]:
    """Every policy that was put into force, with when, the first one first; ``policy`` is the
    last."""
    known = _numbered(store)
    found: list[tuple[Moment, Policy]] = []
    before: int | None = None
    while page := store.records_of([workspace_node(policy)], before):
        before = page[-1].seq
        for entry in page:
            then = known.get(entry.record.evidence.get("policyVersion"))
            if then is not None:
                found.append((entry.record.received_at, then))
    return found[::-1] or [(0, policy)]


def _numbered(store: Store) -> dict[Any, Policy]:
    """The policies that the store has numbered, by version. Numbers begin at 0 or at 1."""
    found: dict[Any, Policy] = {}
    number = 0
    while (policy := store.policy(number)) is not None or number == 0:
        if policy is not None:
            found[policy.version] = policy
        number += 1
    return found


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
