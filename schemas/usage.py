"""The ledger's entry: one accepted meter reading or one adjustment."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from schemas.pages import Page

GENESIS = "0" * 64
"""`prev_hash` of a session's first entry."""


class UsageFacts(Struct, frozen=True, rename={"from_ms": "from", "to_ms": "to"}, gc=False):
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


class UsageEntry(Struct, frozen=True, gc=False):
    facts: UsageFacts
    prev_hash: str
    hash: str


class RecordedEntry(NamedTuple):
    """An entry as it stands in the ledger. `recorded_ms`: append time of its event, which decides on its period."""

    facts: UsageFacts
    hash: str
    recorded_ms: int


_encode = msgspec.json.Encoder().encode


def chain(facts: UsageFacts, prev_hash: str) -> UsageEntry:
    """SHA-256 over the previous hash and the canonical JSON of the facts."""
    digest = hashlib.sha256(prev_hash.encode() + _encode(facts)).hexdigest()
    return UsageEntry(facts, prev_hash, digest)


class UsageSummary(BaseModel):
    """Exactly what published clients know. Seconds are not multiplied; `sessions` that have billed time."""

    period_start: str
    period_end: str
    billable_seconds: int
    sessions: int
    by_quality: dict[str, int]


class Source(BaseModel):
    """Where the event is in the log."""

    topic: str
    partition: int
    offset: int


class UsageEventResource(BaseModel):
    """A ledger entry. `hash` covers what stands before `prev_hash`. 60,000,000 `credit_us` are one credit."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    object: Literal["usage_event"]
    account_id: str
    session_id: str
    avatar_id: str
    attempt: int
    n: int
    kind: Literal["interval", "adjustment"]
    quality: str
    billed_as: str
    multiplier_milli: int
    rate_card: str
    from_: str = Field(alias="from")
    to: str
    billable_ms: int
    frames: int
    credit_us: int
    flags: list[str]
    event_id: str
    prev_hash: str
    hash: str
    source: Source
    recorded_at: str


class UsageEventList(Page[UsageEventResource]):
    """The latest recorded first."""
