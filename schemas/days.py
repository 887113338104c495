"""Sealed days: the Merkle tree over the chains that closed, and what is signed of it. Pure.

Rules: docs/reference/ledger.md.

Everything that is hashed or signed is canonical JSON: UTF-8, no space, keys in alphabetical order. Leaves and nodes are
told apart by their first byte, as in RFC 6962: nobody can pass one off as the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from schemas.usage import GENESIS

BYTES = 32
NO_DAY = GENESIS
"""`previous` of the first sealed day."""

_encode = msgspec.json.Encoder().encode


class Leaf(Struct, frozen=True):
    """A session's chain as it was at the day's end: the last hash of `entries`, and what they add up to.

    The fields are in alphabetical order: that makes the encoding canonical.
    """

    account_id: str
    billable_ms: int
    credit_us: int
    entries: int
    frames: int
    hash: str
    session_id: str

    def digest(self) -> bytes:
        return hashlib.sha256(b"\0" + _encode(self)).digest()


class Cut(Struct, frozen=True):
    """Where a day ends: `offsets`, by partition of `sessions.v1`, where the next one begins, and who was `left_out`:
    sessions that could not be read then. They are in the first day in which they could.
    """

    left_out: tuple[str, ...]
    offsets: tuple[int, ...]

    def encoded(self) -> bytes:
        return _encode(self)

    def hash(self) -> str:
        return hashlib.sha256(self.encoded()).hexdigest()


class Statement(Struct, frozen=True):
    """What is signed of a day. `previous`: the hash of the day before. Fields in alphabetical order.

    `cut`: the hash of its Cut, and not the cut itself: customers see this, and no other's sessions.
    """

    cut: str
    day: str
    leaves: int
    object: Literal["usage_day"]
    previous: str
    root: str

    def encoded(self) -> bytes:
        return _encode(self)

    def hash(self) -> str:
        return hashlib.sha256(self.encoded()).hexdigest()


def levels(leaves: bytes) -> list[bytes]:
    """From the leaves' digests, one after the other, to the root; what has no partner goes up as it is."""
    found = [leaves] if leaves else []
    while found and len(found[-1]) > BYTES:
        found.append(_above(found[-1]))
    return found


def _above(level: bytes) -> bytes:
    pairs = len(level) // (2 * BYTES)
    joined = [
        hashlib.sha256(b"\1" + level[at : at + 2 * BYTES]).digest() for at in range(0, pairs * 2 * BYTES, 2 * BYTES)
    ]
    return b"".join(joined) + level[pairs * 2 * BYTES :]


def root_of(tree: Sequence[bytes]) -> str:
    """Of `levels`. That of no leaf is the SHA-256 of nothing."""
    return tree[-1].hex() if tree else hashlib.sha256(b"").hexdigest()


def root_from(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> str | None:
    """The root that a leaf's path leads to; None: the path is not as long as it must be."""
    node, left = leaf, list(path)
    while size > 1:
        if index % 2 or index + 1 < size:
            if not left:
                return None
            other = left.pop(0)
            node = hashlib.sha256(b"\1" + (other + node if index % 2 else node + other)).digest()
        index, size = index // 2, (size + 1) // 2
    return None if left else node.hex()
