"""What the application sends, and the policies that its visitor gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consentry.csp import Category, Rules, Tag, from_file
from consentry.csp.policy import extended, meets, pattern_of
from tests.csp.asked import (
    ADS,
    HTML,
    NOW,
    OWN,
    RULES,
    SHOP,
    STATS,
    YES,
    answer,
    consent,
    csp,
    values,
)


def test_an_application_without_a_policy() -> None:
    assert csp(answer()) == [consent(OWN, SHOP)]
    assert csp(answer(YES)) == [consent(OWN, SHOP, STATS, ADS)]
    only = f"consentry=v=1&id=a&t={NOW}&g=advertising&d=analytics"
    assert csp(answer(only)) == [consent(OWN, SHOP)], "a tag needs all of its categories"


MERGED = {
    "hosts of granted tags are added": ("script-src 'self'", "script-src 'self' a.example"),
    "none is the last word": ("object-src 'none'; img-src b.example", "object-src 'none'; img-src b.example a.example"),
    "an empty list is none": ("connect-src", "connect-src"),
    "default none asks for each": (
        "default-src 'none'; script-src 'nonce-x'",
        "default-src 'none'; script-src 'nonce-x' a.example; style-src a.example; "
        "img-src a.example; connect-src a.example wss://a.example; font-src a.example; media-src a.example; "
        "frame-src a.example",
    ),
    "what is there is not repeated": ("img-src a.example", "img-src a.example"),
    "others are left alone": (
        "base-uri 'none'; frame-ancestors b.example; sandbox allow-scripts; report-uri /r",
        "base-uri 'none'; frame-ancestors b.example; sandbox allow-scripts; report-uri /r",
    ),
    "the first of two counts": ("img-src b.example; img-src c.example", "img-src b.example a.example"),
    "capitals": ("IMG-SRC 'NONE'; Script-Src 'self'", "img-src 'NONE'; script-src 'self' a.example"),
}  # fmt: skip


@pytest.mark.parametrize("name", MERGED)
def test_a_policy_of_the_application_is_extended(name: str) -> None:
    before, after = MERGED[name]
    assert extended(before, ["a.example"], True) == after
    assert extended(before, [], True) == before


def test_the_policy_of_the_application_is_kept_and_the_second_narrows_it() -> None:
    own = "default-src 'self' https: x.ads.example pics.example:8443/a 'nonce-q' 'strict-dynamic'"
    sent = [HTML, ("Content-Security-Policy", own)]
    first, second = csp(answer("", sent))
    assert first == f"{own} {SHOP}"
    assert second == consent(OWN, SHOP, "pics.example:8443/a")
    first, second = csp(answer(YES, sent))
    assert first == f"{own} {SHOP} {STATS} {ADS}"
    everything = Rules(RULES.categories, RULES.tags[:3], own_hosts=RULES.own_hosts)
    _, second = csp(answer(YES, sent, rules=everything))
    wide = "https: x.ads.example pics.example:8443/a"
    assert second == consent(OWN, SHOP, STATS, ADS, wide), "nothing is refused: https: may stay"


def test_several_policies_in_one_header_and_in_two() -> None:
    sent = [HTML, ("content-security-policy", "img-src *, font-src f.example"), ("Content-Security-Policy", "media-src m.example")]  # fmt: skip
    found = csp(answer("", sent))
    assert [policy.partition(" ")[0] for policy in found] == ["img-src", "font-src", "media-src", "default-src"]  # fmt: skip
    assert found[-1] == consent(OWN, SHOP, "f.example", "m.example")


def test_two_tags_of_one_name_are_two_tags() -> None:
    tags = (Tag("t", ("advertising",), ("ads.example",)), Tag("t", ("necessary",), ("c.example",)))
    assert csp(answer("", rules=Rules(RULES.categories, tags))) == [
        consent("c.example wss://c.example")
    ]


def test_base_is_used_where_the_application_sends_none() -> None:
    rules = Rules(RULES.categories, RULES.tags, base="script-src {nonce}")
    assert csp(answer(rules=rules))[0] == "script-src 'nonce-abc' cdn.shop.example"
    sent = [HTML, ("Content-Security-Policy", "img-src 'self'")]
    assert csp(answer("", sent, rules=rules))[0] == "img-src 'self' cdn.shop.example"


def test_reports() -> None:
    rules = Rules(
        RULES.categories, RULES.tags, report_url="https://c.example/v1/csp-reports?key=wk"
    )
    headers = answer(rules=rules)
    end = "; report-uri https://c.example/v1/csp-reports?key=wk; report-to consentry"
    assert csp(headers) == [consent(SHOP) + end]
    assert values(headers, "reporting-endpoints") == [
        'consentry="https://c.example/v1/csp-reports?key=wk"'
    ]


def test_report_only_blocks_nothing_and_the_twin_tells_of_unknown_hosts() -> None:
    only = "content-security-policy-report-only"
    rules = Rules(RULES.categories, RULES.tags, report_only=True)
    assert (csp(answer(rules=rules)), values(answer(rules=rules), only)) == ([], [consent(SHOP)])
    twin = Rules(RULES.categories, RULES.tags[:3], twin=True)
    headers = answer(
        YES, [HTML, ("Content-Security-Policy", "img-src https: p.example")], rules=twin
    )
    assert csp(headers)[1] == consent(SHOP, STATS, ADS, "https:", "p.example")
    assert values(headers, only) == [consent(SHOP, STATS, ADS, "p.example")]


BAD_HOSTS = ["", "*", "https://a.example", "a.example/x", "a.example;img-src *", "a b", "a\nb", "A.example", "ä.example", "*.*.example", "a.example:x", "'self'", "a," + "b", "x" * 254]  # fmt: skip


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_no_text_but_a_host_reaches_a_header(host: str) -> None:
    with pytest.raises(ValueError, match="must be a host"):
        Rules(tags=(Tag("t", (), (host,)),))
    with pytest.raises(ValueError, match="must be a host"):
        Rules(own_hosts=(host,))


@pytest.mark.parametrize(
    "more",
    [
        {"base": "img-src *\r\nx: y"},
        {"base": "img-src *, script-src *"},
        {"report_url": "javascript:alert(1)"},
        {"report_url": "https://a.example/;x"},
        {"report_url": "https://a.example/ x"},
        {"report_url": '/a"b'},
        {"report_url": "//a.example/x"},
        {"report_url": "x"},
        {"categories": (Category("a"), Category("a", essential=True))},
        {"silence": frozenset({"advertising"})},
        {"max_age_days": 0},
        {"max_age_days": 401},
    ],
)
def test_what_is_wrong_in_the_rules_is_said_at_once(more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(more))):
        Rules(**more)  # type: ignore[arg-type]


PATTERNS = {
    "*": "*",
    "https:": "*",
    "http://*": "*",
    "*:443": "*",
    "https://a.example": "a.example",
    "https://a.example:*/x": "a.example",
    "*.a.example": "*.a.example",
    "'self'": None,
    "a..b": None,
}


@pytest.mark.parametrize("source", PATTERNS)
def test_the_hosts_that_a_source_matches(source: str) -> None:
    assert pattern_of(source) == PATTERNS[source]


MEETINGS = [
    ("a.example", "a.example", True),
    ("a.example", "b.example", False),
    ("*.example", "a.example", True),
    ("*.a.example", "a.example", False),
    ("*.a.example", "*.example", True),
    ("*.a.example", "*.b.example", False),
    ("ba.example", "*.a.example", False),
    ("*", "a.example", True),
    ("a.example:8443", "a.example", True),
]


@pytest.mark.parametrize(("left", "right", "expected"), MEETINGS)
def test_when_two_patterns_meet(left: str, right: str, expected: bool) -> None:
    assert meets(left, right) is meets(right, left) is expected


CONFIG = """
[workspace]
name = "Acme"
max_age_days = 180
[[category]]
id = "necessary"
essential = true
[[category]]
id = "analytics"
gpc = false
max_age_days = 30
requires_consent_since = 2026-01-31T00:00:00Z
[[category]]
id = "off"
enabled = false
[[tag]]
name = "stats"
categories = ["analytics", "off"]
hosts = ["Stats.example"]
cookies = ["_st*"]
[[tag]]
name = "gone"
categories = ["off"]
hosts = ["gone.example"]
[server]
base_url = "https://consent.shop.example:8443"
admin_key = "env:NOT_SET"
"""


def test_the_rules_are_read_from_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "consentry.toml"
    file.write_text(CONFIG)
    rules = from_file(file, own_hosts=("cdn.shop.example",), twin=True)
    assert rules.categories == (
        Category("necessary", essential=True, gpc=False),
        Category("analytics", gpc=False, max_age_s=30 * 86_400, since_s=1_769_817_600),
    )
    assert rules.tags == (
        Tag("stats", ("analytics",), ("stats.example",), ("_st*",)),
        Tag("gone", (), ("gone.example",)),
    )
    assert rules.own_hosts == ("consent.shop.example:8443", "cdn.shop.example")
    assert (rules.max_age_days, rules.twin) == (180, True)


@pytest.mark.parametrize(
    ("more", "days"),
    [
        ("", 365),
        ('[server]\ntrusted_proxies = ["10.0.0.0/8"]\n', 181),  # the shortest of any place
        ("[notice]\ngrant_days = 30\n", 365),  # it is in the categories
    ],
)
def test_a_yes_ages_as_the_law_of_any_place_may_ask(tmp_path: Path, more: str, days: int) -> None:
    file = tmp_path / "consentry.toml"
    file.write_text('[workspace]\nname = "A"\n[[category]]\nid = "analytics"\n' + more)

    rules = from_file(file)

    assert rules.max_age_days == days
    thirty_s = 30 * 86_400 if "grant" in more else None
    assert rules.known["analytics"].max_age_s == thirty_s


def test_an_application_loads_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, consentry.csp\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)))\n"
        "print(sorted(m for m in sys.modules if m.startswith('consentry.') and 'csp' not in m))"
    )
    ran = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")}, check=True)  # fmt: skip
    assert ran.stdout.splitlines() == ["['__main__', 'consentry']", "[]"]
