"""The small files that a stack keeps: its secrets, its keys, what runs, and whose the folder is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STACK_FOLDER = Path(".greenroom")
_LOCK = "up.lock"


def read(path: Path) -> dict[str, Any]:
    """What was written last; nothing, where nothing was."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


def write(path: Path, content: Mapping[str, Any]) -> None:
    """For its owner alone. A crash or a full disk leaves what was there before: without its secrets no stack can read
    its data. Raises OSError."""
    partial = path.with_name(f".{path.name}.part")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def take(folder: Path) -> int:
    """The folder is ours alone while anybody has this descriptor open. Raises BlockingIOError while others have it."""
    while True:
        folder.mkdir(exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(folder / _LOCK)):
                return lock
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # the folder was forgotten in between, and this one with it


def holders(folder: Path) -> list[int]:
    """The pids of the processes that have the folder, as far as we may look."""
    lock, found = str((folder / _LOCK).absolute()), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(each) == lock for each in (process / "fd").iterdir()):
                found.append(int(process.name))
    return sorted(found)


def forget(folder: Path) -> None:
    """All that is in a folder that was taken. A crash leaves it whole, or a part of it where nobody looks for it."""
    gone = folder.with_name(f"{folder.name}.forgotten")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone)
