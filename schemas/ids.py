"""Ids: a prefix that names the kind, and a ULID."""

from __future__ import annotations

import hashlib
import os
import struct

from ulid import ULID

from schemas.times import now_ms

SESSION = "sess"
AVATAR = "av"
REQUEST = "req"
EVENT = "evt"
USAGE = "use"
WEBHOOK_ENDPOINT = "we"
WEBHOOK_DELIVERY = "whd"
ACCOUNT = "acct"
API_KEY = "key"
WORKER = "wrk"
CREDIT_GRANT = "cg"
FILE = "file"
"""A video that `greenroom render` has made."""


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
"""Ten bits → two characters: less than half the time of the library's character by character."""
_shorts = struct.Struct(">5H").unpack
_RANDOM_BYTES = 10


def new_id(prefix: str) -> str:
    return f"{prefix}_{_ulid(now_ms(), os.urandom(_RANDOM_BYTES))}"


def time_of(made_id: str) -> int:
    """The milliseconds that a ULID carries; 0 of what carries none, such as a foreign producer's id."""
    try:
        return int(ULID.from_str(made_id.partition("_")[2]).milliseconds)
    except ValueError:
        return 0


def derived_id(prefix: str, time_ms: int, *parts: str) -> str:
    """The same id for the same inputs in every replay: a ULID of `time_ms` whose random part is a hash of `parts`."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return f"{prefix}_{_ulid(time_ms, digest[:_RANDOM_BYTES])}"


def _ulid(time_ms: int, random: bytes) -> str:
    """Raises OverflowError for a time of more than 48 bits."""
    if not 0 <= time_ms < 1 << 48:
        raise OverflowError("a ULID holds 48 bits of milliseconds")
    # 50 bits of time, 80 of chance, ten at a time; of small numbers, since one of 128 bits takes twice as long
    a, b, c, d, e = _shorts(random)
    p, t = _PAIRS, time_ms
    return (
        f"{p[t >> 40]}{p[t >> 30 & 1023]}{p[t >> 20 & 1023]}{p[t >> 10 & 1023]}{p[t & 1023]}"
        f"{p[a >> 6]}{p[(a & 63) << 4 | b >> 12]}{p[b >> 2 & 1023]}{p[(b & 3) << 8 | c >> 8]}"
        f"{p[(c & 255) << 2 | d >> 14]}{p[d >> 4 & 1023]}{p[(d & 15) << 6 | e >> 10]}{p[e & 1023]}"
    )
