"""A face's portrait, as it stands in its file: without numpy and without opening anything else of it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

_PORTRAIT = "portrait.png"
_STOCK = Path(__file__).with_name("stock")
_MOST_BYTES = 16 * 1024 * 1024


class NoPortrait(Exception):
    """The file is no face."""


def of_stock(name: str) -> bytes:
    """PNG. `name`: one of `schemas.avatars.STOCK`."""
    return of_face((_STOCK / f"{name}.face").read_bytes())


def of_face(data: bytes) -> bytes:
    """PNG. Raises NoPortrait."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if archive.getinfo(_PORTRAIT).file_size > _MOST_BYTES:
                raise NoPortrait("too large")
            return archive.read(_PORTRAIT)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as wrong:
        raise NoPortrait(str(wrong)) from None
