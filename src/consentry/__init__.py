"""Consentry: a choice is recorded, propagated, enforced and proven."""

__version__ = "0.1.0"
