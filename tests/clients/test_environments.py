"""An environment is made once, and never trusted before it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import environments

pytestmark = pytest.mark.unit


def test_what_was_left_half_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    lock = tmp_path / "some.lock"
    lock.write_text("a==1")
    made: list[Path] = []

    def broken(folder: Path) -> None:
        (folder / "half").mkdir(parents=True)
        raise ConnectionError

    def whole(folder: Path) -> None:
        assert not (folder / "half").exists()
        folder.mkdir(parents=True)
        made.append(folder)

    with pytest.raises(ConnectionError):
        environments.kept("python", [lock], broken)
    assert environments.kept("python", [lock], whole) == environments.kept("python", [lock], whole)
    assert len(made) == 1
    lock.write_text("a==2")
    assert environments.kept("python", [lock], whole) == made[1]
