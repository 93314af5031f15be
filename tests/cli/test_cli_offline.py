"""Commands that need no server: help, init, check, explain --config, destinations --kinds."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry import __version__
from consentry.cli import COMMANDS, main
from consentry.cli.output import shown
from consentry.destinations.registry import KINDS
from tests.cli.place import Served, config_text, error_of, run

HEAVY = {"rich", "aiohttp", "apsw", "msgspec", "cryptography", "starlette", "uvicorn"}


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom consentry.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, loaded = done.stdout.splitlines()
    assert loaded.startswith("loaded: ")
    assert not HEAVY & set(loaded.split())
    for name in COMMANDS:
        assert f"  {name}" in done.stdout


def test_the_version_is_said() -> None:
    assert run("--version").stdout == f"consentry, version {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    module = importlib.import_module(f"consentry.cli.{COMMANDS[name][0]}")
    assert module.command.name == name
    assert isinstance(module.command, click.Command)


def test_every_command_but_the_running_ones_speaks_json() -> None:
    def commands(group: click.Group, path: str) -> Any:
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            if isinstance(found, click.Group):
                yield from commands(found, f"{path} {name}")
            else:
                yield f"{path} {name}".strip(), found

    without = {
        path
        for path, found in commands(main, "")
        if "--json" not in [option for param in found.params for option in param.opts]
    }
    assert without == {"serve", "demo"}


USAGE = {
    "no command": ([], 2),
    "an unknown command": (["sereve"], 2),
    "an unknown option": (["check", "--fast"], 2),
    "a subject without identifiers": (["subject", "show"], 2),
    "a retry of nothing": (["deliveries", "retry"], 2),
    "a retry of some and of all": (["deliveries", "retry", "--all", "--destination", "x"], 2),
    "a replay of nothing": (["dead-letters", "replay"], 2),
    "a bad topic": (["subject", "withdraw", "--user-id", "u", "--topic", "news"], 2),
    "a server without a scheme": (["destinations", "--server", "localhost:8000"], 2),
    "a server with a password": (["destinations", "--server", "http://a:b@localhost:8000"], 2),
    "an export without a key": (["ledger", "verify", "--export", __file__], 2),
    "a configuration that is not there": (["serve", "--config", "/nowhere/consentry.toml"], 3),
    "a missing configuration for explain": (["explain", "--config", "/nowhere/c.toml"], 3),
    "a server that is not there": (["destinations"], 4),
    "a store that is not there": (["ledger", "verify", "--store", "/nowhere/x.db"], 3),
}


@pytest.mark.parametrize(("args", "code"), USAGE.values(), ids=USAGE.keys())
def test_a_mistake_is_told_with_its_exit_code(args: list[str], code: int) -> None:
    result = run(*args, stdin="{}")
    assert result.exit_code == code
    assert result.stdout == ""
    if args:
        assert error_of(result)


# -- init and check ---------------------------------------------------------------------------


def test_init_writes_a_starter_that_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "consentry.toml"
    result = run("init", str(tmp_path))
    assert result.exit_code == 0
    assert f"consentry check {target}" in result.stdout
    first = target.read_text()
    target.write_text(first + "# mine\n")
    again = run("init", str(target))
    assert again.exit_code == 2
    assert "exists already" in error_of(again)
    assert target.read_text().endswith("# mine\n")


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    result = run("init", str(tmp_path / "missing" / "consentry.toml"))
    assert result.exit_code == 2
    assert "cannot be written" in error_of(result)


def test_check_reports_every_problem_at_once(tmp_path: Path) -> None:
    file = tmp_path / "consentry.toml"
    file.write_text(
        '[workspace]\nname = "Acme"\nenforcment = "strict"\n'
        '[[destination]]\nname = "ads"\nkind = "webhok"\ncategories = ["ads"]\n'
    )
    result = run("check", str(file))
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert any(line.startswith("error: line 3, workspace.enforcment: ") for line in lines)
    assert any(line.startswith("error: line 6, destination[0].kind: ") for line in lines)
    document = json.loads(run("check", str(file), "--json").stdout)
    assert document["ok"] is False
    assert {error["line"] for error in document["errors"]} >= {3, 6}


def test_check_passes_with_warnings(tmp_path: Path) -> None:
    file = tmp_path / "consentry.toml"
    file.write_text(config_text(tmp_path / "consentry.db"))
    result = run("check", str(file))
    assert result.exit_code == 0
    assert "warning: " in result.stdout
    assert f"{file}: no errors, " in result.stdout
    document = json.loads(run("check", str(file), "--json").stdout)
    assert document["ok"] is True
    assert document["warnings"]
    assert "admin-key-of-the-tests" not in result.output


@pytest.mark.parametrize(
    ("css", "told"),
    [
        (":root { --consentry-accent: #0b5d3b }", None),
        ("div > button:first-child { opacity: .15 }", "reaches into the notice"),
        (None, "cannot be read"),
    ],
)
def test_check_looks_at_the_theme_that_the_configuration_names(
    tmp_path: Path, css: str | None, told: str | None
) -> None:
    file = tmp_path / "consentry.toml"
    text = config_text(tmp_path / "consentry.db")
    file.write_text(text + '\n[notice]\ntheme_css = "theme.css"\n')
    if css is not None:
        (tmp_path / "theme.css").write_text(css)

    result = run("check", str(file))

    assert result.exit_code == (0 if told is None else 1)
    assert told is None or told in result.stdout


def test_check_of_no_file_is_a_failed_check(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "missing.toml"))
    assert result.exit_code == 1
    assert "consentry init" in result.stdout


def test_a_command_names_the_first_error_of_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "consentry.toml"
    file.write_text("[workspace]\nname = 3\n[store]\nurl = 'redis://x'\n")
    result = run("explain", "--config", str(file), stdin="{}")
    assert result.exit_code == 3
    assert f"see `consentry check {file}`" in error_of(result)


# -- explain --config -------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "consentry.toml"
    file.write_text(config_text(tmp_path / "consentry.db"))
    return file


def track(number: int = 1, **members: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Order", "messageId": f"m-{number}"} | members


def stamped(**preferences: bool) -> dict[str, Any]:
    return {"context": {"consent": {"categoryPreferences": preferences}}}


def explain(config: Path, text: str, *args: str) -> tuple[int, dict[str, Any]]:
    result = run("explain", "--config", str(config), "--json", *args, stdin=text)
    return result.exit_code, json.loads(result.stdout)


def decided(item: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {d["destination"]: (d["decision"], d["reason"]) for d in item["decisions"]}


def test_without_a_store_it_says_so_aloud(config: Path) -> None:
    event = json.dumps(track(anonymousId="a", **stamped(analytics=True, advertising=False)))
    result = run("explain", "--config", str(config), "--json", stdin=event)
    assert result.exit_code == 0
    assert error_of(result) == "decided without any records: there is no store yet"
    answer = json.loads(result.stdout)
    assert answer["records"] is None
    assert decided(answer["items"][0]) == {
        "warehouse": ("allow", "consented"),
        "ads": ("withhold", "filtered_by_end_user_consent"),
        "mirror": ("withhold", "unmapped"),
    }


@pytest.mark.usefixtures("store")
def test_with_a_store_its_records_decide(config: Path) -> None:
    granted = track(anonymousId="device-2", **stamped(analytics=True, advertising=True))
    denied = track(2, anonymousId="device-3", **stamped(analytics=True, advertising=True))
    code, answer = explain(config, json.dumps([granted, denied]))
    assert code == 0
    assert answer["records"] == 12
    first, second = answer["items"]
    assert decided(first)["warehouse"] == ("allow", "consented")
    assert decided(first)["ads"] == ("withhold", "filtered_by_end_user_consent")
    assert decided(second)["warehouse"] == ("withhold", "filtered_by_end_user_consent")
    failed = next(d for d in second["decisions"] if d["destination"] == "warehouse")
    assert failed["categories"] == [{"id": "analytics", "effective": "denied", "why": "denied"}]
    assert failed["grounds"][0]["recordId"].startswith("rec_")


async def test_what_is_explained_is_what_the_flow_decides(
    served: Served, store: Path, config: Path
) -> None:
    from consentry.core.event import Envelope
    from consentry.flow.accept import Incoming, accept
    from consentry.flow.records import Origin

    events = [
        track(n, **who, **what)
        for n, (who, what) in enumerate(
            (who, what)
            for who in (
                {"anonymousId": "device-0"},
                {"userId": "user-1"},
                {"userId": "user-3", "anonymousId": "device-4"},
                {"anonymousId": "nobody"},
            )
            for what in (
                {},
                stamped(analytics=True, advertising=True),
                stamped(analytics=False),
                {"integrations": {"All": False, "ads": True}},
            )
        )
    ]
    _, answer = explain(config, json.dumps(events), "--source", "backend")
    envelope = Envelope(received_at=served.world.clock.now())
    made = await accept(served.world, Incoming(Origin("backend", "server"), events, envelope))
    accepted = [
        {d.destination: ("allow" if d.allow else "withhold", str(d.reason)) for d in one.decisions}
        for one in made.decided
    ]
    assert list(map(decided, answer["items"])) == accepted
    assert len({str(one) for one in accepted}) > 2


@pytest.mark.usefixtures("store")
def test_a_choice_is_explained_with_what_it_would_record(config: Path) -> None:
    update = track(anonymousId="device-1", **stamped(analytics=True, advertising=True))
    update["event"] = "Segment Consent Preference Updated"
    _, answer = explain(config, json.dumps(update))
    assert (
        decided(answer["items"][0])["ads"][0] == "withhold"
    )  # the account said no, and still does
    update["anonymousId"] = "somebody new"
    _, answer = explain(config, json.dumps(update))
    assert decided(answer["items"][0])["ads"] == ("allow", "consented")


@pytest.mark.usefixtures("store")
def test_a_link_in_the_event_is_taken_into_account(config: Path) -> None:
    """An alias of a device that refused: by the link that it makes, the refusal counts."""
    alias = {"type": "alias", "userId": "newcomer", "previousId": "device-3"}
    _, answer = explain(config, json.dumps(alias | stamped(analytics=True, advertising=True)))
    assert decided(answer["items"][0])["warehouse"] == ("withhold", "filtered_by_end_user_consent")


FORMS = {
    "one event": (lambda events: json.dumps(events[0]), 1),
    "a list": (json.dumps, 3),
    "a batch": (lambda events: json.dumps({"batch": events}), 3),
    "JSON Lines": (lambda events: "\n".join(map(json.dumps, events)) + "\n\n", 3),
    "an event over many lines": (lambda events: json.dumps(events[0], indent=2), 1),
    "a byte order mark": (lambda events: "\ufeff" + json.dumps(events), 3),
    "nothing in a list": (lambda events: "[]", 0),
}


@pytest.mark.parametrize(("written", "count"), FORMS.values(), ids=FORMS.keys())
def test_events_may_be_written_in_any_usual_form(config: Path, written: Any, count: int) -> None:
    code, answer = explain(config, written([track(n, anonymousId="a") for n in range(3)]))
    assert code == 0
    assert [item["id"] for item in answer["items"]] == [f"m-{n}" for n in range(count)]


def test_what_a_batch_says_counts_for_each_event(config: Path) -> None:
    batch = {"batch": [track(anonymousId="a")], **stamped(analytics=True)}
    _, answer = explain(config, json.dumps(batch))
    assert decided(answer["items"][0])["warehouse"] == ("allow", "consented")
    code, answer = explain(config, json.dumps({**batch, "integrations": 3}))
    assert (code, answer["items"][0]["error"]["field"]) == (1, "integrations")


UNREADABLE = {
    "nothing": ("", "there is no event"),
    "no JSON": ("{", "this is not JSON"),
    "a bad line": ('{"type":"track"}\n{"type":}\n', "line 2 is not JSON"),
    "a member twice": ('{"type":"track","type":"page"}', "a member stands twice"),
    "a member twice in a line": ('{}\n{"a":1,"a":2}', "line 2 is not JSON: a member stands twice"),
    "NaN": ('{"value":NaN}', "NaN is no JSON"),
    "too deep": ("[" * 100_000, "this is not JSON"),
}


@pytest.mark.parametrize(("text", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_said(config: Path, text: str, message: str) -> None:
    result = run("explain", "--config", str(config), stdin=text)
    assert result.exit_code == 2
    assert message in error_of(result)


def test_bytes_that_are_no_text_are_said(config: Path, tmp_path: Path) -> None:
    (tmp_path / "events.json").write_bytes(b'{"type":"\xff"}')
    result = run("explain", "--config", str(config), str(tmp_path / "events.json"))
    assert result.exit_code == 2
    assert "UTF-8" in error_of(result)


def test_a_refused_event_is_shown_and_counts_as_failed(config: Path) -> None:
    events = [track(anonymousId="a"), track(), 7, track(anonymousId="a")]
    code, answer = explain(config, json.dumps(events))
    assert code == 1
    assert [item.get("error", {}).get("code") for item in answer["items"]] == [
        None,
        "missing_id",
        "invalid_type",
        None,
    ]
    assert len({item["id"] for item in answer["items"]}) == 4


def test_the_table_names_what_failed_and_hides_no_control_characters(config: Path) -> None:
    event = track(anonymousId="a", **stamped(analytics=False)) | {"event": "\x1b[2JHello\rthere"}
    result = run("explain", "--config", str(config), stdin=json.dumps(event))
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert "\r" not in result.output
    assert "\\x1b[2JHello\\rthere" in result.stdout
    assert "analytics: denied" in result.stdout
    assert "advertising: missing" in result.stdout


def test_a_server_and_a_configuration_exclude_each_other(config: Path) -> None:
    result = run("explain", "--config", str(config), "--server", "http://x", stdin="{}")
    assert result.exit_code == 2
    assert run("explain", "--source", "website", stdin="{}").exit_code == 2
    unknown = run("explain", "--config", str(config), "--source", "nobody", stdin="{}")
    assert "there is no source nobody: there are website, backend" in error_of(unknown)


@given(st.text())
def test_nothing_that_is_shown_can_move_a_cursor(text: str) -> None:
    line = shown(text)
    assert line.isprintable()
    assert "\n" not in line


# -- destinations --kinds -----------------------------------------------------------------------


def test_every_kind_says_what_it_proves() -> None:
    document = json.loads(run("destinations", "--kinds", "--json").stdout)
    assert [kind["kind"] for kind in document["kinds"]] == list(KINDS)
    assert all(kind["proves"] for kind in document["kinds"])
    table = " ".join(run("destinations", "--kinds").stdout.split())
    assert all(kind in table for kind in KINDS)
    for said in document["kinds"]:
        orders = KINDS[said["kind"]].orders
        assert (said["orders"] is None) == (orders is None)
        if orders is not None:
            assert said["orders"]["verbs"] == dict(orders.verbs)
            assert f"{said['kind']}: {orders.cannot}" in table


@pytest.mark.parametrize(
    ("arguments", "decision", "ground"),
    [
        (["--country", "US", "--region", "CA"], "allow", {"regime": "opt_out", "rule": "us-ca"}),
        (["--country", "us"], "allow", {"regime": "opt_out", "rule": "US, part unknown"}),
        (["--country", "DE"], "withhold", {"regime": "opt_in", "rule": "eea-de"}),
        ([], "withhold", {"regime": "opt_in"}),
    ],
)
def test_an_event_is_explained_as_it_would_be_at_a_place(
    config: Path, arguments: list[str], decision: str, ground: dict[str, str]
) -> None:
    code, answer = explain(config, json.dumps(track(anonymousId="a")), *arguments)
    assert code == 0
    told = {d["destination"]: d for d in answer["items"][0]["decisions"]}["warehouse"]
    assert (told["decision"], told["grounds"]) == (decision, [ground])


def test_a_region_belongs_to_a_country(config: Path) -> None:
    result = run("explain", "--config", str(config), "--region", "CA", stdin="{}")
    assert result.exit_code == 2
