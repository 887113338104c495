"""What `/metrics` of a worker says. Its supervisor tells for its session processes and its renderer, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from events import metrics as events_metrics
from schemas.events import DeclineReason, EndReason, FailureCode
from workers.messages import Measure

REGISTRY = CollectorRegistry()
TOLD: Sequence[CollectorRegistry] = (REGISTRY, events_metrics.REGISTRY)
"""All that its /metrics says."""

PHASES = ("received", "joined", "published", "first_frame")
"""Of a start, as `session.first_frame` has them."""
_ANSWERS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_STARTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 15.0)

LEASE_AGE = Gauge(
    "greenroom_worker_lease_age_seconds",
    "Since the last state record was sent that Kafka has acknowledged. At 10 it starts nothing more, at 60 it exits.",
    registry=REGISTRY,
)
SLOTS = Gauge("greenroom_worker_slots", "Sessions that it may hold at once; 0 while it drains.", registry=REGISTRY)
HELD = Gauge("greenroom_worker_sessions", "Sessions that it holds.", registry=REGISTRY)
WARM = Gauge(
    "greenroom_worker_warm_processes", "Session processes that wait for a session, imports done.", registry=REGISTRY
)
RENDERER_UP = Gauge(
    "greenroom_worker_renderer_up",
    "1 while its renderer process can draw, or none is needed since it offers `mock` alone.",
    registry=REGISTRY,
)
RENDERER_ENDS = Counter(
    "greenroom_worker_renderer_ends", "How often its renderer process has ended unasked.", registry=REGISTRY
)
FIRST_FRAME = Histogram(
    "greenroom_first_frame_seconds",
    "From the customer's POST to a point on the way to the first frame, by that point; of first attempts. By the clocks"
    " of two machines where API and worker stand apart.",
    ["phase"],
    buckets=_STARTS,
    registry=REGISTRY,
)
FIRST_AUDIO = Histogram(
    "greenroom_first_audio_seconds",
    "From the customer's POST to the first sound other than silence; of first attempts. It is the agent that begins.",
    buckets=(*_STARTS, 30.0, 60.0),
    registry=REGISTRY,
)
JOIN_LATENCY = Histogram(
    "lk_avatar_join_latency_seconds",
    "LiveKit's `lk.avatar.join_latency`: from the customer's POST until the avatar is in the room and has published its"
    " video; of first attempts.",
    buckets=_STARTS,
    registry=REGISTRY,
)
PLAYBACK_LATENCY = Histogram(
    "lk_playback_latency_seconds",
    "LiveKit's `lk.playback_latency`, as a worker can know it: from the first byte of an utterance to its first sample"
    " out to the room, where nothing had to be played before it.",
    buckets=_ANSWERS,
    registry=REGISTRY,
)
AUDIO_TO_MOUTH = Histogram(
    "greenroom_worker_audio_to_mouth_seconds",
    "From the first byte of an utterance until the frame that shows it is given to the room.",
    buckets=_ANSWERS,
    registry=REGISTRY,
)
CLEAR_TO_SILENCE = Histogram(
    "greenroom_worker_clear_to_silence_seconds",
    "From the agent's `lk.clear_buffer` until silence leaves for the room.",
    buckets=_ANSWERS,
    registry=REGISTRY,
)
MEASURES: dict[Measure, Histogram] = {
    "playback_latency": PLAYBACK_LATENCY,
    "audio_to_mouth": AUDIO_TO_MOUTH,
    "clear_to_silence": CLEAR_TO_SILENCE,
}
STALLS = Counter(
    "greenroom_worker_audio_stalls", "How often speech that had begun did not come for 3 s.", registry=REGISTRY
)
ATTEMPTS = Counter(
    "greenroom_worker_attempts",
    "Attempts that are over, by how: the reason of an end, or the code of a failure.",
    ["result", "reason"],
    registry=REGISTRY,
)
DECLINED = Counter("greenroom_worker_declined", "Attempts that it has declined.", ["reason"], registry=REGISTRY)
FRAMES = Counter("greenroom_worker_frames", "Frames that were handed to rooms, as heartbeats tell.", registry=REGISTRY)
LATE = Counter(
    "greenroom_worker_late_frames",
    "Frames that came more than 60 ms after the one before, as heartbeats tell. Due is one each 40 ms.",
    registry=REGISTRY,
)
DROPPED = Counter(
    "greenroom_worker_dropped_frames", "Frames that were due in such gaps and never came.", registry=REGISTRY
)
BILLABLE = Counter(
    "greenroom_worker_billable_seconds",
    "Billable time of its sessions, as heartbeats tell. The ledger is what counts.",
    registry=REGISTRY,
)

for _phase in PHASES:
    FIRST_FRAME.labels(_phase)
for _reason in get_args(EndReason):
    ATTEMPTS.labels("ended", _reason)
for _code in get_args(FailureCode):
    ATTEMPTS.labels("failed", _code)
for _declined in get_args(DeclineReason):
    DECLINED.labels(_declined)
