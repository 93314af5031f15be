"""Identifiers as advertising systems want them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.destinations import named


@pytest.mark.parametrize(
    ("address", "plain", "google"),
    [
        (" Alice@Example.COM ", "alice@example.com", "alice@example.com"),
        ("a.li.ce@gmail.com", "a.li.ce@gmail.com", "alice@gmail.com"),
        ("a.b+c@googlemail.com", "a.b+c@googlemail.com", "ab+c@googlemail.com"),
        ("a.b@example.com", "a.b@example.com", "a.b@example.com"),
        ("...@gmail.com", "...@gmail.com", ""),
        ("nobody", "", ""),
        ("@example.com", "", ""),
        ("", "", ""),
    ],
)
def test_an_address(address: str, plain: str, google: str) -> None:
    assert named.email(address) == plain
    assert named.google_email(address) == google


@pytest.mark.parametrize(
    ("number", "meta", "e164"),
    [
        ("+49 (151) 123-456", "49151123456", "+49151123456"),
        ("0049 151 1", "491511", "+491511"),
        ("+1 555", "1555", "+1555"),
        ("(201) 555-0123", "2015550123", ""),  # +20 would be somebody in Egypt
        ("0151 123456", "151123456", ""),
        ("+0151 123456", "151123456", ""),
        ("none", "", ""),
        ("000", "", ""),
        ("", "", ""),
        ("1" * 16, "", ""),
    ],
)
def test_a_number(number: str, meta: str, e164: str) -> None:
    assert named.meta_phone(number) == meta
    assert named.e164(number) == e164


def test_nobody_is_not_hashed_into_somebody() -> None:
    assert named.sha256("") == ""
    assert named.sha256("a") == hashlib.sha256(b"a").hexdigest()


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(text: str) -> None:
    for normalise in (named.email, named.google_email, named.e164, named.meta_phone):
        assert normalise(normalise(text)) == normalise(text)
