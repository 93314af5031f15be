"""A secret that does not print itself."""

from __future__ import annotations

import hmac


class Secret:
    """A string that shows as ``***`` everywhere and is compared in constant time."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself; call it only where it goes onto a wire or into a MAC."""
        return self._value

    def matches(self, candidate: str) -> bool:
        """Whether ``candidate`` is this secret, in time that does not depend on where they differ."""
        return hmac.compare_digest(self._value.encode(), candidate.encode("utf-8", "surrogatepass"))

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other._value)

    def __hash__(self) -> int:
        return hash(self._value)
