"""The folder of portraits and faces: who may read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faces.assets import Assets

pytestmark = pytest.mark.unit


def modes(folder: Path) -> set[tuple[bool, int]]:
    """(a folder?, permissions) of all that is there."""
    return {(path.is_dir(), path.stat().st_mode & 0o777) for path in (folder, *folder.rglob("*"))}


def test_what_is_stored_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assets = Assets(tmp_path / "some" / "assets")
        name = assets.put(b"a face")
    finally:
        os.umask(before)
    assert modes(tmp_path / "some" / "assets") == {(True, 0o700), (False, 0o600)}
    assert assets.get(name) == b"a face"


def test_a_folder_that_is_open_is_shut_with_all_in_it(tmp_path: Path) -> None:
    folder, outside = tmp_path / "assets", tmp_path / "outside"
    outside.touch(mode=0o644)
    name = Assets(folder).put(b"a face")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    (folder / "link").symlink_to(outside)
    Assets(folder)
    (folder / "link").unlink()
    assert modes(folder) == {(True, 0o700), (False, 0o600)}
    assert outside.stat().st_mode & 0o777 == 0o644
    assert Assets(folder).get(name) == b"a face"
