"""What a right configuration becomes, and what it warns of."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from consentry.config import (
    Config,
    Mode,
    Pages,
    Retention,
    Server,
    load_config,
    read_config,
    starter,
)
from consentry.core import moment
from consentry.core.moment import DAY
from consentry.core.policy import (
    SEGMENT,
    STRICT,
    AccountChoices,
    Category,
    Devices,
    Mapping,
    Match,
    Purpose,
    Regime,
    StampRule,
    Topic,
    Unmapped,
    Unstamped,
)
from consentry.destinations import registry, webhook
from consentry.secret import Secret
from tests.core.clauses import holds

from .samples import ENVIRON, GOOD, KINDS, LONG, changed, read

EXAMPLE = """\
[workspace]
name = "Acme"
enforcement = "strict"            # strict | segment
[store]
url = "sqlite:///consentry.db"
[[category]]
id = "analytics"
name = "Analytics"
[[category]]
id = "advertising"
name = "Advertising"
[[source]]
name = "website"
write_key = "wk_website"          # public
origins = ["https://shop.example"]
[[source]]
name = "backend"
secret_key = "env:CONSENTRY_BACKEND_KEY"
[[destination]]
name = "warehouse"
kind = "webhook"
categories = ["analytics"]
url = "https://hooks.example/consentry"
secret = "env:HOOK_SECRET"
[[destination]]
name = "ads"
kind = "webhook"
categories = ["advertising", "analytics"]
match = "all"                     # all | any
url = "https://ads.example/collect"
secret = "env:HOOK_SECRET"
[server]
allow_private_destinations = false   # true only for development
"""


def test_the_example_configuration_is_read() -> None:
    config = read_config(
        EXAMPLE, {"CONSENTRY_BACKEND_KEY": LONG, "HOOK_SECRET": "hook"}, kinds=KINDS
    )

    assert config.workspace == config.policy.workspace == "Acme"
    assert (config.enforcement, config.shadow) == ("strict", False)
    assert config.policy.settings == STRICT
    assert config.policy.categories == (
        Category("analytics", "Analytics"),
        Category("advertising", "Advertising"),
    )
    assert config.policy.mappings == (
        Mapping("warehouse", "webhook", ("analytics",)),
        Mapping("ads", "webhook", ("advertising", "analytics")),
    )
    website, backend = config.sources
    assert (website.write_keys, website.trusted) == (("wk_website",), False)
    assert website.origins == ("https://shop.example",)
    assert (backend.secret_keys, backend.trusted) == ((Secret(LONG),), True)
    warehouse, _ = config.destinations
    assert warehouse.options == webhook.Options(
        url="https://hooks.example/consentry", secret=(Secret("hook"),)
    )
    assert (warehouse.retry_hours, warehouse.concurrency, warehouse.rate_limit) == (4, 8, None)
    assert warehouse.backoff.give_up_after_s == 4 * 3600
    assert config.store_url == "sqlite:///consentry.db"
    assert (config.server, config.retention, config.smtp) == (Server(), Retention(), None)
    assert [(w.field, w.line) for w in config.warnings] == [
        ("category[0].gpc", 6),
        ("category[1].gpc", 9),
        ("source[0].subject_token_secret", 12),
        ("server.admin_key", 32),
    ]


# What a line adds or replaces in the sample, and what it becomes.
VALUES = {
    "max age": ('"Acme"', '"Acme"\nmax_age_days = 1.5', "policy.settings.max_age_us", DAY * 3 // 2),
    "regime": ('"Acme"', '"Acme"\nregime = "notice"', "policy.settings.regime", Regime.NOTICE),
    "unstamped": ('"Acme"', '"Acme"\nunstamped = "allow"', "policy.settings.unstamped", Unstamped.ALLOW),
    "unmapped": ('"Acme"', '"Acme"\nunmapped = "allow"', "policy.settings.unmapped", Unmapped.ALLOW),
    "stamp": ('"Acme"', '"Acme"\nstamp = "alone"', "policy.settings.stamp", StampRule.ALONE),
    "devices": ('"Acme"', '"Acme"\ndevices = "ask"', "policy.settings.devices", Devices.ASK),
    "choices": ('"Acme"', '"Acme"\naccount_choices = "as_given"', "policy.settings.account_choices", AccountChoices.AS_GIVEN),
    "profile": ('"Acme"', '"Acme"\nenforcement = "segment"', "policy.settings", SEGMENT),
    "shadow": ('"Acme"', '"Acme"\nshadow = true', "shadow", True),
    "essential": ("gpc = false", "essential = true", "policy.categories.0.gpc", False),
    "description": ("gpc = true", 'description = "Ads"', "policy.categories.1.description", "Ads"),
    "tag mode": ('name = "pixel"', 'name = "pixel"\nmode = "advanced"', "tags.0.mode", Mode.ADVANCED),
    "gpc said nothing of": ("gpc = true", "", "policy.categories.1.gpc", True),
    "turned off": ("gpc = true", "enabled = false", "policy.categories.1.enabled", False),
    "category regime": ("gpc = true", 'regime = "opt_out"', "policy.categories.1.regime", Regime.OPT_OUT),
    "purpose": ("gpc = true", 'purpose = "sale_or_share"', "policy.categories.1.purpose", Purpose.SALE_OR_SHARE),
    "purpose by its id": ("gpc = true", "", "policy.categories.1.is_for", Purpose.ADVERTISING),
    "since": ("gpc = true", "requires_consent_since = 2026-01-01T01:00:00+01:00", "policy.categories.1.requires_consent_since", moment.parse("2026-01-01T00:00:00Z")),
    "since without zone": ("gpc = true", "requires_consent_since = 2026-01-01T00:00:00", "policy.categories.1.requires_consent_since", moment.parse("2026-01-01T00:00:00Z")),
    "since a day": ("gpc = true", "requires_consent_since = 2026-01-01", "policy.categories.1.requires_consent_since", moment.parse("2026-01-01T00:00:00Z")),
    "since as text": ("gpc = true", 'requires_consent_since = "2026-01-01T00:00:00Z"', "policy.categories.1.requires_consent_since", moment.parse("2026-01-01T00:00:00Z")),
    "id of 34": ('id = "news"', f'id = "{"n" * 34}"', "policy.topics.0.id", "n" * 34),
    "topic": ('id = "news"', 'id = "news"\nname = "News"', "policy.topics.0", Topic("news", "News", ("email", "sms"))),
    "channels": ('channels = ["email", "sms"]', "", "policy.topics.0.channels", ("email",)),
    "two write keys": ('"wk_website"', '["wk_new", "wk_old"]', "sources.0.write_keys", ("wk_new", "wk_old")),
    "write key from env": ('"wk_website"', '"env:OTHER"', "sources.0.write_keys", (ENVIRON["OTHER"],)),
    "two secret keys": ('"env:BACKEND"', '["env:OTHER", "env:BACKEND"]', "sources.1.secret_keys", (Secret(ENVIRON["OTHER"]), Secret(ENVIRON["BACKEND"]))),
    "origin as browsers send it": ("https://shop.example", "HTTPS://Shop.example:443/", "sources.0.origins", ("https://shop.example",)),
    "local origin": ("https://shop.example", "http://localhost:3000", "sources.0.origins", ("http://localhost:3000",)),
    "source regime": ('name = "backend"', 'name = "backend"\nregime = "opt_out"', "sources.1.regime", Regime.OPT_OUT),
    "source rate": ('name = "backend"', 'name = "backend"\nrate_limit = 50', "sources.1.rate_limit", 50.0),
    "match": ('name = "ga"', 'name = "ga"\nmatch = "any"', "policy.mappings.1.match", Match.ANY),
    "disabled": ('name = "ga"', 'name = "ga"\nenabled = false', "policy.mappings.1.enabled", False),
    "share consent": ('name = "ga"', 'name = "ga"\nshare_consent = true', "policy.mappings.1.share_consent", True),
    "exempt": ('name = "ga"\nkind = "ga4"\ncategories = ["advertising", "analytics"]', 'name = "ga"\nkind = "ga4"\nexempt = "law"', "policy.mappings.1.exempt", "law"),
    "retry": ('name = "ga"', 'name = "ga"\nretry_hours = 0.5', "destinations.1.backoff.give_up_after_s", 1800.0),
    "at once": ('name = "ga"', 'name = "ga"\nconcurrency = 2', "destinations.1.concurrency", 2),
    "rate": ('name = "ga"', 'name = "ga"\nrate_limit = 2.5', "destinations.1.rate_limit", 2.5),
    "whole number for a fraction": ('kind = "webhook"', 'kind = "webhook"\ntimeout_s = 5', "destinations.0.options.timeout_s", 5.0),
    "two secrets": ('secret = "env:HOOK"\n\n[[destination]]', 'secret = ["env:OTHER", "env:HOOK"]\n\n[[destination]]', "destinations.0.options.secret", (Secret(ENVIRON["OTHER"]), Secret(ENVIRON["HOOK"]))),
    "option from env": ('"G-1"', '"env:OTHER"', "destinations.1.options.measurement_id", ENVIRON["OTHER"]),
    "tag": ('name = "pixel"', 'name = "pixel"\ncookies = ["_a*"]\nrevoke = "a.off"', "tags.0.cookies", ("_a*",)),
    "tag hosts": ("*.ads.example", "*.Ads.example", "tags.0.hosts", ("*.ads.example",)),
    "retention": ("events_days = 7", "events_days = 0.5", "retention", Retention(events_days=0.5)),
    "store from env": ('"sqlite:///consentry.db"', '"env:STORE"', "store_url", "sqlite:////var/lib/c.db"),
    "store in memory": ("sqlite:///consentry.db", "memory://", "store_url", "memory://"),
    "admin key": ("[server]", "[server]", "server.admin_keys", (Secret(ENVIRON["ADMIN"]),)),
    "base url": ("[server]", '[server]\nbase_url = "https://Consent.example/c/"', "server.base_url", "https://consent.example/c"),
    "proxies": ('"10.0.0.0/8"', '"10.0.0.0/8", "::1"', "server.trusted_proxies", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    "place from a network": ('place_from = "cloudflare"', 'place_from = "fastly"', "server.place_from", ("fastly-geo-country", "fastly-geo-region")),
    "place from own headers": ('place_from = "cloudflare"', 'place_from = ["X-Country", "X-Region"]', "server.place_from", ("x-country", "x-region")),
    "place from one header": ('place_from = "cloudflare"', 'place_from = ["X-Country"]', "server.place_from", ("x-country", "")),
    "place from nothing stated": ('place_from = "cloudflare"', "", "server.place_from", None),
    "regime that nobody states": ("gpc = true", "", "policy.settings.regime", None),
    "mmdb": ("[server]", '[server]\nmmdb = "geo.mmdb"', "server.mmdb", "geo.mmdb"),
    "mail": ("[server]", '[smtp]\nurl = "smtp://mail.example:587"\nfrom = "a@b.example"\n[server]', "smtp.sender", "a@b.example"),
}  # fmt: skip


def _at(value: object, path: str) -> object:
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, tuple) else getattr(value, part)
    return value


@pytest.mark.parametrize("name", VALUES)
def test_a_key_becomes_its_value(name: str) -> None:
    old, new, path, expected = VALUES[name]
    text = GOOD.replace(old, new, 1)
    assert old in GOOD

    config = read_config(text, {**ENVIRON, "STORE": "sqlite:////var/lib/c.db"}, kinds=KINDS)

    assert _at(config, path) == expected


def test_development_may_send_to_this_machine() -> None:
    text = changed("https://hooks.example/", "http://127.0.0.1:9100/")
    config = read(text.replace("[server]", "[server]\nallow_private_destinations = true"))

    assert config.server.allow_private_destinations
    assert _at(config, "destinations.0.options.url") == "http://127.0.0.1:9100/consentry"


def test_a_port_may_be_opened() -> None:
    text = changed("https://hooks.example/", "https://hooks.example:8443/")
    config = read(text.replace("[server]", "[server]\ndestination_ports = [443, 8443]"))

    assert config.server.destination_ports == {443, 8443}


# What changes in the sample, and the warnings: field and a part of the message.
WARNINGS = {
    "gpc not stated": (("gpc = true", ""), [("category[1].gpc", "Global Privacy Control")]),
    "essential needs no gpc": (("gpc = false", "essential = true"), []),
    "unmapped": (
        ('categories = ["analytics"]\nurl', "url"),
        [("destination[0].categories", "nothing is sent to it")],
    ),
    "only a turned-off category is mapped": (
        ("gpc = false", "gpc = false\nenabled = false"),
        [("destination[0].categories", "no enabled category")],
    ),
    "exempt": (('categories = ["analytics"]\nurl', 'exempt = "law"\nurl'), []),
    "exempt though mapped": (
        ('categories = ["analytics"]\nurl', 'categories = ["analytics"]\nexempt = "law"\nurl'),
        [("destination[0].exempt", "no effect")],
    ),
    "nobody needs it": (
        ("[[topic]]", '[[category]]\nid = "idle"\ndescription = "Nothing."\ngpc = true\n[[topic]]'),
        [("category[2]", "nothing needs it")],
    ),
    "off and needed by nobody": (
        ("[[topic]]", '[[category]]\nid = "idle"\ngpc = true\nenabled = false\n[[topic]]'),
        [],
    ),
    "no proof of accounts": (
        ('subject_token_secret = "env:TOKEN"\n', ""),
        [("source[0].subject_token_secret", "cannot grant for an account")],
    ),
    "any site": (
        ('origins = ["https://shop.example"]\n', ""),
        [("source[0].origins", "any site may use this key")],
    ),
    "no admin key": (
        ('admin_key = "env:ADMIN"\n', ""),
        [("server.admin_key", "admin API is closed")],
    ),
    "literal secret": (
        ('"env:BACKEND"', f'"{LONG}"'),
        [("source[1].secret_key", "a secret stands in the file")],
    ),
    "literal short secret": (
        ('"env:BACKEND"', '"s3cret"'),
        [
            ("source[1].secret_key", "a secret stands in the file"),
            ("source[1].secret_key", "shorter than 32 bytes"),
        ],
    ),
    "literal secret of an option": (
        ('secret = "env:HOOK"\n\n[[dest', 'secret = "hook"\n\n[[dest'),
        [("destination[0].secret", "a secret stands in the file")],
    ),
    "literal password": (
        (
            "[server]",
            '[smtp]\nurl = "smtp://me:pw@mail.example"\nfrom = "a@b.example"\n[server]\nbase_url = "https://a.example"',
        ),
        [("pages.secret", "cannot carry links"), ("smtp.url", "a password stands in the file")],
    ),
    "mail without encryption": (
        (
            "[server]",
            '[pages]\nsecret = "env:OTHER"\n[smtp]\nurl = "smtp://a.example"\n'
            'from = "a@b.example"\ntls = "none"\n[server]\nbase_url = "https://a.example"',
        ),
        [("smtp.tls", "unencrypted")],
    ),
    "links without an address": (
        ("[server]", '[pages]\nsecret = "env:OTHER"\n[server]'),
        [("server.base_url", "cannot be made")],
    ),
    "links on plain http": (
        ("[server]", '[pages]\nsecret = "env:OTHER"\n[server]\nbase_url = "http://a.example"'),
        [("server.base_url", "not https")],
    ),
    "a short secret of links": (
        ("[server]", '[pages]\nsecret = "short"\n[server]\nbase_url = "https://a.example"'),
        [("pages.secret", "stands in the file"), ("pages.secret", "shorter than 32")],
    ),
    "server source with origins": (
        ('name = "backend"', 'name = "backend"\norigins = ["https://a.example"]'),
        [("source[1].origins", "no effect")],
    ),
    "segment": (
        ('"Acme"', '"Acme"\nenforcement = "segment"'),
        [
            (
                "workspace.enforcement",
                "events that say nothing of consent go to every destination; "
                "destinations without a category receive every event; "
                "earlier refusals on record do not stop an event whose consent object grants; "
                "whoever knows a public key can grant for any account",
            )
        ],
    ),
    "segment, tightened": (
        (
            '"Acme"',
            '"Acme"\nenforcement = "segment"\nunstamped = "recorded"\nstamp = "both"\n'
            'unmapped = "withhold"\naccount_choices = "proven"',
        ),
        [],
    ),
    "strict, loosened": (
        ('"Acme"', '"Acme"\nunmapped = "allow"'),
        [("workspace.unmapped", "looser than the strict profile")],
    ),
    "development": (
        ("[server]", "[server]\nallow_private_destinations = true"),
        [("server.allow_private_destinations", "turn it off in production")],
    ),
    "any network's word on places": (
        ('place_from = "cloudflare"\n', ""),
        [("server.place_from", "also where a visitor wrote them")],
    ),
    "a network and no proxy": (
        ('trusted_proxies = ["10.0.0.0/8"]\n', ""),
        [("server.place_from", "no effect without trusted_proxies")],
    ),
    "tag that never runs": (
        ('categories = ["advertising"]\nhosts', "hosts"),
        [("tag[0].categories", "never runs")],
    ),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_what_its_owner_should_know_is_said(name: str) -> None:
    (old, new), expected = WARNINGS[name]

    found = read(changed(old, new)).warnings

    assert [(w.level, w.field) for w in found] == [("warning", field) for field, _ in expected]
    for problem, (_, message) in zip(found, expected, strict=True):
        assert message in problem.message


def test_an_empty_configuration_says_that_it_does_nothing() -> None:
    found = read('[workspace]\nname = "Acme"').warnings

    assert [w.message.partition(",")[0] for w in found if w.field == ""] == [
        "there is no [[source]]",
        "there is no [[destination]]",
    ]


STARTER_ENVIRON = {name: LONG + name for name in re.findall(r"^#   export (\w+)=", starter(), re.M)}


def _read_starter(text: str) -> Config:
    return read_config(text, STARTER_ENVIRON, kinds=registry.KINDS)


def test_the_starter_needs_only_the_variables_it_names_and_warns_of_nothing() -> None:
    named = set(re.findall(r'^[^#]*"env:(\w+)"', starter(), re.M))

    assert named == set(STARTER_ENVIRON)
    assert _read_starter(starter()).warnings == ()


def test_the_values_that_the_starter_shows_commented_are_those_that_hold_without_it() -> None:
    stated = re.sub(r"^#(?=[a-z_]+ = )", "", starter(), flags=re.M)

    assert stated.count("\n") == starter().count("\n")
    assert len(re.findall(r"^#[a-z_]+ = ", starter(), re.M)) >= 20
    assert _read_starter(stated) == _read_starter(starter())


def test_everything_that_the_starter_offers_can_be_turned_on() -> None:
    offered = re.sub(r"^# ?(?=[a-z_]+ = |\[)", "", starter(), flags=re.M)
    more = {"SMTP_URL": "smtp://mail.example", "SMS_SECRET": "s" * 32}
    environ = {**STARTER_ENVIRON, "CONSENTRY_LINK_SECRET": "l" * 32, **more}

    config = read_config(offered, environ, kinds=registry.KINDS)

    assert config.smtp is not None
    assert config.sms is not None
    assert config.pages == Pages(config.pages.secrets)
    assert len(config.tags) == len(config.policy.topics) == 1
    assert config.policy.settings.max_age_us == 395 * DAY


def test_the_starter_shows_every_key_that_a_configuration_may_have() -> None:
    keys = [
        "name",
        "enforcement",
        "regime",
        "unstamped",
        "unmapped",
        "stamp",
        "devices",
        "account_choices",
        "max_age_days",
        "shadow",
        "id",
        "essential",
        "enabled",
        "requires_consent_since",
        "gpc",
        "channels",
        "write_key",
        "secret_key",
        "origins",
        "subject_token_secret",
        "rate_limit",
        "categories",
        "hosts",
        "cookies",
        "revoke",
        "mode",
        "description",
        "version",
        "layout",
        "theme",
        "language",
        "privacy_url",
        "ask_again_days",
        "grant_days",
        "refusal_days",
        "cookie_domain",
        "cookie_days",
        "kind",
        "match",
        "exempt",
        "share_consent",
        "retry_hours",
        "concurrency",
        "events_days",
        "deliveries_days",
        "dead_letters_days",
        "url",
        "from",
        "admin_key",
        "base_url",
        "allow_private_destinations",
        "trusted_proxies",
        "place_from",
        "purpose",
        "mmdb",
        "secret",
        "withdraw_days",
        "edit_minutes",
        "confirm_hours",
        "mails_a_day",
        "tls",
        "ca",
    ]
    shown = set(re.findall(r"^#? ?([a-z_]+) = ", starter(), re.M))

    assert [key for key in keys if key not in shown] == []


def test_a_file_is_read_with_the_kinds_that_ship(tmp_path: Path) -> None:
    file = tmp_path / "consentry.toml"
    file.write_text("\ufeff" + starter(), encoding="utf-8")

    config = load_config(file, STARTER_ENVIRON)

    assert [d.name for d in config.destinations] == ["warehouse", "ads"]


@holds("C7")
@pytest.mark.parametrize(
    ("line", "covered"), [("", True), ("gpc = true", True), ("gpc = false", False)]
)
def test_a_category_that_does_not_say_is_covered_by_global_privacy_control(line, covered) -> None:
    config = read(f'[[category]]\nid = "more"\n{line}\n' + GOOD)

    assert config.policy.category["more"].gpc is covered
