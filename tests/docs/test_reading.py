"""The pages as a reader does what they say: in a checkout, on a real stack, from the top to the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import portraits
from tests.clients import environments
from tests.docs.blocks import PAGES, ROOT, RUN, Block, Reader, blocks

pytestmark = [pytest.mark.media, pytest.mark.timeout(900)]

READ = [page for page in PAGES if any(block.is_read for block in blocks(page))]
NAMES = [str(page.relative_to(ROOT)) for page in READ]
IN_EACH_RUN = ("docs/tutorial/first-face.md", "docs/tutorial/bill.md")
LONG = pytest.mark.skipif(
    not os.environ.get("GREENROOM_READ_ALL"), reason="ten minutes for all pages: `make read-pages` reads them (#17)"
)
CHECKOUT = ("cli", "docs", "examples", "requirements", "docker-compose.yml", "Makefile", "schemas", "tests", "faces")
"""What a reader finds in a checkout, as far as pages name it. What is written there is not the repository's."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder as after `make setup`, with what pages ask a reader to have: a portrait, the packages of an agent and
    of an analyst. (folder, environment)"""
    folder = tmp_path_factory.mktemp("checkout")
    for name in CHECKOUT:
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "agent-venv").symlink_to(environments.python().parent.parent)
    (folder / "analyst-venv").symlink_to(environments.analyst().parent.parent)
    portraits.hopper().save(folder / "portrait.jpg")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GREENROOM_")}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    try:
        # A session that is over, and billed: as the tutorial leaves some behind, of which how-tos take the last one.
        _greenroom(folder, environment, "up", "--detach", timeout_s=330)
        _greenroom(folder, environment, "demo", timeout_s=240, judge=False)
        yield folder, environment
    finally:
        _greenroom(folder, environment, "down", timeout_s=120)


def _greenroom(folder: Path, environment: dict[str, str], *args: str, timeout_s: float, judge: bool = True) -> str:
    """What it printed. A failure says what it complained of; without `judge` nothing is one."""
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main", *args],
        cwd=folder,
        env=environment,
        check=False,
        timeout=timeout_s,
        capture_output=True,
        text=True,
    )
    assert not judge or ran.returncode == 0, f"greenroom {' '.join(args)}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.parametrize(
    "page",
    [pytest.param(ROOT / name, id=name, marks=() if name in IN_EACH_RUN else LONG) for name in NAMES],
)
def test_a_page_does_what_it_says(checkout: tuple[Path, dict[str, str]], page: Path) -> None:
    folder, environment = checkout
    _greenroom(folder, environment, "up", "--detach", timeout_s=330)  # a page before may have stopped it
    variables = _greenroom(folder, environment, "env", timeout_s=60)
    path = f"{folder / '.venv' / 'bin'}:{environment['PATH']}"
    with Reader(folder, environment | {"PATH": path}) as reader:
        # Where the how-tos begin; the tutorial says it, and so does their index.
        reader.read(Block(page, 0, "sh", variables))
        for block in blocks(page):
            if block.language in RUN and block.is_read:
                print(f"{block.where}\n{reader.read(block)}")
