"""What reads the results of ``make mutants``: a survivor it misses would hide a hole."""

from __future__ import annotations

import tomllib

import pytest

from tests.mutants import LIST, ROOT, Mutant, differences, function_of, mutant_of

DIFF = """\
# consentry.core.fold.xǁOwnǁfree_from__mutmut_3: survived
--- src/consentry/core/fold.py
+++ src/consentry/core/fold.py
@@ -1,5 +1,6 @@
 def free_from(self) -> Moment:
-    denied_until = self.denied_until()
+    denied_until = None
     return 0
"""
ONE = Mutant("m.f", "a", "b")
OTHER = Mutant("m.f", "a", "c")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("consentry.core.fold.xǁOwnǁfree_from__mutmut_3", "consentry.core.fold.Own.free_from"),
        ("consentry.core.fold.x__later__mutmut_12", "consentry.core.fold._later"),
        ("a.b.xǁReaderǁ_merged__mutmut_1", "a.b.Reader._merged"),
        ("a.b.xǁReaderǁ__init____mutmut_1", "a.b.Reader.__init__"),
    ],
)
def test_a_mutant_is_known_by_the_names_in_the_source(name: str, function: str) -> None:
    assert function_of(name) == function


def test_a_mutant_is_what_it_takes_out_and_what_it_puts_in() -> None:
    mutant = mutant_of("consentry.core.fold.xǁOwnǁfree_from__mutmut_3", DIFF)

    assert mutant == (
        "consentry.core.fold.Own.free_from",
        "denied_until = self.denied_until()",
        "denied_until = None",
    )


def test_a_survivor_that_is_not_listed_and_one_listed_that_did_not_survive_are_told() -> None:
    assert differences([ONE, OTHER], [OTHER, ONE]) == ([], [])
    assert differences([ONE, OTHER], [ONE]) == ([OTHER], [])
    assert differences([ONE], [ONE, OTHER]) == ([], [OTHER])
    assert differences([ONE, ONE], [ONE]) == ([ONE], [])


def test_what_is_seeded_can_be_and_each_survivor_has_its_reason() -> None:
    listed = tomllib.loads(LIST.read_text())
    for seeded in listed["seeded"]:
        assert (ROOT / seeded["file"]).read_text().count(seeded["old"]) == 1, seeded["old"]
        assert seeded["old"] != seeded["new"]
    for survivor in listed.get("survivor", ()):
        assert survivor["why"], survivor
