"""The console's own checks and its build; and that both verifiers of a bill say the same of the same file."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.web.proofs import FILE, KEY, made
from tools import web

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
MOST_KB = 350
"""Of what the browser loads before the first page is shown, as it goes over the line."""


def test_types_lint_and_unit_tests(console: Path) -> None:
    try:
        web.check()
    except web.NoPackages as failed:
        pytest.skip(f"needs Node and npm packages (#15): {failed}")


def test_the_first_load_is_small(console: Path) -> None:
    """The page, and what it names; fonts as they are, all else with gzip."""
    page = (console / "index.html").read_text()
    first = [console / name for name in re.findall(r'"/console/(assets/[^"]+)"', page)]
    sheets = "".join(path.read_text() for path in first if path.suffix == ".css")
    fonts = [console / "assets" / name for name in re.findall(r"([\w-]+\.woff2)", sheets)]
    assert len(first) >= 3
    assert len(fonts) == 2
    size = sum(path.stat().st_size for path in fonts) + sum(len(gzip.compress(path.read_bytes())) for path in first)
    assert size < MOST_KB * 1024
    assert not any(b"livekit" in path.read_bytes() for path in first if path.suffix == ".js")


def test_nothing_is_written_into_the_page(console: Path) -> None:
    """Its policy would refuse it: no inline script, no inline style, nothing from elsewhere."""
    page = (console / "index.html").read_text()
    assert not re.search(r"<style|style=|<script(?![^>]*\bsrc=)|\bon\w+=", page)
    assert set(re.findall(r'(?:src|href)="([^"]+)"', page)) == {
        f"/console/{path.relative_to(console)}"
        for path in (console / "assets").iterdir()
        if f"/console/assets/{path.name}" in page
    }


def test_a_second_build_is_none(console: Path) -> None:
    assert web.build() is False


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (web.WEB / "package-lock.json").read_text()


def test_the_file_of_both_verifiers() -> None:
    """web/test/verify.test.ts tries the browser's with it."""
    assert FILE.read_bytes() == made()
    script = [sys.executable, "-I", str(ROOT / "examples" / "verify_proof.py"), str(FILE), KEY.public]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
