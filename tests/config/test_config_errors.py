"""Every way a configuration can be wrong: what is said, of which field, at which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from consentry.config import ConfigError, load_config, read_config

from .samples import ENVIRON, GOOD, KINDS, LONG, changed, errors, read

# (what is replaced, by what, field, text of the line, part of the message)
CASES: dict[str, tuple[str, str, str, str, str]] = {
    # the shape of the file
    "unknown table": ("[retention]", "[retension]", "retension", "[retension]", 'mean "retention"'),
    "unknown key": ("origins =", "orgins =", "source[0].orgins", "orgins", 'did you mean "origins"?'),
    "unknown key like nothing": ("gpc = true", "zzz = 1\ngpc = true", "category[1].zzz", "zzz", "keys here"),
    "key with dashes": ("events_days", "events-days", "retention.events-days", "events-days", "events_days"),
    "quoted unknown key": ("gpc = true", '"a b" = 1\ngpc = true', 'category[1]."a b"', "a b", "unknown"),
    "one table for many": ("[[tag]]", "[tag]", "tag", "[tag]", "[[tag]] in double brackets"),
    "many tables for one": ("[store]", "[[store]]", "store", "[[store]]", "[store] once"),
    # types
    "number for text": ('name = "Acme"', "name = 5", "workspace.name", "name = 5", "must be text"),
    "text for a flag": ("gpc = true", 'gpc = "true"', "category[1].gpc", "gpc", "true or false"),
    "text for a number": ("events_days = 7", 'events_days = "7"', "retention.events_days", "days", "number"),
    "flag for a number": ("events_days = 7", "events_days = true", "retention.events_days", "days", "number"),
    "zero": ("events_days = 7", "events_days = 0", "retention.events_days", "events_days", "over 0"),
    "infinite": ("events_days = 7", "events_days = inf", "retention.events_days", "events_days", "at most"),
    "not a number": ("events_days = 7", "events_days = nan", "retention.events_days", "days", "over 0"),
    "text for a list": (
        'hosts = ["*.ads.example"]', 'hosts = "ads.example"', "tag[0].hosts", "hosts", "list of texts"),
    "numbers in a list": ('"email", "sms"', '"email", 1', "topic[0].channels", "channels", "list of texts"),
    # workspace
    "no name": ('name = "Acme"', "", "workspace.name", "[workspace]", "missing: add name"),
    "blank name": ('name = "Acme"', 'name = " "', "workspace.name", "name", "must not be empty"),
    "no workspace": ('[workspace]\nname = "Acme"', "", "workspace.name", "", "missing: add name"),
    "unknown regime": (
        'name = "Acme"', 'name = "Acme"\nregime = "opt-in"', "workspace.regime", "regime", "opt_in, opt_out, notice"),
    "unknown profile": (
        'name = "Acme"', 'name = "Acme"\nenforcement = "lax"', "workspace.enforcement", "lax", "strict, segment"),
    # categories
    "category without id": ('id = "analytics"\ngpc = false', 'id = "x"\ngpc = false\n[[category]]\ngpc = true\n[[category]]\nid = "analytics"\ngpc = true', "category[1].id", "[[category]]", "missing: add id"),
    "id with a digit": ('id = "news"', 'id = "1news"', "topic[0].id", "1news", "must not start with a digit"),
    "id of 35": ('id = "news"', f'id = "{"n" * 35}"', "topic[0].id", "nnn", "at most 34"),
    "id like a topic": ('id = "news"', 'id = "topic:x"', "topic[0].id", "topic:x", 'must not start with "topic:"'),
    "id with a comma": ('id = "news"', 'id = "a,b"', "topic[0].id", "a,b", "comma"),
    "topic id with a colon": ('id = "news"', 'id = "a:b"', "topic[0].id", "a:b", 'must not hold ":"'),
    "channel with a colon": ('"sms"', '"s:ms"', "topic[0].channels[1]", "s:ms", 'must not hold ":"'),
    "no channel": ('["email", "sms"]', "[]", "topic[0].channels", "channels", "empty list"),
    "channel twice": ('"sms"', '"email"', "topic[0].channels[1]", "email", "is there twice"),
    "same category": ('id = "advertising"', 'id = "advertising"\n[[category]]\nid = "analytics"', "category[2].id", 'id = "analytics"', "same as category[0].id"),
    "a time is no moment": ("gpc = true", "gpc = true\nrequires_consent_since = 10:00:00", "category[1].requires_consent_since", "10:00", "a date"),
    "text is no moment": ("gpc = true", 'gpc = true\nrequires_consent_since = "soon"', "category[1].requires_consent_since", "soon", "a date"),
    "age over a century": ("gpc = true", "gpc = true\nmax_age_days = 40000", "category[1].max_age_days", "40000", "at most 36500"),
    # sources
    "two sorts of key": ('secret_key = "env:BACKEND"', 'secret_key = "env:BACKEND"\nwrite_key = "wk_b"', "source[1]", "[[source]]", "not both"),
    "no key": ('secret_key = "env:BACKEND"', 'origins = ["https://a.example"]', "source[1]", "[[source]]", "has no key"),
    "three keys": ('"wk_website"', '["a", "b", "c"]', "source[0].write_key", "write_key", "at most 2"),
    "no key in the list": ('"wk_website"', "[]", "source[0].write_key", "write_key", "empty list"),
    "empty key": ('"wk_website"', '""', "source[0].write_key", "write_key", "must not be empty"),
    "key with a colon": ('"wk_website"', '"wk:x"', "source[0].write_key", "wk:x", "without any of"),
    "same name": ('name = "backend"', 'name = "website"', "source[1].name", 'name = "website"', "same as source[0].name"),
    "name with a slash": ('name = "backend"', 'name = "a/b"', "source[1].name", "a/b", 'must not hold "/"'),
    "long name": ('name = "backend"', f'name = "{"b" * 65}"', "source[1].name", "bbb", "at most 64"),
    "admin key is a source's": ("env:ADMIN", "env:BACKEND", "server.admin_key", "admin_key", "same as source[1].secret_key"),
    "origin with a path": ("https://shop.example", "https://shop.example/shop", "source[0].origins[0]", "shop", "without a path"),
    "origin without scheme": ("https://shop.example", "shop.example", "source[0].origins[0]", "origins", "https://host"),
    "any origin": ("https://shop.example", "*", "source[0].origins[0]", "origins", "https://host"),
    "empty regime": ('name = "backend"', 'name = "backend"\nregime = ""', "source[1].regime", "regime", "must not be empty"),
    "source regime": ('name = "backend"', 'name = "backend"\nregime = "none"', "source[1].regime", "regime", "opt_in"),
    "rate of nothing": ('name = "backend"', 'name = "backend"\nrate_limit = 0', "source[1].rate_limit", "rate_limit", "over 0"),
    # secrets
    "variable not set": ("env:BACKEND", "env:NOWHERE", "source[1].secret_key", "NOWHERE", "variable NOWHERE is not set"),
    "variable empty": ("env:BACKEND", "env:BLANK", "source[1].secret_key", "BLANK", "variable BLANK is empty"),
    "variable not UTF-8": ("env:BACKEND", "env:BYTES", "source[1].secret_key", "BYTES", "BYTES is not UTF-8"),
    "variable without a name": ("env:BACKEND", "env:", "source[1].secret_key", "env:", 'write "env:NAME"'),
    "second of two not set": ('"env:BACKEND"', '["env:BACKEND", "env:NOWHERE"]', "source[1].secret_key[1]", "NOWHERE", "NOWHERE is not set"),
    "option's variable not set": ('"env:HOOK"\n\n[[destination]]', '"env:NOWHERE"\n\n[[destination]]', "destination[0].secret", "NOWHERE", "NOWHERE is not set"),
    # destinations
    "no kind": ('kind = "ga4"\n', "", "destination[1].kind", "[[destination]]", "missing: add kind"),
    "unknown kind": ('kind = "ga4"', 'kind = "ga5"', "destination[1].kind", "ga5", 'did you mean "ga4"?'),
    "same destination": ('name = "ga"', 'name = "warehouse"', "destination[1].name", "warehouse", "same as destination[0].name"),
    "reserved name": ('name = "ga"', 'name = "All"', "destination[1].name", "All", "choose another name"),
    "unknown category": ('["analytics"]\nurl', '["analitics"]\nurl', "destination[0].categories[0]", "analitics", 'did you mean "analytics"?'),
    "category twice": ('"advertising", "analytics"', '"analytics", "analytics"', "destination[1].categories[1]", "categories", "is there twice"),
    "unknown match": ('name = "ga"', 'name = "ga"\nmatch = "some"', "destination[1].match", "some", "all, any"),
    "exempt without a reason": ('name = "ga"', 'name = "ga"\nexempt = true', "destination[1].exempt", "exempt", "must say why"),
    "exempt with a blank": ('name = "ga"', 'name = "ga"\nexempt = "  "', "destination[1].exempt", "exempt", "must say why"),
    "too many at once": ('name = "ga"', 'name = "ga"\nconcurrency = 257', "destination[1].concurrency", "257", "1 to 256"),
    "half at once": ('name = "ga"', 'name = "ga"\nconcurrency = 0.5', "destination[1].concurrency", "0.5", "whole number"),
    "option missing": ('url = "https://hooks.example/consentry"\n', "", "destination[0].url", "[[destination]]", "missing: add url"),
    "option of another kind": ('measurement_id = "G-1"', 'measurement_id = "G-1"\ntimeout_s = 5', "destination[1].timeout_s", "timeout_s", "unknown key"),
    "option's type": ('kind = "webhook"', 'kind = "webhook"\ntimeout_s = "5"', "destination[0].timeout_s", "timeout_s", "must be a number, not text"),
    "option's range": ('kind = "webhook"', 'kind = "webhook"\ntimeout_s = 31', "destination[0].timeout_s", "timeout_s", "at most 30 seconds"),
    "option not finite": ('kind = "webhook"', 'kind = "webhook"\ntimeout_s = nan', "destination[0].timeout_s", "timeout_s", "nan"),
    "options as a whole": ('measurement_id = "G-1"\n', "", "destination[1]", "[[destination]]", "exactly one is needed"),
    "secret of a wrong type": ('measurement_id = "G-1"\napi_secret = "env:HOOK"', 'measurement_id = "G-1"\napi_secret = 12345', "destination[1].api_secret", "api_secret", 'must be text: "env:NAME"'),
    "three secrets": ('measurement_id = "G-1"\napi_secret = "env:HOOK"', 'measurement_id = "G-1"\napi_secret = ["env:HOOK", "env:OTHER", "env:ADMIN"]', "destination[1].api_secret", "api_secret", "at most 2"),
    "option's category": ('measurement_id = "G-1"', 'measurement_id = "G-1"\nad_user_data_category = "ads"', "destination[1].ad_user_data_category", "ads", "no category"),
    "plain http": ("https://hooks", "http://hooks", "destination[0].url", "url", "allow_private_destinations = true"),
    "loopback": ("https://hooks.example/", "https://127.0.0.1/", "destination[0].url", "url", "loopback; for development only"),
    "this machine": ("https://hooks.example/", "https://localhost/", "destination[0].url", "url", "for development only"),
    "metadata service": ("https://hooks.example/", "https://169.254.169.254/", "destination[0].url", "url", "link-local"),
    "another port": ("https://hooks.example/", "https://hooks.example:8443/", "destination[0].url", "url", "destination_ports = [443, 8443]"),
    "base_url of a kind": ('measurement_id = "G-1"', 'measurement_id = "G-1"\nbase_url = "http://ga.example"', "destination[1].base_url", "base_url", "must be https"),
    "no URL": ("https://hooks.example/consentry", "hooks.example", "destination[0].url", "url", "http(s)://host"),
    # tags, store, server, mail
    "tag's category": ('name = "pixel"\ncategories = ["advertising"]', 'name = "pixel"\ncategories = ["ads"]', "tag[0].categories[0]", "ads", "no category"),
    "tag's host": ("*.ads.example", "https://ads.example/x", "tag[0].hosts[0]", "hosts", "without scheme"),
    "tag's function": ('name = "pixel"', 'name = "pixel"\nrevoke = "stop()"', "tag[0].revoke", "revoke", "name of a function"),
    "tag's cookie anywhere": ('name = "pixel"', 'name = "pixel"\ncookies = ["_a* /shop"]', "tag[0].cookies[0]", "cookies", "the whole name"),
    "tag's cookie with more": ('name = "pixel"', 'name = "pixel"\ncookies = ["_a", "_a /x; Secure"]', "tag[0].cookies[1]", "cookies", "printable ASCII"),
    "store's scheme": ("sqlite:///consentry.db", "mysql://db", "store.url", "url", "sqlite:///FILE"),
    "store without a file": ("sqlite:///consentry.db", "sqlite:///", "store.url", "url", "sqlite:///FILE"),
    "store with two slashes": ("sqlite:///", "sqlite://", "store.url", "url", "sqlite:///FILE"),
    "store's URL": ("sqlite:///consentry.db", "sqlite://[", "store.url", "url", "is no URL"),
    "proxy": ("10.0.0.0/8", "proxy.example", "server.trusted_proxies[0]", "trusted", "a network"),
    "no network of that name": ('place_from = "cloudflare"', 'place_from = "akamai"', "server.place_from", "akamai", "cloudflare, cloudfront, vercel, fastly"),
    "three place headers": ('place_from = "cloudflare"', 'place_from = ["a", "b", "c"]', "server.place_from", "place_from", "your own headers"),
    "no header's name": ('place_from = "cloudflare"', 'place_from = ["X Country"]', "server.place_from", "place_from", "your own headers"),
    "unknown purpose": ("gpc = true", 'purpose = "ads"', "category[1].purpose", "purpose", "advertising, analytics"),
    "every proxy": ("10.0.0.0/8", "0.0.0.0/0", "server.trusted_proxies[0]", "trusted", "every address"),
    "ports": ("[server]", '[server]\ndestination_ports = ["443"]', "server.destination_ports", "ports", "list of ports"),
    "port too high": ("[server]", "[server]\ndestination_ports = [65536]", "server.destination_ports", "ports", "list of ports"),
    "server's URL": ("[server]", '[server]\nbase_url = "consent.example"', "server.base_url", "base_url", "as people see it"),
    "mail without sender": ("[server]", '[smtp]\nurl = "smtp://mail.example"\n[server]', "smtp.from", "[smtp]", "missing: add from"),
    "mail's port": ("[server]", '[smtp]\nurl = "smtp://mail.example:0"\nfrom = "a@b.example"\n[server]', "smtp.url", "url", "is no URL"),
    "mail's URL": ("[server]", '[smtp]\nurl = "https://mail.example"\nfrom = "a@b.example"\n[server]', "smtp.url", "https://mail", "smtp://host"),
    "mail's sender": ("[server]", '[smtp]\nurl = "smtp://mail.example"\nfrom = "me"\n[server]', "smtp.from", "from", "an address"),
    "a withdraw link for a month": ("[server]", "[pages]\nwithdraw_days = 30\n[server]", "pages.withdraw_days", "withdraw_days", "from 365"),
    "an edit link for an hour": ("[server]", "[pages]\nedit_minutes = 60\n[server]", "pages.edit_minutes", "edit_minutes", "to 30"),
    "a confirmation for a week": ("[server]", "[pages]\nconfirm_hours = 168\n[server]", "pages.confirm_hours", "confirm_hours", "to 72"),
    "a confirmation for an hour": ("[server]", "[pages]\nconfirm_hours = 1\n[server]", "pages.confirm_hours", "confirm_hours", "from 24"),
    "mails without end": ("[server]", "[pages]\nmails_a_day = 1000\n[server]", "pages.mails_a_day", "mails_a_day", "to 20"),
    "encrypted twice": ("[server]", '[smtp]\nurl = "smtps://mail.example"\nfrom = "a@b.example"\ntls = "starttls"\n[server]', "smtp.tls", "tls", "from the start"),
    "text messages to this machine": ("[server]", '[sms]\nurl = "http://127.0.0.1/x"\nsecret = "env:OTHER"\n[server]', "sms.url", "url", "allow_private_destinations"),
    "a topic that nobody has": ('kind = "ga4"', 'kind = "ga4"\ntopics = ["newz"]', "destination[1].topics[0]", "topics", "there is no topic"),
    "a topic where nobody is written to": ('kind = "ga4"', 'kind = "ga4"\ntopics = ["news"]', "destination[1].topics", "topics", "writes to nobody"),
    "alarms to this machine": ("[server]", '[propagation]\nwebhook_url = "http://127.0.0.1/x"\nsecret = "env:OTHER"\n[server]', "propagation.webhook_url", "webhook_url", "allow_private_destinations"),
    "alarms unsigned": ("[server]", '[propagation]\nwebhook_url = "https://ops.example/x"\n[server]', "propagation.secret", "[propagation]", "missing: add secret"),
    "text messages unsigned": ("[server]", '[sms]\nurl = "https://sms.example/x"\n[server]', "sms.secret", "[sms]", "missing: add secret"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_mistake_is_one_error_at_its_place(name: str) -> None:
    old, new, field, line_text, message = CASES[name]
    text = changed(old, new)

    found = errors(text)

    assert [(p.level, p.field) for p in found] == [("error", field)], [str(p) for p in found]
    assert message in found[0].message
    if line_text:
        line = found[0].line
        assert line is not None
        assert line_text in text.splitlines()[line - 1]
    else:
        assert found[0].line is None


def test_all_errors_are_reported_together_in_the_order_of_lines() -> None:
    text = (
        GOOD.replace("gpc = true", "gpc = 1")
        .replace("env:BACKEND", "env:NOWHERE")
        .replace("https://hooks", "http://hooks")
        .replace("[retention]", "[retention]\nevents = 1")
    )

    found = errors(text)

    assert [problem.field for problem in found] == [
        "category[1].gpc",
        "source[1].secret_key",
        "destination[0].url",
        "retention.events",
    ]
    assert [p.line for p in found] == sorted(p.line or 0 for p in found)


def test_an_empty_mail_table_is_not_no_mail() -> None:
    assert [p.field for p in errors(GOOD + "[smtp]")] == ["smtp.url", "smtp.from"]


def test_every_wrong_option_of_a_destination_is_reported() -> None:
    text = changed(
        'url = "https://hooks.example/consentry"\nsecret = "env:HOOK"',
        'url = 5\nsecret = ["env:NOWHERE"]\ntimeout_s = "x"\nretries = 2',
    )

    assert [problem.field for problem in errors(text)] == [
        "destination[0].url",
        "destination[0].secret",
        "destination[0].timeout_s",
        "destination[0].retries",
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('[workspace]\nname = "Acme\n', 2, "no valid TOML"),
        ("[workspace]\nname = \n", 2, "no valid TOML"),
        ("[workspace]\nname = 1\nname = 2\n", 3, "no valid TOML"),
        ("a = [1,\n2", 2, "no valid TOML"),
        ("a = " + "9" * 5000, 1, "no valid TOML"),
        ("a = " + "[" * 5000, None, "nested too deeply"),
        ("#" * 1_000_001, None, "longer than"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(
    text: str, line: int | None, message: str
) -> None:
    (problem,) = errors(text)

    assert problem.line == line
    assert message in problem.message


def test_a_problem_is_one_line() -> None:
    (problem,) = errors(changed("gpc = true", '"a\\nb" = 1\ngpc = true'))

    assert str(problem) == (
        'error: line 10, category[1]."a\\nb": unknown key: the keys here are: description, enabled, '
        "essential, gpc, id, max_age_days, name, purpose, regime, requires_consent_since"
    )


ANY_VALUE = [
    "5", "-1", "0.5", "nan", "true", '""', '"x"', '"env:NOWHERE"', "[]", '["x"]', "[1]", "[[1]]",
    "{}", "{ x = 1 }", "[{ x = 1 }]", "1979-05-27", "07:32:00", '"\\u0000"', '"[::1"', '"https://["',
]  # fmt: skip
KEY_LINES = [number for number, line in enumerate(GOOD.splitlines()) if " = " in line]


@pytest.mark.parametrize("number", KEY_LINES)
def test_any_value_of_any_key_is_taken_or_refused_at_its_line(number: int) -> None:
    lines = GOOD.splitlines()
    key = lines[number].partition(" = ")[0]
    for value in ANY_VALUE:
        text = "\n".join([*lines[:number], f"{key} = {value}", *lines[number + 1 :]])

        found = errors(text)

        # What points to an id breaks on its own line, and so does what needs one of two keys.
        elsewhere = key in ("id", "measurement_id")
        assert not found or elsewhere or number + 1 in [p.line for p in found], (key, value)


@pytest.mark.parametrize("value", ANY_VALUE)
def test_any_value_in_place_of_a_table_is_taken_or_refused(value: str) -> None:
    for table in ("workspace", "category", "topic", "source", "destination", "tag", "server"):
        (*_, last) = errors(f"{table} = {value}")

        assert last.message


def test_no_secret_is_printed() -> None:
    literal = f"literal-{LONG}"
    right = GOOD.replace("env:BACKEND", literal).replace("env:HOOK", literal)
    wrong = right.replace("[server]", f'[smtp]\nurl = "x://me:{literal}@mail"\n[server]')
    wrong = wrong.replace("env:ADMIN", literal).replace("https://hooks.example/", f"http://{LONG}/")
    config = read(right)
    with pytest.raises(ConfigError) as refused:
        read(wrong)

    shown = f"{config!r} {refused.value} {refused.value.problems} {refused.value.warnings}"

    assert len(refused.value.problems) >= 3
    assert LONG not in shown


def test_a_file_that_is_not_there_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"there is no .*nothing\.toml: write one with `consentry init`"
    ):
        load_config(tmp_path / "nothing.toml", ENVIRON, kinds=KINDS)


def test_a_directory_and_other_bytes_are_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"[workspace]\nname = '\xe9'\n")

    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, ENVIRON, kinds=KINDS)
    with pytest.raises(ConfigError, match=r"line 2: .* is not UTF-8"):
        load_config(latin, ENVIRON, kinds=KINDS)


def test_who_needs_the_policy_alone_needs_no_variable() -> None:
    """Nothing else is forgiven, and no value of the environment is in what is read."""
    everything, rules = read(GOOD), read_config(GOOD, None, kinds=KINDS)
    assert rules.policy == everything.policy
    assert [(s.name, s.trusted, s.regime) for s in rules.sources] == [
        (s.name, s.trusted, s.regime) for s in everything.sources
    ]
    keys = {key.reveal() for source in rules.sources for key in source.secret_keys}
    assert keys
    assert not keys & set(ENVIRON.values())
    for wrong in (GOOD + "\n[workspce]\n", GOOD.replace('"env:HOOK"', '"env:NO NAME"')):
        with pytest.raises(ConfigError):
            read_config(wrong, None, kinds=KINDS)
