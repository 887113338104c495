"""The built console: its files as browsers get them."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

BUILT = Path(__file__).with_name("dist")
"""What `make web` writes. It may come, and be another, while the process runs."""
_PAGE = "index.html"
_HASHED = "assets/"
"""Files below have a hash of their content in their name: one that has changed has another name."""
_FOR_EVER, _ASK = "public, max-age=31536000, immutable", "no-cache"
_PACKED = ("text/", "application/json", "application/javascript", "image/svg+xml", "application/manifest+json")


@dataclass(frozen=True)
class File:
    content: bytes
    packed: bytes | None
    """With gzip; None where that saves nothing."""
    type: str
    etag: str
    kept: str
    """`Cache-Control`."""


class Files:
    """Read once, and again when the page is another."""

    def __init__(self, folder: Path = BUILT) -> None:
        self._folder = folder
        self._built: float | None = None
        self._files: dict[str, File] = {}

    def at(self, path: str) -> File | None:
        """The file of this name, or the page, which shows what stands for the address; None: nothing is built, or a
        file of another build is asked for. What is asked for is looked up among what was read: no path leads out."""
        try:
            built = (self._folder / _PAGE).stat().st_mtime
            if built != self._built:
                names = {path.relative_to(self._folder).as_posix(): path for path in self._paths()}
                self._files = {name: _read(name, path) for name, path in names.items()}
                self._built = built
        except OSError:  # nothing is built, or another build takes its place right now: then the last one is good
            pass
        return self._files.get(path) or (None if path.startswith(_HASHED) else self._files.get(_PAGE))

    def _paths(self) -> list[Path]:
        return [path for path in self._folder.rglob("*") if path.is_file() and not path.name.startswith(".")]


def _read(name: str, path: Path) -> File:
    content = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    kind = "text/javascript" if path.suffix == ".js" else kind  # some systems say otherwise
    packed = gzip.compress(content, 6, mtime=0) if kind.startswith(_PACKED) else None
    if kind.startswith("text/"):
        kind = f"{kind}; charset=utf-8"
    kept = _FOR_EVER if name.startswith(_HASHED) else _ASK
    return File(content, packed, kind, f'"{hashlib.sha256(content).hexdigest()[:24]}"', kept)
