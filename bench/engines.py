"""casbin and Cedar deciding where an event may go; run by a venv of their own (see peers.py).

    python -m bench.engines QUESTION.json

First prints, by engine, the destinations that each event may go to, so that whoever asks can see
that all agree. Then, for every line read, CPU microseconds for one event, by engine. Parsing of
policies is not counted: both hold them parsed, as they would in a service.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

Engine = Callable[[list[str]], list[str]]
MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = obj, act, needs
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.obj == p.obj && r.act == p.act && holds(r.sub, p.needs)
"""
EVENTS_PER_ROUND = {"casbin": 12, "cedar": 12}


def casbin_engine(needs: dict[str, list[str]]) -> Engine:
    """A policy line for each destination; the request carries what is granted."""
    import casbin  # type: ignore[import-not-found]

    model = casbin.Model()
    model.load_model_from_text(MODEL)
    enforcer = casbin.Enforcer(model)
    for name, categories in needs.items():
        enforcer.add_policy(name, "send", "|".join(categories))
    enforcer.add_function("holds", lambda sub, wanted: sub.granted.issuperset(wanted.split("|")))

    class Subject:
        def __init__(self, granted: list[str]) -> None:
            self.granted = frozenset(granted)

    def decide(granted: list[str]) -> list[str]:
        subject = Subject(granted)
        return [name for name in needs if enforcer.enforce(subject, name, "send")]

    return decide


def cedar_engine(needs: dict[str, list[str]]) -> Engine:
    """A permit for each destination, all destinations asked in one batch over a parsed policy set."""
    import cedarpy  # type: ignore[import-not-found]

    policies = cedarpy.PolicySet.from_str(
        "\n".join(
            f'permit(principal, action == Action::"send", resource == Destination::"{name}") '
            f"when {{ context.granted.containsAll({json.dumps(categories)}) }};"
            for name, categories in needs.items()
        )
    )
    nobody = cedarpy.Entities.from_json_str("[]")

    def decide(granted: list[str]) -> list[str]:
        requests = [
            {
                "principal": 'Person::"p"',
                "action": 'Action::"send"',
                "resource": f'Destination::"{name}"',
                "context": {"granted": granted},
            }
            for name in needs
        ]
        found = cedarpy.is_authorized_batch(requests, policies, nobody)
        return [name for name, one in zip(needs, found, strict=True) if one.allowed]

    return decide


def main() -> None:
    question = json.loads(Path(sys.argv[1]).read_text())
    needs, events = question["needs"], question["granted"]
    engines = {"casbin": casbin_engine(needs), "cedar": cedar_engine(needs)}
    answers = {name: [decide(granted) for granted in events] for name, decide in engines.items()}
    print(json.dumps(answers), flush=True)
    for _ in sys.stdin:
        taken = {}
        for name, decide in engines.items():
            part = events[: EVENTS_PER_ROUND[name]]
            began = time.process_time()
            for granted in part:
                decide(granted)
            taken[name] = (time.process_time() - began) / len(part) * 1e6
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
