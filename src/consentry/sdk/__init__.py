"""The browser files as they were built (``sdk/js/dist``), for whoever serves them or reads texts."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import MappingProxyType

# In the wheel they lie beside this file; in a checkout where they are built.
_PLACES = (
    Path(__file__).parent / "dist",
    Path(__file__).parents[3] / "sdk" / "js" / "dist",
)
_LANGUAGE, _JSON = "lang/", ".json"


class NotBuilt(Exception):
    """The browser files are not where they should be: run ``make sdk``."""


@cache
def files() -> MappingProxyType[str, bytes]:
    """Every file by its name below ``/sdk/``, such as ``lang/en.json``. Raises NotBuilt."""
    place = next((p for p in _PLACES if (p / "manifest.json").is_file()), None)
    if place is None:
        raise NotBuilt("the browser files are missing; run: make sdk")
    named = json.loads((place / "manifest.json").read_bytes())["files"]
    found = {name: (place / name).read_bytes() for name in (*named, "manifest.json")}
    return MappingProxyType(found)


@cache
def languages() -> tuple[str, ...]:
    """The languages that have texts, as BCP 47 tags, sorted."""
    return tuple(
        sorted(
            name.removeprefix(_LANGUAGE).removesuffix(_JSON)
            for name in files()
            if name.startswith(_LANGUAGE)
        )
    )


@cache
def texts(language: str) -> MappingProxyType[str, str]:
    """The texts of one of ``languages()``, by key. Raises KeyError for another."""
    found: dict[str, str] = json.loads(files()[f"{_LANGUAGE}{language}{_JSON}"])
    return MappingProxyType(found)
