"""The documents are true where a program can tell: configurations parse, links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from consentry.config import read_config
from consentry.destinations.registry import KINDS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("spec/*.md")])
ENVIRONMENT = {
    "CONSENTRY_ADMIN_KEY": "a" * 40,
    "CONSENTRY_BACKEND_KEY": "b" * 40,
    "HOOK_SECRET": "h" * 40,
    "CONSENTRY_LINK_SECRET": "l" * 40,
    "SMS_SECRET": "s" * 40,
    "OPS_SECRET": "o" * 40,
    "SMTP_URL": "smtp://mail.example:587",
}


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


CONFIGURATIONS = [(page.name, text) for page in PAGES for text in blocks(page, "toml")]


@pytest.mark.parametrize(("page", "text"), CONFIGURATIONS, ids=[p for p, _ in CONFIGURATIONS])
def test_a_configuration_in_the_documents_is_valid(page: str, text: str) -> None:
    read_config(text, ENVIRONMENT, kinds=KINDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_in_the_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), target


def test_the_documents_hold_a_configuration() -> None:
    assert CONFIGURATIONS


def test_the_tests_that_security_names_are_there() -> None:
    named = re.findall(r"`([a-z0-9_]+/[A-Za-z0-9_./]*)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 30
    assert [path for path in named if not (ROOT / "tests" / path).exists()] == []


PROGRAMS = [(page.name, text) for page in PAGES for text in blocks(page, "python")]


@pytest.mark.parametrize(("page", "text"), PROGRAMS, ids=[p for p, _ in PROGRAMS])
def test_a_program_in_the_documents_runs(page: str, text: str, tmp_path: Path) -> None:
    """As it stands there, beside the configuration of the README, without any secret."""
    (tmp_path / "consentry.toml").write_text(blocks(ROOT / "README.md", "toml")[0])
    environment = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    ran = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_documents_hold_a_program() -> None:
    assert PROGRAMS
