"""How keys are compared: never as text, so that no clock tells how much of a guess was right."""

from __future__ import annotations

import hmac
from dataclasses import replace

import pytest

from consentry.config import Source
from consentry.secret import Secret
from consentry.web.site import Site
from tests.fuzz.headers import ADMIN, quiet

BACKEND = "backend-0123456789-0123456789-0123456"


class Guess(str):
    """Text that remembers whether anybody compared it, or looked it up, as text."""

    compared = False

    def __eq__(self, other: object) -> bool:
        Guess.compared = True
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        Guess.compared = True
        return str.__hash__(self)


@pytest.fixture
def site() -> Site:
    Guess.compared = False
    made = replace(quiet())
    sources = (*made.config.sources, Source("backend", secret_keys=(Secret(BACKEND),)))
    made.take_config(replace(made.config, sources=sources))
    return made


GUESSES = [ADMIN, ADMIN[:-1], ADMIN[:-1] + "x", BACKEND, BACKEND[:-1], "wk_website", "", "\udcff"]


@pytest.mark.parametrize("text", GUESSES)
def test_no_key_is_compared_as_text(site: Site, text: str) -> None:
    guess = Guess(text)
    found = site.source_of(guess)
    assert site.is_admin(guess) is (text == ADMIN)
    assert (found is None) == (text not in (BACKEND, "wk_website"))
    assert Secret(BACKEND).matches(guess) is (text == BACKEND)
    assert not Guess.compared


def test_a_guess_would_notice() -> None:
    Guess.compared = False
    assert Guess(ADMIN) == ADMIN
    assert Guess.compared
    Guess.compared = False
    assert Guess("a") in {"a": 1}
    assert Guess.compared


def test_secrets_are_compared_by_the_function_that_is_made_for_it() -> None:
    """`hmac.compare_digest` looks at every byte; nothing else stands in the comparison."""
    assert "compare_digest" in Secret.matches.__code__.co_names
    assert Secret.matches.__globals__["hmac"] is hmac
    assert "matches" in Secret.__eq__.__code__.co_names


def test_every_admin_key_is_asked(site: Site) -> None:
    """Which of two keys it was takes no less time than that it was none."""
    asked: list[str] = []

    class Asked(Secret):
        def matches(self, candidate: str) -> bool:
            asked.append(self.reveal())
            return super().matches(candidate)

    server = replace(site.config.server, admin_keys=(Asked("one"), Asked("two")))
    site.take_config(replace(site.config, server=server))
    assert site.is_admin("one")
    assert asked == ["one", "two"]
