"""A proof that both verifiers are tried with, made as the ledger makes one: `python -m tests.web.proofs` writes it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from events.signing import SigningKey
from schemas.days import BYTES, NO_DAY, Leaf, Statement, levels, root_of
from schemas.proofs import Seal, prove
from schemas.usage import GENESIS, UsageFacts, chain

FILE = Path(__file__).parents[1] / "assets" / "proof.json"
KEY = SigningKey(f"t1:{base64.b64encode(bytes(range(32))).decode()}")
SESSION = "sess_01K8Z5Q2N4V6X8Z0B2D4F6H8J0"
_BEGIN_MS = 1_793_000_000_000
_OTHERS = [hashlib.sha256(f"{n}".encode()).digest() for n in range(6)]
"""Leaves of other sessions of the same days."""


def made() -> bytes:
    """Six entries that were sealed on the day of their session, and an adjustment that was a day later."""
    entries = [_interval(n) for n in range(6)] + [_adjustment()]
    first = _seal("2026-10-21", entries[:6], 2, NO_DAY)
    second = _seal("2026-10-22", entries, 6, first.day.hash())
    return prove(SESSION, entries, [first, second]).encoded()


def _seal(day: str, entries: Sequence[UsageFacts], index: int, previous: str) -> Seal:
    head = GENESIS
    for entry in entries:
        head = chain(entry, head).hash
    sums = (sum(each.billable_ms for each in entries), sum(each.credit_us for each in entries))
    frames = sum(each.frames for each in entries)
    leaf = Leaf("acct_01K8Z5Q2N4V6X8Z0B2D4F6H8J1", *sums, len(entries), frames, head, SESSION)
    leaves = [*_OTHERS[:index], leaf.digest(), *_OTHERS[index:]]
    tree = levels(b"".join(leaves))
    path, at = [], index
    for level in tree[:-1]:
        beside = level[(at ^ 1) * BYTES : (at ^ 1) * BYTES + BYTES]
        path += [beside.hex()] if beside else []
        at //= 2
    cut = hashlib.sha256(day.encode()).hexdigest()
    statement = Statement(cut, day, len(leaves), "usage_day", previous, root_of(tree))
    return Seal(statement, len(entries), index, tuple(path), KEY.public, KEY.sign(statement.encoded()))


def _interval(n: int) -> UsageFacts:
    return _entry(n + 1, "interval", 5_000 if n < 5 else 1_240, 125 if n < 5 else 31, _BEGIN_MS + n * 5_000)


def _adjustment() -> UsageFacts:
    return _entry(1, "adjustment", -1_240, 0, _BEGIN_MS + 86_400_000)


def _entry(n: int, kind: str, billable_ms: int, frames: int, from_ms: int) -> UsageFacts:
    return UsageFacts(
        account_id="acct_01K8Z5Q2N4V6X8Z0B2D4F6H8J1",
        attempt=1,
        avatar_id="av_démo “ünïcode” 🎭",
        billable_ms=billable_ms,
        billed_as="standard",
        credit_us=billable_ms * 1_000,
        event_id=f"evt_{kind}_{n}",
        flags=("clipped",) if kind == "interval" and n == 6 else (),
        frames=frames,
        from_ms=from_ms,
        id=f"use_{kind}_{n}",
        kind=kind,  # type: ignore[arg-type]
        multiplier_milli=1_000,
        n=n,
        object="usage_event",
        quality="standard",
        rate_card="2026-01",
        session_id=SESSION,
        to_ms=from_ms + max(0, billable_ms),
    )


if __name__ == "__main__":
    FILE.write_bytes(made())
