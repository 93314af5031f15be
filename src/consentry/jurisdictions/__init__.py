"""Which regime holds where: rows with their sources, and the rule of a place at a moment.

Pure but for reading ``rules.json``, which ships with the package. Nothing here is legal advice.
"""

from consentry.core.rule import (
    NOBODY_LOOKED,
    UNKNOWN,
    Age,
    Ban,
    Duty,
    Exemption,
    Gpc,
    How,
    Law,
    Needs,
    Place,
    Rule,
    place_of_code,
)
from consentry.jurisdictions.lookup import known_place, regimes_of, rule_at, rule_of, starts
from consentry.jurisdictions.rows import Row, due, rows

__all__ = [
    "NOBODY_LOOKED",
    "UNKNOWN",
    "Age",
    "Ban",
    "Duty",
    "Exemption",
    "Gpc",
    "How",
    "Law",
    "Needs",
    "Place",
    "Row",
    "Rule",
    "due",
    "known_place",
    "place_of_code",
    "regimes_of",
    "rows",
    "rule_at",
    "rule_of",
    "starts",
]
