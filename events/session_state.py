"""What the log says about one session: the state that the fold makes, and its stored form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct

from events.metering import Billed
from schemas.events import EndReason, FailureCode, LossReason, Meter, RequestReason, Segment, SessionCreated
from schemas.usage import GENESIS

Status = Literal["queued", "starting", "running", "ending", "ended", "failed", "canceled"]
TERMINAL = frozenset({"ended", "failed", "canceled"})
HIDDEN_REASON: Literal["append_timed_out"] = "append_timed_out"
"""A session canceled for this reason was never acknowledged to anybody: it has no row, no webhook, no history."""


class State(Struct, omit_defaults=True, gc=False):
    """All that the log says about one session. Times are epoch ms by `ce_time`, never earlier than the one before.

    `handed_over`: the latest attempt was assigned while the one before still plays; `handovers` of them there were.
    `loss`: how the latest attempt was lost, while it is. `append_ms` fields are the log's own time; only the billing
    bound uses them. Treat as immutable: `evolve` copies.
    """

    session_id: str
    status: Status = "queued"
    seq: int = 0
    created: SessionCreated | None = None
    created_ms: int = 0
    started_ms: int | None = None
    first_frame_ms: int | None = None
    ended_ms: int | None = None
    last_ms: int = 0
    last_append_ms: int = 0
    attempt: int = 0
    worker_id: str = ""
    attempt_phase: Literal["assigned", "declined", "started", "playing", "lost"] = "assigned"
    attempt_append_ms: int = 0
    loss: LossReason | None = None
    declines: int = 0
    handed_over: bool = False
    handovers: int = 0
    n: int = 0
    meter: Meter = Meter(0, 0, 0)
    segment: Segment | None = None
    attempt_first_frame_ms: int = 0
    attempt_first_frame_append_ms: int = 0
    attempt_billed: Billed = Billed()
    billed_ms: int = 0
    frames: int = 0
    credit_us: int = 0
    chain: str = GENESIS
    end_requested: RequestReason | None = None
    ending_reason: EndReason | None = None
    end_reason: EndReason | None = None
    failure_code: FailureCode | None = None
    failure_message: str | None = None
    erased_ms: int | None = None
    seen: tuple[str, ...] = ()

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def started(self) -> bool:
        return self.started_ms is not None

    @property
    def hidden(self) -> bool:
        """Never acknowledged to a customer, so it exists for nobody."""
        return self.created is None or self.end_reason == HIDDEN_REASON


copied: Callable[[State], State] = State.__copy__  # type: ignore[attr-defined]
"""What `copy.copy` comes to, in half the time."""

_state_encoder = msgspec.msgpack.Encoder()
_state_decoder = msgspec.msgpack.Decoder(State)


def dump_state(state: State) -> bytes:
    return _state_encoder.encode(state)


def load_state(data: bytes) -> State:
    return _state_decoder.decode(data)
