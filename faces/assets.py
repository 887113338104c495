"""Portraits and built faces: blobs named by their content, behind one port. Here it is a folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from pathlib import Path

import structlog

log = structlog.get_logger()

_NAME = re.compile(r"[0-9a-f]{64}")
_OWNER = re.compile(r"[A-Za-z0-9_]{1,64}")


class MissingAsset(Exception):
    """There is no such blob, or what is there is not what its name says."""


class Assets:
    """A folder that all processes of one install see. Blobs never change, so nothing is ever locked.

    Faces are people's: nobody but the owner of the folder reads it or what is in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if folder.is_dir() and folder.stat().st_mode & 0o077:
            _shut(folder)

    def put(self, data: bytes, owner: str | None = None) -> str:
        """Store durably; returns the name. Storing the same again changes nothing. Raises OSError.

        `owner`: the avatar that it belongs to, written down first. If it crashes here, `remove_owned` finds all of it.
        """
        name = hashlib.sha256(data).hexdigest()
        path = self._path(name)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if owner is not None:
            self._note(owner, name)
        if path.exists():
            return name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        partial = path.with_name(f"{name}.{secrets.token_hex(4)}.part")
        try:
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
        except OSError:  # a full disk, say, which must not be kept full
            partial.unlink(missing_ok=True)
            raise
        _sync(path.parent)
        _sync(self._folder)
        return name

    def get(self, name: str) -> bytes:
        """Raises MissingAsset."""
        if not _NAME.fullmatch(name):
            raise MissingAsset("not the name of an asset")
        try:
            data = self._path(name).read_bytes()
        except OSError as failed:
            raise MissingAsset(f"asset {name[:12]}… cannot be read: {failed.strerror}") from None
        if hashlib.sha256(data).hexdigest() != name:
            raise MissingAsset(f"asset {name[:12]}… is damaged")
        return data

    def remove(self, name: str) -> None:
        """Nothing happens when it is not there. Raises OSError."""
        if _NAME.fullmatch(name):
            self._path(name).unlink(missing_ok=True)

    def remove_owned(self, owner: str) -> None:
        """All that was stored for `owner`, also what a crash has left nobody else to know of. Raises OSError."""
        folder = self._owned(owner)
        if not folder.is_dir():
            return
        for note in list(folder.iterdir()):
            path = self._path(note.name)
            for each in (path, *path.parent.glob(f"{note.name}.*.part"), note):
                each.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # more was stored meanwhile
            folder.rmdir()

    def _note(self, owner: str, name: str) -> None:
        folder = self._owned(owner)
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / name).touch(mode=0o600)
        _sync(folder)
        _sync(folder.parent)

    def _owned(self, owner: str) -> Path:
        safe = owner if _OWNER.fullmatch(owner) else hashlib.sha256(owner.encode()).hexdigest()
        return self._folder / "owners" / safe

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name


def _shut(folder: Path) -> None:
    """A folder of an earlier version, or one that was made by hand. It is itself the last: a crash here begins anew."""
    try:
        for path in folder.rglob("*"):
            if not path.is_symlink():
                with contextlib.suppress(FileNotFoundError):  # a `.part` that has its name by now
                    path.chmod(0o700 if path.is_dir() else 0o600)
        folder.chmod(0o700)
    except OSError as failed:  # somebody else's, or mounted for reading: a worker may still draw from it
        log.warning("others may read the assets: their folder cannot be shut", folder=str(folder), error=repr(failed))


def _sync(folder: Path) -> None:
    """The rename itself must survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
