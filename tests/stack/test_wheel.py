"""What is published is whole: a wheel of a clean checkout, from which the command runs with nothing else of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.docs.test_pages import ROOT, files

pytestmark = pytest.mark.processes

PACKAGES = ("api", "cli", "events", "faces", "projections", "reactors", "schemas", "stack", "store", "workers")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the files that git tracks, built by the setuptools that is here: no network is asked for anything."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in files():
        if (target := folder / path.relative_to(ROOT)).parent.name != "node_modules":
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    uv = Path(sys.executable).with_name("uv")
    build = [
        str(uv),
        "build",
        "--quiet",
        "--wheel",
        "--offline",
        "--no-build-isolation",
        "--python",
        sys.executable,
        str(folder),
    ]
    subprocess.run([*build, "--out-dir", str(folder / "out")], check=True, timeout=240, capture_output=True)
    (built,) = (folder / "out").glob("*.whl")
    return built


def test_it_has_all_that_the_rooms_have(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        there = set(archive.namelist())
    wanted = {
        str(path.relative_to(ROOT)) for room in PACKAGES for path in files(ROOT / room) if path.name != "README.md"
    }
    assert not wanted - there


def test_the_command_runs_from_it_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    told = "import cli.main, cli.customer; assert cli.customer.speech(); print(cli.main.__file__)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "installed")}
    ran = subprocess.run(
        [sys.executable, "-c", told],
        cwd=tmp_path,
        env=environment,
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.startswith(str(tmp_path))
