"""A proof of a session's bill: one file that anybody verifies with examples/verify_proof.py, and nothing of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from schemas.days import Statement
from schemas.usage import UsageFacts

_encode = msgspec.json.Encoder(order="sorted").encode


class Seal(Struct, frozen=True):
    """A day that has the session's chain, as it was then: over the first `entries` entries. Keys and digests are hex.

    `path`: the digests beside its way from the leaf `index` to the day's root.
    """

    day: Statement
    entries: int
    index: int
    path: tuple[str, ...]
    public_key: str
    signature: str


class Proof(Struct, frozen=True):
    """Nothing in it is left out of what its hashes cover: a file that was changed anywhere is refused."""

    entries: tuple[UsageFacts, ...]
    object: Literal["usage_proof"]
    seals: tuple[Seal, ...]
    session_id: str
    version: Literal[1]

    def encoded(self) -> bytes:
        """Canonical JSON: what is not byte for byte so is refused, too."""
        return _encode(self)


def prove(session_id: str, entries: Sequence[UsageFacts], seals: Sequence[Seal]) -> Proof:
    """`entries`: all, in order. Those after the last seal are in no day yet, and are left out."""
    sealed = seals[-1].entries if seals else 0
    return Proof(tuple(entries[:sealed]), "usage_proof", tuple(seals), session_id, 1)


class ProofEntry(BaseModel):
    """A ledger entry as it is hashed. `from` and `to` are epoch ms."""

    model_config = ConfigDict(populate_by_name=True)

    account_id: str
    attempt: int
    avatar_id: str
    billable_ms: int
    billed_as: str
    credit_us: int
    event_id: str
    flags: list[str]
    frames: int
    from_: int = Field(alias="from")
    id: str
    kind: Literal["interval", "adjustment"]
    multiplier_milli: int
    n: int
    object: Literal["usage_event"]
    quality: str
    rate_card: str
    session_id: str
    to: int


class ProofDay(BaseModel):
    """What is signed of a day. `root`: of the Merkle tree over the sessions that ended or were adjusted in it."""

    cut: str
    day: str
    leaves: int
    object: Literal["usage_day"]
    previous: str
    root: str


class ProofSeal(BaseModel):
    """A day that has the session's first `entries` entries, and the way to its root. Keys and digests are in hex."""

    day: ProofDay
    entries: int
    index: int
    path: list[str]
    public_key: str
    signature: str


class ProofResource(BaseModel):
    """Canonical JSON: a copy that is not the same bytes is refused by who verifies it."""

    entries: list[ProofEntry]
    object: Literal["usage_proof"]
    seals: list[ProofSeal]
    session_id: str
    version: Literal[1]
