"""The ledger's entry: one accepted meter reading or one adjustment."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec
from msgspec import Struct

GENESIS = "0" * 64
"""`prev_hash` of a session's first entry."""


class UsageFacts(Struct, frozen=True, rename={"from_ms": "from", "to_ms": "to"}):
    """The fields under the hash, in alphabetical order of their wire names: that makes the encoding canonical.

    Offsets and append times are not among them, so a mirrored or restored log gives the same hashes.
    """

    account_id: str
    attempt: int
    avatar_id: str
    billable_ms: int
    billed_as: str
    credit_us: int
    event_id: str
    flags: tuple[str, ...]
    frames: int
    from_ms: int
    id: str
    kind: Literal["interval", "adjustment"]
    multiplier_milli: int
    n: int
    object: Literal["usage_event"]
    quality: str
    rate_card: str
    session_id: str
    to_ms: int


class UsageEntry(Struct, frozen=True):
    facts: UsageFacts
    prev_hash: str
    hash: str


_encode = msgspec.json.Encoder().encode


def chain(facts: UsageFacts, prev_hash: str) -> UsageEntry:
    """SHA-256 over the previous hash and the canonical JSON of the facts."""
    digest = hashlib.sha256(prev_hash.encode() + _encode(facts)).hexdigest()
    return UsageEntry(facts=facts, prev_hash=prev_hash, hash=digest)
