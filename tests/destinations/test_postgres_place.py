"""PostgreSQL without a server: its URL, its guard, its rows, its errors."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import Grade
from consentry.destinations import postgres_sql as sql
from consentry.destinations.message import Message
from consentry.destinations.postgres import Options, outcome_of
from consentry.destinations.postgres_place import PlaceRefused, check, parse_place
from consentry.destinations.postgres_rows import Change, changes_for, entry_for
from consentry.secret import Secret
from tests.destinations.messages import NOON, choice, track

SECRET = "hunter2"

READ = {
    "name": ("postgresql://u:p@db.example/shop", ("db.example", 5432, "u", "p", "shop", None)),
    "port": ("postgres://u:p@db.example:6000/shop", ("db.example", 6000, "u", "p", "shop", None)),
    "escaped": ("postgresql://u:p%40%2F@h/d%20b", ("h", 5432, "u", "p@/", "d b", None)),
    "no password": ("postgresql://u@h/d", ("h", 5432, "u", "", "d", None)),
    "IPv6": ("postgresql://u@[2606:4700::11]:1/d", ("2606:4700::11", 1, "u", "", "d", None)),
    "mode": ("postgresql://u@h/d?sslmode=require", ("h", 5432, "u", "", "d", "require")),
    "socket": ("postgresql://u@/d?host=/run/pg", ("/run/pg", 5432, "u", "", "d", None)),
    "socket, port": ("postgresql://u@/d?host=/run/pg&port=9", ("/run/pg", 9, "u", "", "d", None)),
}


@pytest.mark.parametrize(("url", "parts"), READ.values(), ids=READ)
def test_a_url_is_read_into_parts(url: str, parts: tuple[object, ...]) -> None:
    place = parse_place(url)
    found = (place.host, place.port, place.user, place.password, place.database, place.sslmode)
    assert found == parts


NOT_READ = {
    "another scheme": f"mysql://u:{SECRET}@h/d",
    "no user": "postgresql://h/d",
    "no database": f"postgresql://u:{SECRET}@h/",
    "no host": f"postgresql://u:{SECRET}@/d",
    "two hosts": f"postgresql://u:{SECRET}@a,b/d",
    "a space": f"postgresql://u:{SECRET} @h/d",
    "a line end": f"postgresql://u:{SECRET}@h/d\n",
    "a short address": f"postgresql://u:{SECRET}@127.1/d",
    "a metadata service": f"postgresql://u:{SECRET}@169.254.169.254/d",
    "a port too high": f"postgresql://u:{SECRET}@h:70000/d",
    "mode that falls back": f"postgresql://u:{SECRET}@h/d?sslmode=prefer",
    "unknown option": f"postgresql://u:{SECRET}@h/d?passfile=/x",
    "an option twice": f"postgresql://u:{SECRET}@h/d?sslmode=require&sslmode=disable",
    "a host in the options": f"postgresql://u:{SECRET}@h/d?host=/run",
    "a host that is no directory": f"postgresql://u:{SECRET}@/d?host=other",
    "a fragment": f"postgresql://u:{SECRET}@h/d#x",
}


@pytest.mark.parametrize("url", NOT_READ.values(), ids=NOT_READ)
def test_what_is_not_such_a_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url: ") as refused:
        parse_place(url)
    assert SECRET not in str(refused.value)


@given(st.text(max_size=60))
def test_reading_a_url_never_fails_in_another_way(text: str) -> None:
    for url in (text, f"postgresql://u:p@{text}/d", f"postgresql://u@h/d?{text}"):
        said = "url: "
        try:
            parse_place(url)
        except ValueError as refused:
            said = str(refused)
        assert said.startswith("url: ")


def test_nothing_shows_the_password() -> None:
    options = Options(url=(Secret(f"postgresql://u:{SECRET}@h/d"),))
    assert SECRET not in repr(options)
    assert SECRET not in repr(parse_place(options.url[0].reveal()))


GUARDED = {  # URL: (with private hosts, without them): the TLS that is used or the refusal
    "postgresql://u@127.0.0.1/d": ("clear", "loopback"),
    "postgresql://u@10.0.0.1/d": ("verified", "private use"),
    "postgresql://u@10.0.0.1/d?sslmode=require": ("encrypted", "private use"),
    "postgresql://u@10.0.0.1/d?sslmode=disable": ("clear", "private use"),
    "postgresql://u@93.184.215.14/d": ("verified", "verified"),
    "postgresql://u@93.184.215.14/d?sslmode=disable": ("public address", "public address"),
    "postgresql://u@/d?host=/run/pg": ("clear", "Unix socket"),
}


@pytest.mark.parametrize("url", GUARDED)
@pytest.mark.parametrize("allow_private", [True, False])
async def test_the_guard_and_the_choice_of_tls(url: str, allow_private: bool) -> None:
    expected = GUARDED[url][0 if allow_private else 1]
    try:
        tls = (await check(parse_place(url), allow_private=allow_private)).tls
        found = "clear" if tls is None else "verified" if tls.check_hostname else "encrypted"
    except PlaceRefused as refused:
        found = str(refused)
    assert expected in found


REFUSED_OPTIONS = {
    "no url": {"url": []},
    "an unreadable url": {"url": ["x"]},
    "a schema that is no plain name": {"schema": 'a"; drop'},
    "a system schema": {"schema": "pg_catalog"},
    "no time at all": {"timeout_s": 0},
    "a category with a quote": {"needs": ["a'b"]},
    "an unknown option": {"sslmode": "disable"},
}


@pytest.mark.parametrize("changed", REFUSED_OPTIONS.values(), ids=REFUSED_OPTIONS)
def test_options_are_refused(changed: dict[str, object]) -> None:
    given = {"url": ["postgresql://u:p@h/d"], **changed}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, Options, dec_hook=lambda kind, text: kind(text))


RETRY, FINAL, AUTH = Grade.FAILED_RETRY, Grade.FAILED_FINAL, Grade.AUTH_BLOCKED
ERRORS: dict[type[Exception], tuple[Grade, bool]] = {  # error: (grade, pause)
    asyncpg.ConnectionDoesNotExistError: (RETRY, False),
    asyncpg.TooManyConnectionsError: (RETRY, False),
    asyncpg.DiskFullError: (RETRY, False),
    asyncpg.CannotConnectNowError: (RETRY, False),
    asyncpg.QueryCanceledError: (RETRY, False),
    asyncpg.DeadlockDetectedError: (RETRY, False),
    asyncpg.LockNotAvailableError: (RETRY, False),
    asyncpg.ReadOnlySQLTransactionError: (RETRY, False),
    asyncpg.InternalServerError: (RETRY, False),
    asyncpg.UntranslatableCharacterError: (FINAL, False),
    asyncpg.NotNullViolationError: (FINAL, False),
    asyncpg.ProgramLimitExceededError: (FINAL, False),
    asyncpg.UndefinedTableError: (FINAL, True),
    asyncpg.InvalidCatalogNameError: (FINAL, True),
    asyncpg.InvalidPasswordError: (AUTH, True),
    asyncpg.InvalidAuthorizationSpecificationError: (AUTH, True),
    asyncpg.InsufficientPrivilegeError: (AUTH, True),
    ConnectionRefusedError: (RETRY, False),
    TimeoutError: (RETRY, False),
    PlaceRefused: (FINAL, True),
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_what_an_error_means(error: type[Exception]) -> None:
    outcome = outcome_of(error("the person's row"))
    assert (outcome.grade, outcome.pause) == ERRORS[error]
    if error is not PlaceRefused:
        assert "person" not in outcome.detail


def test_a_grant_counts_from_when_it_was_made_and_a_denial_from_when_it_was_received() -> None:
    message = choice("m", {"a": True, "b": False}, made=-5, received=0, user_id="u")
    made = changes_for(message)[0].granted_at
    assert made is not None
    assert made < NOON
    assert set(changes_for(message)) == {
        Change("anonymous", "device-1", "a", None, made),
        Change("user", "u", "a", None, made),
        Change("anonymous", "device-1", "b", NOON, None),
        Change("user", "u", "b", NOON, None),
    }


def test_a_clock_that_runs_ahead_does_not_date_a_grant_into_the_future() -> None:
    (change,) = changes_for(choice("m", {"a": True}, made=3600, received=0))
    assert change.granted_at == NOON


UNSENDABLE = {
    "no Unicode text": track("\ud800"),
    "no readable time": replace(track("m"), timestamp="yesterday"),
    "a time without a zone": replace(track("m"), received_at="2026-11-05T12:00:00"),
    "no JSON": track("m", properties={"a": object()}),
    "a lone surrogate": track("m", properties={"a": "\ud800"}),
}


@pytest.mark.parametrize("message", UNSENDABLE.values(), ids=UNSENDABLE)
def test_an_event_that_no_database_could_hold_has_no_row_but_a_reason(message: Message) -> None:
    entry = entry_for(3, message)
    assert entry.position == 3
    assert entry.row is None
    assert entry.reason


def test_the_note_on_the_view_tells_one_form_from_another() -> None:
    one, same, other = (
        sql.form_of(sql.set_up("s", needs)) for needs in (("a", "b"), ("b", "a"), ("a",))
    )
    assert one == same != other
