"""The parsers of what comes from where we send to, and of what an operator writes."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from hypothesis import strategies as st

from consentry.config import Config, ConfigError, read_config
from consentry.core.delivery import Grade, Outcome
from consentry.destinations import (
    braze,
    customerio,
    ga4,
    hubspot,
    klaviyo,
    mailchimp,
    rudderstack,
    segment,
    sendgrid,
    webhook,
)
from consentry.destinations.addresses import REFUSED, Target, TargetRefused, parse_target, refusal
from consentry.destinations.http import LONGEST_RETRY_AFTER_S, retry_after_s
from consentry.destinations.message import Message, Response
from tests.config import samples
from tests.destinations.messages import track
from tests.fuzz import json_inputs
from tests.fuzz.parser import Parser, calls

MESSAGES = (track("m1"), track("m2"))
OutcomesOf = Callable[[Response, Sequence[Message]], tuple[Outcome, ...]]
SPECS = {
    module.SPEC.kind: module.SPEC
    for module in (
        *(webhook, segment, rudderstack, ga4, braze, hubspot),
        *(klaviyo, mailchimp, sendgrid, customerio),
    )
}
VENDORS: dict[str, OutcomesOf] = {
    "webhook": webhook.outcomes_of,
    "segment": segment.outcomes_of,
    "rudderstack": rudderstack.outcomes_of,
    "ga4": ga4.outcomes_of,
    "braze": braze.outcomes_of,
    "hubspot": hubspot.outcomes_of,
    "klaviyo": klaviyo.outcomes_of,
    "mailchimp": mailchimp.outcomes_of,
    "sendgrid": sendgrid.outcomes_of,
    "customerio": customerio.outcomes_of,
}
PROOF = [Grade.CONFIRMED, Grade.JOB_DONE, Grade.ACCEPTED, Grade.SENT_UNVERIFIABLE]


# -- answers of vendors ---------------------------------------------------------------------------
def check_answer(data: bytes, vendors: dict[str, OutcomesOf] = VENDORS) -> str:
    """A status, header lines, an empty line and a body."""
    head, _, body = data.partition(b"\n\n")
    status, *lines = head.decode("latin-1").split("\n")
    if not (status.isascii() and status.isdigit() and len(status) == 3 and status >= "200"):
        return "no answer"
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), value.strip())
    response = Response(int(status), headers, body)
    return " ".join(_judged(kind, read, response) for kind, read in vendors.items())


def _judged(kind: str, read: OutcomesOf, response: Response) -> str:
    outcomes = calls(2000, lambda: read(response, MESSAGES))
    assert len(outcomes) == len(MESSAGES), "one outcome for each message"
    for outcome in outcomes:
        proves = outcome.grade in PROOF
        if proves:
            assert 200 <= response.status <= 299, "a refusal was taken for success"
            assert PROOF.index(outcome.grade) >= PROOF.index(SPECS[kind].best), "proves too much"
        wait_s = outcome.retry_after_s
        assert wait_s is None or 0 <= wait_s <= LONGEST_RETRY_AFTER_S
        assert outcome.detail.isprintable(), "what a vendor wrote came into the detail"
        assert len(outcome.detail) < 200
    return f"{kind}:{outcomes[0].grade}"


_dates = st.sampled_from(
    ("Mon, 23 Nov 2026 10:00:00 GMT", "Mon, 23 Nov 2026 10:01:00 GMT", "yesterday", "",
     "Mon, 99 Foo 99999 99:99:99 +9999", "1 Jan 1 00:00:00 +2359", "31 Dec 9999 23:59:59 -2359",
     "0", "120", "-5", "1.5", "9" * 40, "\u0661", "Sunday, 06-Nov-94 08:49:37 GMT")
)  # fmt: skip


@st.composite
def vendor_answers(draw: st.DrawFn) -> bytes:
    status = draw(st.integers(200, 599))
    names = draw(st.lists(st.sampled_from(("Retry-After", "Date", "Content-Type")), max_size=3))
    lines = [f"{name}: {draw(_dates | st.text(max_size=8))}" for name in names]
    receipt = st.sampled_from(
        (
            '{"status":"applied"}',
            '{"status":"noop"}',
            '{"status":7}',
            '{"status":"applied","status":"noop"}',
        )
    )
    deep = st.sampled_from(('{"x":' + "[" * 3000 + "]" * 3000 + "}", "[" * 3000))
    body = draw(receipt | json_inputs.documents(2) | deep)
    text = "\n".join((str(status), *lines)) + "\n\n" + body
    return text.encode("utf-8", "replace")


def check_retry_after(data: bytes, read: Callable[..., float | None] = retry_after_s) -> str:
    """Retry-After, and Date in a second line."""
    wish, _, date = data.decode("latin-1").partition("\n")
    wait_s = read({"retry-after": wish, "date": date})
    assert wait_s is None or 0 <= wait_s <= LONGEST_RETRY_AFTER_S
    if wish.strip().isascii() and wish.strip().isdigit() and len(wish.strip()) < 9:
        assert wait_s == min(int(wish), LONGEST_RETRY_AFTER_S)
    return "none" if wait_s is None else "seconds"


wishes = st.builds(
    lambda wish, date: f"{wish}\n{date}".encode("latin-1", "replace"),
    _dates | st.text(max_size=12),
    _dates | st.text(max_size=12),
)


# -- addresses ------------------------------------------------------------------------------------
def check_target(data: bytes, parse: Callable[..., Target] = parse_target) -> str:
    """A URL that an operator, or who can write its configuration, gave to a destination."""
    url = data.decode("utf-8", "replace")
    try:
        target = parse(url, allow_private=False)
    except TargetRefused as refused:
        assert str(refused), "a refusal says why"
        return "refused"
    assert (target.scheme, target.port) == ("https", 443)
    assert target.url.isascii()
    assert target.url.isprintable()
    again = urlsplit(target.url)  # another parser sees the same host
    assert (again.hostname, again.username, again.port) == (target.host, None, None)
    assert parse(target.url, allow_private=False) == target
    assert "localhost" not in target.host.split(".")[-1:]
    try:
        literal = ip_address(target.host)
    except ValueError:
        assert any(c.isalpha() for c in target.host.rpartition(".")[2]), "an address in disguise"
        return "name"
    assert target.address == literal
    assert refusal(literal, allow_private=False) is None
    assert not any(
        literal in row.network for row in REFUSED if row.network.version == literal.version
    )
    return "address"


_hosts = st.sampled_from(
    ("example.com", "127.0.0.1", "2130706433", "0177.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]",
     "[::ffff:8.8.8.8]", "localhost", "localhost.", "8.8.8.8", "8.8.8.8.", "169.254.169.254",
     "\uff11\uff12\uff17.0.0.1", "b\u00fccher.example", "\u0430pple.com", "a..b", "[64:ff9b::7f00:1]",
     "[2002:7f00:1::]", "[fd00::1]", "100.64.0.1", "127.0.0.1.nip.io", "1.1", "%31.1.1.1", "[::1%25lo]",
     "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3", "xn--fiqs8s", "xn--", "a_b.example")
)  # fmt: skip
urls = st.builds(
    lambda scheme, user, host, port, path: f"{scheme}{user}{host}{port}{path}".encode(),
    st.sampled_from(("https://", "HTTPS://", "http://", "https:/", "https:\\\\", "file://", "//")),
    st.sampled_from(("", "", "", "user@", "a:b@", "example.com%40", "example.com\\@")),
    _hosts | st.text(min_size=1, max_size=6),
    st.sampled_from(("", "", ":443", ":8443", ":0", ":", ":\u0664\u0664\u0663", ":80@x")),
    st.sampled_from(("", "/", "/a?b=c", "?x", "#f", "/\r\nX: y", "/\u00fc", "/%0d%0a", "/..//")),
)


# -- the configuration ----------------------------------------------------------------------------
def check_config(data: bytes, read: Callable[..., Config] = read_config) -> str:
    """A configuration file: it is right, or every error has a message and a place."""
    text = data.decode("utf-8", "replace")
    try:
        config = read(text, samples.ENVIRON, kinds=samples.KINDS)
    except ConfigError as error:
        assert error.problems, "a refusal names an error"
        for problem in error.problems:
            assert problem.message
            assert problem.line is None or 1 <= problem.line <= text.count("\n") + 1
            _tells_no_secret(str(problem))
        return "refused"
    tomllib.loads(text.removeprefix("\ufeff"))
    _tells_no_secret(repr(config))
    mapped = {mapping.name: mapping for mapping in config.policy.mappings}
    for destination in config.destinations:
        mapping = mapped[destination.name]
        assert set(mapping.categories) <= {c.id for c in config.policy.categories}
    return "read"


def _tells_no_secret(text: str) -> None:
    for name in ("ADMIN", "BACKEND", "TOKEN", "HOOK"):
        assert samples.ENVIRON[name] not in text, "a secret is shown"


_LINES = [line for line in samples.GOOD.splitlines() if line]
_VALUES = ("true", "-1", '"x"', "[]", '[""]', "1e400", "2026-01-01", "{a=1}", '"env:ADMIN"', '"env:"',
           '"\\u0000"', "nan", "9" * 30, '"' + "x" * 300 + '"', '["a","a"]', '"https://127.0.0.1/"')  # fmt: skip


@st.composite
def configurations(draw: st.DrawFn) -> bytes:
    """The sample with lines left out, doubled, or given another value."""
    lines = list(_LINES)
    for _ in range(draw(st.sampled_from((0, 1, 1, 2, 3)))):
        at = draw(st.integers(0, len(lines) - 1))
        how = draw(st.integers(0, 3))
        if how == 0:
            lines[at : at + 1] = []
        elif how == 1:
            lines[at : at + 1] = [lines[at]] * 2
        elif how == 2 and "=" in lines[at]:
            lines[at] = f"{lines[at].partition('=')[0]}= {draw(st.sampled_from(_VALUES))}"
        else:
            lines.insert(
                at, draw(st.sampled_from(("[x]", "[[category]]", "[server]", "x = 1", "]")))
            )
    return "\n".join(lines).encode()


PARSERS = (
    Parser("answer", check_answer, vendor_answers()),
    Parser("retry_after", check_retry_after, wishes),
    Parser("target", check_target, urls),
    Parser("config", check_config, configurations() | st.text(max_size=40).map(str.encode)),
)
