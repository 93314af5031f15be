"""Places by address: a real file, read again when it changes, and no place when it is broken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import maxminddb
import pytest

from consentry.core.rule import UNKNOWN, How, Place
from consentry.web.address_file import LOOK_EVERY_S, AddressFile, place_of_entry
from tests.web.mmdb_file import mmdb

BERLIN = {"country": {"iso_code": "DE"}, "subdivisions": [{"iso_code": "BE"}]}
FRESNO = {"country": {"iso_code": "US"}, "subdivisions": [{"iso_code": "CA"}]}
GUAM = {"registered_country": {"iso_code": "US"}}
NETWORKS = {"203.0.113.0/24": BERLIN, "198.51.100.0/25": FRESNO, "2001:db8::/32": BERLIN}
DE_BE = Place("DE", "BE", How.ADDRESS)
US_CA = Place("US", "CA", How.ADDRESS)


class Hours:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def look(self, found: AddressFile, address: str) -> Place:
        """The place, after the file was looked at twice."""
        for _ in range(2):
            self.now_s += LOOK_EVERY_S
            place = found.place_of(address)
        return place


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "places.mmdb"
    file.write_bytes(mmdb(NETWORKS))
    return file


def test_the_file_that_tests_write_is_what_the_library_reads(path: Path) -> None:
    with maxminddb.open_database(path) as reader:
        assert reader.get("203.0.113.9") == BERLIN
        assert reader.get("192.0.2.1") is None


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("203.0.113.9", DE_BE),
        ("198.51.100.9", US_CA),
        ("198.51.100.200", UNKNOWN),
        ("2001:db8::1", DE_BE),
        ("127.0.0.1", UNKNOWN),
        ("not an address", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_an_address_has_the_place_of_its_network(path: Path, address: str, place: Place) -> None:
    found = AddressFile(str(path))
    assert found.broken is None
    assert [found.place_of(address), found.place_of(address)] == [place, place]


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"country": {"iso_code": "FR"}}, Place("FR", None, How.ADDRESS)),
        ({"country": "FR"}, Place("FR", None, How.ADDRESS)),
        ({"country": "France", "country_code": "FR"}, Place("FR", None, How.ADDRESS)),
        ({"country_code": "US", "region_code": "TX"}, Place("US", "TX", How.ADDRESS)),
        ({"country": {"iso_code": "US"}, "subdivisions": []}, Place("US", None, How.ADDRESS)),
        ({"country": {"iso_code": "US"}, "subdivisions": [7]}, Place("US", None, How.ADDRESS)),
        (GUAM, UNKNOWN),
        ({"country": {"iso_code": "XX"}}, UNKNOWN),
        ({"country": {"iso_code": 7}}, UNKNOWN),
        ({}, UNKNOWN),
        ("DE", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_an_entry_is_read_as_its_makers_write_it(entry: Any, place: Place) -> None:
    assert place_of_entry(entry) == place


def test_a_changed_file_is_read_once_it_has_settled(path: Path) -> None:
    hours = Hours()
    found = AddressFile(str(path), hours)
    assert found.place_of("203.0.113.9") == DE_BE
    path.write_bytes(mmdb({"203.0.113.0/24": FRESNO}, built=1_800_000_000))
    os.utime(path, (1, 1))
    assert found.place_of("203.0.113.9") == DE_BE
    hours.now_s += LOOK_EVERY_S
    assert found.place_of("203.0.113.9") == DE_BE, "it may still be being written"
    hours.now_s += LOOK_EVERY_S
    assert found.place_of("203.0.113.9") == US_CA


def test_a_file_that_goes_or_breaks_is_no_place_and_says_so(path: Path) -> None:
    hours = Hours()
    found = AddressFile(str(path), hours)
    path.unlink()
    assert hours.look(found, "203.0.113.9") == UNKNOWN
    assert found.broken == "FileNotFoundError"
    path.write_bytes(b"no such format")
    assert hours.look(found, "203.0.113.9") == UNKNOWN
    assert found.broken == "InvalidDatabaseError"
    path.write_bytes(mmdb(NETWORKS))
    assert hours.look(found, "203.0.113.9") == DE_BE
    assert found.broken is None


def test_a_file_that_is_missing_at_the_start_is_taken_when_it_comes(tmp_path: Path) -> None:
    hours = Hours()
    late = tmp_path / "late.mmdb"
    found = AddressFile(str(late), hours)
    assert (found.place_of("203.0.113.9"), found.broken) == (UNKNOWN, "FileNotFoundError")
    late.write_bytes(mmdb(NETWORKS))
    assert hours.look(found, "203.0.113.9") == DE_BE


def test_damaged_bytes_are_no_place_and_never_another(path: Path) -> None:
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        place = AddressFile(str(path)).place_of("203.0.113.9")
        assert place.country is None or len(place.country) == 2
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert AddressFile(str(path)).place_of("203.0.113.9") == UNKNOWN
