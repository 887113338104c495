"""What is kept of builds, and how one takes the place of another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.console_files import Files
from tools import web

pytestmark = pytest.mark.unit


def written(folder: Path, *names: str) -> Path:
    for name in (*names, "index.html", ".stamp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{folder.name} {name}")
    return folder


def test_a_build_takes_the_place_of_another(tmp_path: Path) -> None:
    built, files = tmp_path / "dist", Files(tmp_path / "dist")
    web.take(written(tmp_path / "one", "assets/app-1.js"), built)
    os.utime(built / "index.html", ns=(1, 1))
    assert files.at("assets/app-1.js") is not None
    web.take(written(tmp_path / "two", "assets/app-2.js"), built)
    assert {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()} == {
        "assets/app-2.js",
        "index.html",
        ".stamp",
    }
    page = files.at("")
    assert page is not None
    assert page.content == b"two index.html"
    (built / "index.html").unlink()
    assert files.at("") == page
    assert files.at("assets/app-2.js") is not None


def test_what_is_taken_from_the_cache_has_the_packages_of_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second checkout, where everything was built by another: nothing is fetched, nothing is run."""
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    for name, path in (("BUILT", "dist"), ("STAMP", "dist/.stamp"), ("MODULES", "node_modules")):
        monkeypatch.setattr(web, name, tmp_path / "checkout" / path)
    (tmp_path / "checkout").mkdir()
    wanted = web.digest(web.sources())
    (written(tmp_path / "console" / f"built-{wanted}") / ".stamp").write_text(wanted)
    axe = tmp_path / "console" / f"modules-{web.digest(web.LOCKS)}" / "node_modules" / "axe-core"
    axe.mkdir(parents=True)
    (axe.parents[1] / "done").touch()
    for n in range(4):
        old = written(tmp_path / "console" / f"built-{n}")
        os.utime(old, (n, n))
    assert not web.is_built()
    assert web.build() is True
    assert (web.MODULES / "axe-core").is_dir()
    assert web.is_built()
    assert web.build() is False
    assert {path.name for path in (tmp_path / "console").glob("built-*")} == {f"built-{wanted}", "built-3", "built-2"}
