"""The small files that a stack keeps: its secrets, its keys, what runs, and whose the folder is."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STACK_FOLDER = Path(".greenroom")


def read(path: Path) -> dict[str, Any]:
    """What was written last; nothing, where nothing was."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


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
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock
