"""The family of a browser, by its User-Agent: Firefox, and no more of it is kept.

A full user agent with an address tells people apart. What a record needs is what a person
could have seen, and for that the family is enough. A dozen names are read here rather than a
thousand patterns: the answer is evidence, nothing is decided by it.
"""

from __future__ import annotations

LONGEST = 1000  # characters that are read
OTHER = "other"

# In this order: most browsers also call themselves by the names below their own.
_FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("bot", ("bot", "crawler", "spider", "headless")),
    ("Samsung Internet", ("samsungbrowser/",)),
    ("Opera", ("opr/", "opera/", "opt/", "opios/")),
    ("Edge", ("edg/", "edge/", "edga/", "edgios/")),
    ("Vivaldi", ("vivaldi/",)),
    ("Yandex", ("yabrowser/",)),
    ("UC Browser", ("ucbrowser/",)),
    ("DuckDuckGo", ("duckduckgo/", "ddg/")),
    ("Firefox", ("firefox/", "fxios/", "focus/")),
    ("Chrome", ("chrome/", "crios/", "chromium/")),
    ("Safari", ("safari/",)),
    ("Internet Explorer", ("msie ", "trident/")),
)


def family_of(user_agent: str) -> str | None:
    """One of a dozen names, ``other``, or None where none was sent."""
    said = user_agent[:LONGEST].lower()
    if not said.strip():
        return None
    return next((name for name, marks in _FAMILIES if any(m in said for m in marks)), OTHER)
