"""What a link may do: laws over types of tokens, subjects, bounds and bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core.moment import DAY, SECOND
from consentry.core.record import Node, NodeKind
from consentry.flow.links import Expired, Link, Links, LinkType, confirmation
from consentry.secret import Secret
from tests.web.pages import Place

KEYS = ["analytics", "advertising", "topic:news:email", "topic:news:sms", "nothing"]
FOREVER = 10**18
nodes = st.builds(Node, st.sampled_from(list(NodeKind)[:4]), st.text(min_size=1, max_size=20))
links = st.builds(
    Link,
    subject=st.lists(nodes, min_size=1, max_size=3).map(tuple),
    expires_at=st.integers(1, FOREVER),
    keys=st.none() | st.lists(st.sampled_from(KEYS), max_size=4).map(tuple),
    alone=st.booleans(),
)
secrets = st.lists(st.text("abc", min_size=1, max_size=4).map(Secret), min_size=1, max_size=2)
types = st.sampled_from(list(LinkType))


# -- tokens ---------------------------------------------------------------------------------------
@given(links, types, types, secrets, secrets)
def test_a_token_opens_as_its_own_type_under_its_own_secret_alone(
    link: Link, made: LinkType, read: LinkType, ours: list[Secret], theirs: list[Secret]
) -> None:
    token = Links(ours).token(made, link)
    opened = Links(theirs).read(read, token, 0)
    if made is read and ours[0] in theirs:
        assert opened == link
    else:
        assert opened is None


@given(links, types, st.integers(0, FOREVER + 1))
def test_a_token_works_until_it_expires(link: Link, type_: LinkType, now: int) -> None:
    keys = Links([Secret("s")])
    opened = keys.read(type_, keys.token(type_, link), now)
    assert opened == (link if now < link.expires_at else Expired(link))


@given(links, types, st.integers(0, 10_000), st.sampled_from("AZaz09-_."))
def test_a_token_that_was_changed_opens_nothing(
    link: Link, type_: LinkType, at: int, letter: str
) -> None:
    keys = Links([Secret("s")])
    token = keys.token(type_, link)
    at %= len(token)
    changed = token[:at] + letter + token[at + 1 :]
    # Base64 has bits to spare at its end: then it is the same token, spelled otherwise.
    assert keys.read(type_, changed, 0) in (None, link)
    assert keys.read(type_, token[:at], 0) is None


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda b: b.decode("latin-1")), types)
def test_what_is_no_token_opens_nothing(text: str, type_: LinkType) -> None:
    assert Links([Secret("s")]).read(type_, text, 0) is None


@given(links, types)
def test_a_token_shows_nobody(link: Link, type_: LinkType) -> None:
    token = Links([Secret("s")]).token(type_, link)
    assert all(c.isascii() and (c.isalnum() or c in "-_.") for c in token)
    for part in token.split("."):
        read = part + "=" * (-len(part) % 4)
        import base64

        plain = base64.urlsafe_b64decode(read)
        for node in link.subject:
            if len(node.value.encode()) >= 5:
                assert node.value.encode() not in plain


def test_without_a_secret_nothing_opens_and_nothing_is_made() -> None:
    link = Link(subject=(Node(NodeKind.DEVICE, "d"),), expires_at=FOREVER)
    token = Links([Secret("s")]).token(LinkType.EDIT, link)
    assert Links([]).read(LinkType.EDIT, token, 0) is None
    with pytest.raises(LookupError):
        Links([]).token(LinkType.EDIT, link)


def test_confirmations_are_chance() -> None:
    made = {confirmation() for _ in range(1000)}
    assert len(made) == 1000
    assert min(map(len, made)) >= 43  # 256 bits


# -- pages ----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(scope="module")
def place(runner: asyncio.Runner) -> Iterator[Place]:
    opened = runner.run(Place.open())
    yield opened
    runner.run(opened.close())


fields = st.lists(
    st.tuples(
        st.sampled_from(["do", "on", "shown", "List-Unsubscribe", "email", "lang", "proof", "t"]),
        st.sampled_from(
            [*KEYS, "save", "withdraw", "all", "messages", "confirm", "request", "One-Click", "de"]
        ),
    ),
    max_size=12,
)
paths = st.sampled_from(["/unsubscribe", "/preferences", "/confirm"])
headers = st.sampled_from([{}, {"Sec-Fetch-Site": "same-origin"}, {"Cookie": "consentry=v=1"}])


def _grants(place: Place, since: int) -> list[str]:
    return [
        category
        for record in place.records[since:]
        for _, fact in record.facts
        for category in fact.granted
    ]


@settings(max_examples=300, deadline=None)
@given(link=links, path=paths, body=fields, told=headers)
def test_a_withdraw_token_never_leads_to_a_grant(
    runner: asyncio.Runner,
    place: Place,
    link: Link,
    path: str,
    body: list[tuple[str, str]],
    told: dict[str, str],
) -> None:
    office = place.running.site.office
    lasting = msgspec.structs.replace(link, expires_at=FOREVER)
    token = office.links.token(LinkType.WITHDRAW, lasting)
    since = len(place.records)
    answer = runner.run(place.post(f"{path}?t={token}", body, told))
    assert answer.status in (200, 400)
    assert _grants(place, since) == []
    written = place.records[since:]
    if path != "/unsubscribe":
        assert written == []
    for record in written:
        assert record.subject == lasting.subject
        denied = {category for _, fact in record.facts for category in fact.denied}
        assert lasting.keys is None or denied <= set(lasting.keys)


@settings(max_examples=200, deadline=None)
@given(link=links, path=paths, type_=types, now=st.sampled_from([-1, 0, 1]), told=headers)
def test_a_get_changes_nothing_and_an_expired_link_neither(
    runner: asyncio.Runner, place: Place, link: Link, path: str, type_: LinkType, now: int,
    told: dict[str, str],
) -> None:  # fmt: skip
    office, clock = place.running.site.office, place.running.world.clock
    dated = msgspec.structs.replace(link, expires_at=clock.now() + now * 3600 * SECOND)
    token = office.links.token(type_, dated)
    since = len(place.records)
    assert runner.run(place.ask("GET", f"{path}?t={token}", headers=told)).status < 500
    assert len(place.records) == since
    if now <= 0:
        fields = [("do", "save"), ("do", "all"), ("List-Unsubscribe", "One-Click")]
        answer = runner.run(place.post(f"{path}?t={token}", fields, told))
        assert answer.status in (400, 410)
        assert len(place.records) == since


@settings(max_examples=200, deadline=None)
@given(link=links, body=fields)
def test_an_edit_token_speaks_for_its_subject_and_within_its_bound(
    runner: asyncio.Runner, place: Place, link: Link, body: list[tuple[str, str]]
) -> None:
    lasting = msgspec.structs.replace(link, expires_at=FOREVER)
    token = place.running.site.office.links.token(LinkType.EDIT, lasting)
    since = len(place.records)
    runner.run(place.post(f"/preferences?t={token}", body))
    do = next((value for name, value in body if name == "do"), "")
    shown = {value for name, value in body if name == "shown"}
    for record in place.records[since:]:
        assert record.subject == lasting.subject
        for _, fact in record.facts:
            assert set(fact.granted) | set(fact.denied) <= shown
            assert lasting.keys is None or set(fact.granted) | set(fact.denied) <= set(lasting.keys)
            assert do == "save" or not fact.granted


def test_links_live_as_long_as_they_should(runner: asyncio.Runner, place: Place) -> None:
    office = place.running.site.office
    subject = (Node(NodeKind.DEVICE, "d"),)
    assert office.withdrawal(subject, 0).expires_at >= 365 * DAY
    assert 0 < office.editing(subject, 0).expires_at <= 30 * 60 * SECOND
