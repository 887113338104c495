"""The asset store: durable, content-addressed, and nothing in it that nobody can find."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faces.assets import Assets, MissingAsset

pytestmark = pytest.mark.processes


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_all_that_was_stored_for_one_is_removed_together(tmp_path: Path) -> None:
    assets = Assets(tmp_path)
    one, other = assets.put(b"portrait", "av_1"), assets.put(b"face", "av_1")
    kept = assets.put(b"somebody else's", "av_2")
    (tmp_path / one[:2] / f"{one}.0a1b2c3d.part").write_bytes(b"of a put that died")
    assets.remove_owned("av_1")
    assets.remove_owned("av_1")
    assert assets.get(kept) == b"somebody else's"
    for name in (one, other):
        with pytest.raises(MissingAsset):
            assets.get(name)
    assert len(files(tmp_path)) == 2  # the blob, and whose it is


@pytest.mark.parametrize("owner", ["../../etc", "", "a" * 300, "av_1/x", "av\0"])
def test_an_owner_is_no_path(tmp_path: Path, owner: str) -> None:
    folder = tmp_path / "assets"
    Assets(folder).put(b"portrait", owner)
    assert len(files(folder)) == len(files(tmp_path)) == 2
    Assets(folder).remove_owned(owner)
    assert files(tmp_path) == []


def test_a_full_disk_is_not_kept_full(tmp_path: Path) -> None:
    """In a process of its own, that may write no file beyond 1,000 bytes."""
    script = (
        "import resource, sys; from pathlib import Path; from faces.assets import Assets;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); Assets(Path(sys.argv[1])).put(bytes(5000), 'av_1')"
    )
    died = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=False)
    assert b"File too large" in died.stderr
    assert [path.stat().st_size for path in files(tmp_path)] == [0]  # that it was to be the avatar's
    Assets(tmp_path).remove_owned("av_1")
    assert files(tmp_path) == []


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


@pytest.mark.parametrize("error", [PermissionError(1, "not the owner"), OSError(30, "read-only file system")], ids=repr)
def test_a_folder_that_cannot_be_shut_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError
) -> None:
    name = Assets(tmp_path / "assets").put(b"a face")
    (tmp_path / "assets").chmod(0o755)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Path, "chmod", refuse)
    assert Assets(tmp_path / "assets").get(name) == b"a face"
    assert "cannot be shut" in "".join(capsys.readouterr())
