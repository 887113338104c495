"""Pictures that are made to hurt their decoder. All of them are valid in form."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from faces.portrait import MOST_BYTES


def progressive(scans_bytes: int = MOST_BYTES - 512 * 1024) -> bytes:
    """A JPEG of 40 million pixels whose last scan comes again and again: each is a walk over the whole picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (8000, 5000), (120, 90, 60)).save(buffer, "JPEG", progressive=True, quality=30)
    whole = buffer.getvalue()
    last = whole.rindex(b"\xff\xda")
    scan = whole[last:-2]
    return whole[:-2] + scan * (scans_bytes // len(scan)) + whole[-2:]


def clear_palette() -> bytes:
    """The largest palette PNG whose colours are all half transparent: 40 kB that become 160 MB, and more on white."""
    buffer = io.BytesIO()
    picture = Image.new("P", (8000, 5000), 3)
    picture.putpalette(bytes(range(256)) * 3)
    picture.save(buffer, "PNG", transparency=bytes([128] * 256))
    return buffer.getvalue()


def text() -> bytes:
    """A PNG with 10 MB of compressed text, which is 10 GB."""
    buffer = io.BytesIO()
    Image.new("RGB", (300, 300)).save(buffer, "PNG")
    whole = buffer.getvalue()
    head = 8 + 25  # signature and IHDR
    packed = zlib.compress(bytes(1024 * 1024 - 16), 9)
    chunk = _chunk(b"zTXt", b"k\0\0" + packed)
    return whole[:head] + chunk * ((MOST_BYTES - len(whole)) // len(chunk)) + whole[head:]


def crowd_of_chunks() -> bytes:
    """A PNG with 800,000 chunks that say nothing."""
    buffer = io.BytesIO()
    Image.new("RGB", (300, 300)).save(buffer, "PNG")
    whole = buffer.getvalue()
    chunk = _chunk(b"abCd", b"")
    return whole[:33] + chunk * ((MOST_BYTES - len(whole)) // len(chunk)) + whole[33:]


def promise() -> bytes:
    """A PNG whose header promises 50,000 × 50,000 pixels."""
    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
