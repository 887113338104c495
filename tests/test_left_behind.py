"""A run that leaves tasks behind fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

LEAVING = """
import asyncio, gc

async def test_leaves():
    async def wait():
        await asyncio.get_running_loop().create_future()
    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    {end}
    del task
    gc.collect()
"""

PLUGIN = ("-p", "tests.conftest")


@pytest.mark.parametrize(
    ("end", "lanes", "code"), [("", 0, 1), ("", 1, 1), ("task.cancel(); await asyncio.wait([task])", 1, 0)]
)
def test_a_task_that_is_dropped_while_it_waits_fails_the_run(tmp_path: Path, end: str, lanes: int, code: int) -> None:
    (tmp_path / "test_leaving.py").write_text(LEAVING.format(end=end))
    root = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"-n{lanes}", "-c", str(root / "pyproject.toml"), *PLUGIN, tmp_path],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "1 passed" in run.stdout
    assert run.returncode == code, run.stdout
    assert ("LEFT BEHIND" in run.stdout) is bool(code)
