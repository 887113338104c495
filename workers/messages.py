"""What the supervisor and a session process say to each other."""

from __future__ import annotations

from msgspec import Struct

from schemas.assignments import Task
from schemas.events import EndReason, FailureCode, Meter, Segment


class Limits(Struct, frozen=True):
    """The settings that a session process needs."""

    connect_timeout_s: float
    start_timeout_s: float
    heartbeat_s: float
    agent_absence_s: float
    permitted_networks: str = ""


# From the supervisor


class Start(Struct, frozen=True, tag="start"):
    """`renderer`: the unix socket of the renderer process, where there is one."""

    task: Task
    attempt: int
    renewed_at: float
    limits: Limits
    renderer: str | None = None


class End(Struct, frozen=True, tag="end"):
    reason: EndReason


class Lease(Struct, frozen=True, tag="lease"):
    renewed_at: float


ToSession = Start | End | Lease

# From the session


class Ready(Struct, frozen=True, tag="ready"):
    """Imports are done; a task may come. `device`: what the renderer process draws on."""

    device: str = "cpu"


class Alive(Struct, frozen=True, tag="alive"):
    """Once a second. Silence for 3 s is death."""


class Joined(Struct, frozen=True, tag="joined"):
    sdk: dict[str, str]


class FirstFrame(Struct, frozen=True, tag="first_frame"):
    latencies_ms: dict[str, int]


class Beat(Struct, frozen=True, tag="beat"):
    meter: Meter
    segment: Segment | None
    late_frames: int
    dropped_frames: int


class Expiring(Struct, frozen=True, tag="expiring"):
    ends_in_ms: int


class SyntheticAudio(Struct, frozen=True, tag="synthetic_audio"):
    since_ms: int


class Ending(Struct, frozen=True, tag="ending"):
    reason: EndReason


class Ended(Struct, frozen=True, tag="ended"):
    reason: EndReason
    meter: Meter


class Failed(Struct, frozen=True, tag="failed"):
    code: FailureCode
    message: str
    meter: Meter


FromSession = Ready | Alive | Joined | FirstFrame | Beat | Expiring | SyntheticAudio | Ending | Ended | Failed
