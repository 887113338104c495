"""What a stack keeps survives whatever ends its writer, and is one stack's at a time."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack import files

pytestmark = pytest.mark.processes


def test_a_full_disk_leaves_the_secrets_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file was emptied first: a crash then, and no stack of this folder could ever read its data again."""
    path = tmp_path / "secrets.json"
    assert files.read(path) == {}
    files.write(path, {"master_keys": "m1:…"})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            files.write(path, {"master_keys": "m1:…", "api_key": "gr_…"})
    assert files.read(path) == {"master_keys": "m1:…"}
    files.write(path, {"api_key": "gr_…"})  # what was left of the other is no obstacle
    assert files.read(path) == {"api_key": "gr_…"}
    assert [(p.name, p.stat().st_mode & 0o777) for p in tmp_path.iterdir()] == [("secrets.json", 0o600)]


def test_a_folder_is_one_stack_s_until_its_last_process_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    ours = files.take(folder)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[ours])
    try:
        os.close(ours)
        with pytest.raises(BlockingIOError):
            files.take(folder)
        assert files.holders(folder) == [child.pid]
    finally:
        child.communicate(b"\n")
    os.close(files.take(folder))


def test_what_is_forgotten_is_nobody_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock was deleted among the first files: who came then had a folder whose data were still being deleted."""
    folder = tmp_path / "stack"
    ours = files.take(folder)
    files.write(folder / "secrets.json", {"master_keys": "m1:…"})
    deleted = []

    def delete(path: Path, **_: bool) -> None:
        if path.exists():
            deleted.append(path)
            other = files.take(folder)  # a new one
            assert files.read(folder / "secrets.json") == {}
            os.close(other)

    monkeypatch.setattr(shutil, "rmtree", delete)
    files.forget(folder)
    assert [path.name for path in deleted] == ["stack.forgotten"]
    os.close(ours)
