"""What a stack keeps survives whatever ends its writer."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stack import files

pytestmark = pytest.mark.unit


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
