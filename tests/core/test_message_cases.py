"""Every case of spec/message-cases.json: topics, channels, and what is transactional."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consentry.core.decision import Decision, Question, decide_message
from consentry.core.moment import SECOND
from consentry.core.policy import Category, Policy, Topic, channel_key, topic_key
from consentry.core.preference import stand
from consentry.core.record import Account, Fact, FactKind, History

SPEC = Path(__file__).parents[2] / "spec" / "message-cases.json"
DOCUMENT = json.loads(SPEC.read_text())
CASES: list[dict[str, Any]] = DOCUMENT["cases"]
NOW = 60 * SECOND


def policy_of(case: dict[str, Any]) -> Policy:
    why = case.get("transactional", DOCUMENT["transactional"])
    topics = (
        Topic(name, name.title(), tuple(channels), why.get(name))
        for name, channels in DOCUMENT["topics"].items()
    )
    return Policy("Acme", categories=(Category("analytics"),), topics=tuple(topics))


def fact_of(said: dict[str, Any], record_id: str) -> Fact:
    def keys(member: str) -> list[str]:
        return [topic_key(*text.split(":")) for text in said.get(member, ())]

    return Fact(
        FactKind(said.get("kind", "choice")),
        record_id,
        said["at"] * SECOND,
        said.get("made", said["at"]) * SECOND,
        tuple(keys("granted")),
        (*keys("refused"), *map(channel_key, said.get("channels", ()))),
        proven=said.get("proven", True),
    )


def decide_case(case: dict[str, Any], topic: str, channel: str) -> Decision:
    of: dict[str, list[Fact]] = {}
    for n, said in enumerate(case["recorded"]):
        of.setdefault(said["of"], []).append(fact_of(said, f"rec_{n}"))
    account = Account("u1", {"u1": tuple(of["account"])}) if "account" in of else None
    other = Account("u2", {"u2": tuple(of.get("other_account", ()))})
    history = History(
        device=tuple(of.get("device", ())),
        account=account,
        others=(other,) if "other_account" in of else (),
        siblings=(tuple(of["sibling"]),) if "sibling" in of else (),
        contacts=(tuple(of["email"]),) if "email" in of and len(of) > 1 else (),
        contact=tuple(of["email"]) if "email" in of and len(of) == 1 else None,
    )
    policy = policy_of(case)
    return decide_message(policy, Question(NOW, NOW), stand(history, policy, NOW), topic, channel)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case: dict[str, Any]) -> None:
    for asked, (word, reason, why) in case["asked"].items():
        decided = decide_case(case, *asked.split(":"))
        assert ("allow" if decided.allow else "withhold", decided.reason) == (word, reason), asked
        assert [v.why for v in decided.verdicts] == ([] if reason == "suppressed" else [why]), asked
        if reason == "exempt":
            told = {"transactional": DOCUMENT["transactional"][asked.split(":")[0]]}
            assert [ground.as_json() for ground in decided.grounds] == [told]


def test_every_case_is_named_once_and_asks_something() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    assert all(case["asked"] for case in CASES)
