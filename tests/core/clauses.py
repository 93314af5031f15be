"""Which clause of the specification a law holds.

``@holds("R2")`` over a law says that a product which breaks R2 fails it. That every clause is
held, and that only clauses are named, is asked by ``test_every_clause.py``.
"""

from __future__ import annotations

import pytest

holds = pytest.mark.holds
