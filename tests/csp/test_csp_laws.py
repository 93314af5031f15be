"""Laws of the consent policy, for any cookie at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from consentry.csp import Category, Rules, Tag, granted, reach
from consentry.csp.policy import meets, parse, pattern_of
from consentry.csp.response import answered, visit

NOW = 1_800_000_000
IDS = ("analytics", "advertising", "social media", "späße", "essential", "old")
HOSTS = ("a.example", "*.b.example", "c.b.example", "d.example:8443", "e.example", "f.example")
CATEGORIES = tuple(
    Category(each, essential=each == "essential", gpc=each != "analytics", max_age_s=limit)
    for each, limit in zip(IDS, (None, None, None, None, None, 3600.0), strict=True)
)
APP = (
    "default-src 'none'; script-src 'self' https: 'nonce-x' 'strict-dynamic'; img-src *",
    "default-src 'self' a.example https://*.b.example; connect-src 'none'",
    "script-src 'self' c.b.example:* e.example/path; report-uri /old",
    "frame-ancestors 'none'",
)

tags = st.lists(
    st.builds(
        Tag,
        st.just("tag"),
        st.lists(st.sampled_from((*IDS, "unknown")), max_size=3).map(tuple),
        st.lists(st.sampled_from(HOSTS), max_size=3).map(tuple),
        st.just(("_ad*", "_t[1]")),
        st.booleans(),
    ),
    max_size=5,
).map(lambda found: tuple(Tag(f"tag{n}", *tuple_of(tag)) for n, tag in enumerate(found)))
rules = st.builds(
    Rules,
    st.just(CATEGORIES),
    tags,
    own_hosts=st.just(("own.example",)),
)
ids = st.frozensets(st.sampled_from((*IDS, "unknown")))
ages = st.integers(-200_000, 40_000_000)


def tuple_of(tag: Tag) -> tuple[Any, ...]:
    return tag.categories, tag.hosts, tag.cookies, tag.advanced


def cookie(g: frozenset[str], d: frozenset[str] = frozenset(), at_s: int = NOW) -> str:
    listed = [quote(",".join(sorted(each)), safe="") for each in (g, d)]
    return f"consentry=v=1&id=a-1&n=n&t={at_s}&g={listed[0]}&d={listed[1]}"


def sources(rules: Rules, header: str, policies: tuple[str, ...], gpc: bool) -> set[str]:
    """Every source that a real response lets through, read off its last policy."""
    headers = [("Cookie", header), *([("Sec-GPC", "1")] if gpc else [])]
    seen = visit(
        rules, headers, method="GET", path="/", scheme="https", now_s=NOW, nonce="n-0123456789"
    )
    sent = [("Content-Type", "text/html"), *(("Content-Security-Policy", p) for p in policies)]
    made = answered(rules, seen, 200, sent)
    last = [value for name, value in made if name == "Content-Security-Policy"][-1]
    return {source for _, values in parse(last) for source in values} - {"'none'"}


unreadable = st.one_of(
    st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")),
    st.binary(max_size=80).map(
        lambda raw: "consentry=v=1&id=a&t=1800000000&g=" + raw.decode("latin-1")
    ),
    st.text(alphabet='v=1&gdt%,;0 "aconsetry', max_size=60).map(lambda text: f"consentry={text}"),
)


@given(rules, unreadable, st.booleans(), st.lists(st.sampled_from(APP), max_size=2).map(tuple))
@example(
    Rules(CATEGORIES, (Tag("x", ("analytics",), ("a.example",)),)),
    "consentry=v=1&id=a&t=1800000000&g=analytics; consentry=v=1&id=a&t=1800000000&g=analytics",
    False,
    (),
)
def test_no_cookie_opens_more_than_the_cookie_that_grants_everything(
    rules: Rules, header: str, gpc: bool, policies: tuple[str, ...]
) -> None:
    everything = cookie(rules.everything)
    assert sources(rules, header, policies, gpc) <= sources(rules, everything, policies, False)
    assert granted(rules, [header], gpc, NOW) <= rules.everything


@given(rules, ids, ids, ages, st.booleans(), st.lists(st.sampled_from(APP), max_size=2).map(tuple))
def test_a_category_that_is_denied_or_not_granted_opens_no_host(
    rules: Rules,
    g: frozenset[str],
    d: frozenset[str],
    age_s: int,
    gpc: bool,
    policies: tuple[str, ...],
) -> None:
    header = cookie(g, d, NOW - age_s)
    yes = granted(rules, [header], gpc, NOW)
    assert yes <= g - d
    hosts = reach(rules, yes)
    for tag in rules.tags:
        needs = set(tag.categories) - {"essential"}
        if tag.advanced or (tag.categories and needs <= g - d):
            continue
        others = [t for t in rules.tags if t.advanced or rules.runs(t, yes)]
        assert not rules.runs(tag, yes)
        assert set(tag.hosts) & set(hosts.open) <= {host for t in others for host in t.hosts}
    found = sources(rules, header, policies, gpc)
    for source in found:
        pattern = pattern_of(source)
        if pattern is not None and source not in ("data:", "blob:"):
            named = pattern in hosts.open
            assert named or not any(meets(pattern, host) for host in hosts.closed), source


@given(rules, ids, ids, st.sampled_from(IDS), ages, st.lists(st.sampled_from(APP), max_size=2))
def test_one_more_refusal_never_opens_a_host(
    rules: Rules, g: frozenset[str], d: frozenset[str], more: str, age_s: int, policies: list[str]
) -> None:
    before = sources(rules, cookie(g, d, NOW - age_s), tuple(policies), False)
    assert sources(rules, cookie(g, d | {more}, NOW - age_s), tuple(policies), False) <= before
    assert sources(rules, cookie(g - {more}, d, NOW - age_s), tuple(policies), False) <= before
    assert sources(rules, cookie(g, d, NOW - age_s), tuple(policies), True) <= before


@given(rules, unreadable, ids, ids, st.booleans())
def test_silence_grants_only_who_sent_no_cookie_and_no_signal(
    rules: Rules, header: str, g: frozenset[str], d: frozenset[str], gpc: bool
) -> None:
    lenient = replace(rules, silence=rules.everything)
    silent = granted(lenient, ["other=1"], gpc, NOW)
    assert silent == (rules.everything - rules.covered if gpc else rules.everything)
    for sent in (f"consentry={header}", cookie(g, d)):
        assert granted(lenient, [sent], gpc, NOW) == granted(rules, [sent], gpc, NOW)


@given(rules, st.integers(0, 400 * 86_400), st.integers(0, 400 * 86_400))
def test_a_grant_only_fades(rules: Rules, one_s: int, two_s: int) -> None:
    younger, older = sorted((one_s, two_s))
    header = [cookie(rules.everything)]
    assert granted(rules, header, False, NOW + older) <= granted(
        rules, header, False, NOW + younger
    )
