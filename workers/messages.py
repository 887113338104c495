"""What the supervisor and its processes say to each other."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from schemas.assignments import Task
from schemas.events import (
    TYPE_OF,
    EndReason,
    Segment,
    SessionAttemptLost,
    SessionAudioResumed,
    SessionAudioStalled,
    SessionEnded,
    SessionEnding,
    SessionExpiring,
    SessionFailed,
    SessionFirstAudio,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionJoined,
    SessionSyntheticAudioStarted,
)


class AttemptLimits(Struct, frozen=True):
    """The settings that a session process needs."""

    connect_timeout_s: float
    start_timeout_s: float
    heartbeat_s: float
    agent_absence_s: float
    permitted_networks: str = ""


# From the supervisor


class Marks(Struct, frozen=True, tag="marks"):
    """What the frames of the seconds from `second` on are marked with, 256 bytes each."""

    second: int
    patterns: bytes


class MarkPlan(Struct, frozen=True):
    """How the frames of a session are marked. `delays`: of each carrier, the frame of a second at which it changes."""

    key_id: str
    tag: str
    delays: bytes
    marks: Marks


class Start(Struct, frozen=True, tag="start"):
    """`renderer`: the unix socket of the renderer process, where there is one. `mark`: None where frames have none."""

    task: Task
    attempt: int
    worker_id: str
    renewed_at: float
    limits: AttemptLimits
    renderer: str | None = None
    mark: MarkPlan | None = None


class End(Struct, frozen=True, tag="end"):
    reason: EndReason


class Lease(Struct, frozen=True, tag="lease"):
    renewed_at: float


class Draining(Struct, frozen=True, tag="draining"):
    """The worker leaves: another one may take over. Say twice a second how it is."""


class HandedOver(Struct, frozen=True, tag="handed_over"):
    """Another worker is on its way into the room: play on until it is there, and take no new utterance."""


ToSession = Start | End | Lease | Marks | Draining | HandedOver

# From the session


class Ready(Struct, frozen=True, tag="ready"):
    """Imports are done; a task may come. `device`: what the renderer process draws on."""

    device: str = "cpu"


class Alive(Struct, frozen=True, tag="alive"):
    """From the task on, four times a second (the renderer: once). Silence is death (`children.py`)."""


AttemptEvent = (
    SessionJoined
    | SessionFirstFrame
    | SessionFirstAudio
    | SessionHeartbeat
    | SessionExpiring
    | SessionAudioStalled
    | SessionAudioResumed
    | SessionSyntheticAudioStarted
    | SessionEnding
    | SessionEnded
    | SessionFailed
    | SessionAttemptLost
)
"""What a session process says of its attempt. The other events of a worker are its supervisor's own."""


class Said(Struct, frozen=True, tag="said"):
    """An event for the log: its type and its JSON. The supervisor reads it like a record (`attempts.read`)."""

    event_type: str
    data: bytes

    @classmethod
    def of(cls, event: AttemptEvent) -> Said:
        return cls(TYPE_OF[type(event)], msgspec.json.encode(event))


SEGMENT_CHARS = 128
"""Of the id of an utterance, which is its sender's choice, as far as it is repeated to anybody."""


class Playing(Struct, frozen=True, tag="playing"):
    """The oldest utterance whose end the agent still waits for: at each change, and twice a second while there is one.

    It is for the next attempt, should this process die.
    """

    segment: Segment | None


Measure = Literal["playback_latency", "audio_to_mouth", "clear_to_silence"]
"""From the first byte of an utterance to its first sample out of the source, and to the frame that shows it; from the
agent's `lk.clear_buffer` to silence."""


class Measured(Struct, frozen=True, tag="measured"):
    """For the worker's metrics. None of it is in the log, but what the last word of an attempt sums up."""

    measure: Measure
    seconds: float


FromSession = Ready | Alive | Said | Playing | Measured
