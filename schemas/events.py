"""Every event, one struct per type and version: the single definition from which the JSON Schemas are generated.

msgspec structs, because every consumer decodes them on its hot path (0.5 µs against 4.6 µs with pydantic). Fields
are in alphabetical order within a struct where the order matters for hashing; on the wire keys are always sorted.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from msgspec import Struct

from schemas.avatars import Background, Consent, Positions, RuntimeType, Shape
from schemas.bounds import Count, Id, Line, Milli, Sentence, Signed, Small
from schemas.labels import Corner
from schemas.live import Dimension, Window, WindowName
from schemas.rates import Rate

EndReason = Literal[
    "api_request",
    "superseded",
    "idle_timeout",
    "max_duration",
    "room_closed",
    "participant_removed",
    "agent_left",
    "worker_drained",
    "worker_lost",
    "credit_exhausted",
    "append_timed_out",
]
RequestReason = Literal["api_request", "superseded", "max_duration", "credit_exhausted", "append_timed_out"]
FailureCode = Literal[
    "transport.connect_failed",
    "transport.unauthorized",
    "transport.disconnected",
    "transport.identity_taken",
    "avatar.load_failed",
    "renderer.crashed",
    "worker_lost",
    "start_timeout",
]
AssignReason = Literal["worker_lost", "start_timeout", "declined", "worker_draining"]
DeclineReason = Literal["no_slot", "draining", "cannot_unseal"]
LossReason = Literal["process_crashed", "process_hung", "renderer_lost"]
Quality = Literal["mock", "lite", "standard", "pro"]


class Encrypted(Struct, frozen=True, gc=False):
    """An erasable field: AES-GCM under the data key `key_id`, base64. Gone for ever once that key is dropped."""

    enc: Line
    key_id: Id


class EventTransport(Struct, frozen=True, gc=False):
    """The transport of a session without its token, which is in no event of this topic."""

    type: Literal["livekit"]
    url: Encrypted
    room_name: Encrypted
    worker_identity: Encrypted
    audio_source: Literal["data_stream", "track"]
    subscribe_to_identity: Encrypted | None
    synthetic_audio_if_no_input: bool


class EventLabel(Struct, frozen=True, gc=False):
    """What is drawn on each frame of a session, and where."""

    text: Encrypted
    corner: Corner


class SessionEvent(Struct, frozen=True, gc=False):
    session_id: Id


class SessionCreated(SessionEvent, frozen=True):
    """`rules` is the version of the fold that this session lives and is billed under."""

    rules: Small
    account_id: Id
    api_key_id: Id
    avatar_id: Id
    transport: EventTransport
    quality: Quality
    max_duration_seconds: Small
    idle_timeout_seconds: Small
    metadata: Encrypted
    plan: Id
    rate: Rate
    worker_id: Id
    attempt: Small
    label: EventLabel | None = None


class SessionAssigned(SessionEvent, frozen=True):
    attempt: Small
    worker_id: Id
    reason: AssignReason
    expected_seq: Small


class WorkerEvent(SessionEvent, frozen=True):
    """What a worker says; it counts only for the attempt and worker of the accepted assignment."""

    attempt: Small
    worker_id: Id


class SessionDeclined(WorkerEvent, frozen=True):
    reason: DeclineReason


class SessionStarting(WorkerEvent, frozen=True):
    pass


class SessionJoined(WorkerEvent, frozen=True):
    sdk: dict[str, str]


class EventMark(Struct, frozen=True, gc=False):
    """What the frames of an attempt are marked with: `tag`, 10 hexadecimal digits, under the key `key_id`. `frame`: the
    number of its first one, 25 a second since the session's first frame."""

    key_id: Id
    tag: Id
    frame: Small


class SessionFirstFrame(WorkerEvent, frozen=True):
    """Milliseconds since the POST was accepted: `received`, `joined`, `published`, `first_frame`.

    `mark`: None where its frames have none.
    """

    latencies_ms: dict[str, Signed]
    mark: EventMark | None = None


class SessionFirstAudio(WorkerEvent, frozen=True):
    """The first sound of the attempt, other than silence, was given to the room. `latency_ms`: since the POST was
    accepted."""

    latency_ms: Signed


class Meter(Struct, frozen=True, gc=False):
    """Cumulative within one attempt, by the worker's monotonic clock."""

    billable_ms: Count
    frames: Small
    audio_ms: Count


class Segment(Struct, frozen=True, gc=False):
    """An utterance that is being played."""

    id: str
    played_ms: Signed


class Source(Struct, frozen=True):
    """A record's place in the log."""

    topic: str
    partition: Count
    offset: Count


class SessionHeartbeat(WorkerEvent, frozen=True):
    n: Small
    meter: Meter
    segment: Segment | None
    late_frames: Count
    dropped_frames: Count
    skew_ms: Signed | None


class SessionExpiring(WorkerEvent, frozen=True):
    ends_in_ms: Signed


class AudioNotice(WorkerEvent, frozen=True):
    """`since_ms`: the attempt's media time at which it began: what the meter read."""

    since_ms: Signed


class SessionAudioStalled(AudioNotice, frozen=True):
    pass


class SessionAudioResumed(AudioNotice, frozen=True):
    pass


class SessionSyntheticAudioStarted(AudioNotice, frozen=True):
    pass


class SessionAttemptLost(WorkerEvent, frozen=True):
    """The worker lives and this attempt does not: another one is to go on in the same room.

    It has no meter: what the attempt has proved is in its heartbeats. `segment`: the utterance whose end the agent
    still waits for.
    """

    reason: LossReason
    segment: Segment | None


class SessionEndRequested(SessionEvent, frozen=True):
    by: Literal["api", "roster"]
    reason: RequestReason
    expected_seq: Small | None = None


class SessionEnding(WorkerEvent, frozen=True):
    reason: EndReason


class SessionEnded(SessionEvent, frozen=True):
    """From the worker with `worker_id`, `n` and `meter`; from the roster with `expected_seq` instead.

    `clear_to_silence_ms`: the median of what the attempt measured.
    """

    attempt: Small
    reason: EndReason
    worker_id: Id | None = None
    n: Small | None = None
    meter: Meter | None = None
    expected_seq: Small | None = None
    clear_to_silence_ms: Signed | None = None


class SessionFailed(SessionEvent, frozen=True):
    """From the worker with `worker_id`, `n` and `meter`; from the roster with `expected_seq` instead.

    `clear_to_silence_ms`: the median of what the attempt measured.
    """

    attempt: Small
    code: FailureCode
    message: str
    worker_id: Id | None = None
    n: Small | None = None
    meter: Meter | None = None
    expected_seq: Small | None = None
    clear_to_silence_ms: Signed | None = None


class UsageAdjusted(SessionEvent, frozen=True):
    credit_us: Signed
    reason: str
    actor: str
    link: str | None = None


class SessionErased(SessionEvent, frozen=True):
    """What can identify people is gone from a session that is over: its data key is dropped."""


class UsageRecorded(Struct, frozen=True, rename={"from_": "from"}):
    """An entry of the ledger, as `/v1/usage_events` shows it. `source`: where its event stands in `sessions.v1`.

    `hash` covers what stands before `prev_hash`: docs/reference/ledger.md. 60,000,000 `credit_us` are one credit.
    """

    id: Id
    object: Literal["usage_event"]
    account_id: Id
    session_id: Id
    avatar_id: Id
    attempt: Small
    n: Count
    kind: Literal["interval", "adjustment"]
    quality: Quality
    billed_as: Id
    multiplier_milli: Milli
    rate_card: Id
    from_: str
    to: str
    billable_ms: Count
    frames: Count
    credit_us: int
    flags: list[str]
    event_id: Id
    prev_hash: str
    hash: str
    source: Source
    recorded_at: str


class UsageDaySealed(Struct, frozen=True):
    """A sealed day. The first six fields, as canonical JSON, are what `hash` covers and `signature` signs; `cut` is the
    hash of the canonical JSON of `left_out` and `offsets`."""

    cut: str
    day: str
    leaves: Count
    object: Literal["usage_day"]
    previous: str
    root: str
    left_out: list[Id]
    offsets: list[Count]
    hash: str
    key_id: str
    public_key: str
    signature: str


DAYS_KEY: Final = "_days"
"""The key of `usage.day_sealed`: no account's."""


class AvatarEvent(Struct, frozen=True, gc=False):
    avatar_id: Id


class AvatarCreated(AvatarEvent, frozen=True):
    """`asset`: name of the normalised portrait in the asset store. `positions`: what the upload said, in its pixels.
    `consent`: None where nobody has said it, since the installation does not ask for it."""

    account_id: Id
    name: Encrypted
    runtime_type: RuntimeType
    asset: Id
    positions: Positions | None
    shape: Shape = "square"
    background: Background | None = None
    consent: Consent | None = None


class AvatarReady(AvatarEvent, frozen=True):
    """`face`: name of the built face in the asset store; None for `mock`, which needs none."""

    face: Id | None


class AvatarFailed(AvatarEvent, frozen=True):
    """`reason` is a sentence to the customer."""

    reason: Sentence


class AvatarDeleted(AvatarEvent, frozen=True):
    pass


class AccountErased(Struct, frozen=True, gc=False):
    """What can identify people is gone from an account and all of its sessions: its data key is dropped."""

    account_id: Id


class WorkerState(Struct, frozen=True, gc=False):
    """The whole state of one worker process, once a second. `mac`: HMAC-SHA256 of the rest under the join secret."""

    worker_id: Id
    phase: Literal["ready", "draining"]
    slots: Small
    qualities: list[Id]
    device: str
    public_key: Id
    partition: Small
    held: list[tuple[Id, Small]]
    avatars: list[Id]
    version: str
    started_ms: Count
    mac: str


class Assignment(Struct, frozen=True, gc=False):
    worker_id: Id


class AssignmentAssign(Assignment, frozen=True):
    """`sealed`: HPKE of a `schemas.assignments.Task`, base64, readable only by this worker."""

    session_id: Id
    attempt: Small
    sealed: str


class AssignmentEnd(Assignment, frozen=True):
    session_id: Id
    attempt: Small
    reason: EndReason


class AssignmentHandOver(Assignment, frozen=True):
    """Another worker is on its way into the room of this attempt: play on until it is there, and take nothing new."""

    session_id: Id
    attempt: Small


class AssignmentDrain(Assignment, frozen=True):
    pass


class AssignmentRetire(Assignment, frozen=True):
    pass


class LiveWindow(Struct, frozen=True):
    """What a live window has come to; later ones of the same key replace it. `key`: an account, a worker or a quality;
    `other` sums up those beyond the most that are counted apart, and `all` has the empty one."""

    window: WindowName
    dimension: Dimension
    key: str
    counted: Window


class LiveWorkers(Struct, frozen=True):
    """The workers of a minute, by their last word in it. `phases`: how many are in each."""

    from_ms: Count
    phases: dict[str, int]
    slots: Count
    held: Count


class EventType(NamedTuple):
    """`public`: customers are told of it, by webhook and in a session's history. Whoever adds a type must say."""

    version: int
    struct: type[Struct]
    topic: str
    public: bool


CATALOGUE: dict[str, EventType] = {
    "session.created": EventType(1, SessionCreated, "sessions.v1", public=True),
    "session.assigned": EventType(2, SessionAssigned, "sessions.v1", public=False),
    "session.declined": EventType(1, SessionDeclined, "sessions.v1", public=False),
    "session.starting": EventType(1, SessionStarting, "sessions.v1", public=True),
    "session.joined": EventType(1, SessionJoined, "sessions.v1", public=False),
    "session.first_frame": EventType(1, SessionFirstFrame, "sessions.v1", public=True),
    "session.first_audio": EventType(1, SessionFirstAudio, "sessions.v1", public=False),
    "session.heartbeat": EventType(1, SessionHeartbeat, "sessions.v1", public=False),
    "session.expiring": EventType(1, SessionExpiring, "sessions.v1", public=True),
    "session.audio_stalled": EventType(1, SessionAudioStalled, "sessions.v1", public=True),
    "session.audio_resumed": EventType(1, SessionAudioResumed, "sessions.v1", public=True),
    "session.synthetic_audio_started": EventType(1, SessionSyntheticAudioStarted, "sessions.v1", public=True),
    "session.attempt_lost": EventType(1, SessionAttemptLost, "sessions.v1", public=False),
    "session.end_requested": EventType(1, SessionEndRequested, "sessions.v1", public=False),
    "session.ending": EventType(1, SessionEnding, "sessions.v1", public=True),
    "session.ended": EventType(1, SessionEnded, "sessions.v1", public=True),
    "session.failed": EventType(1, SessionFailed, "sessions.v1", public=True),
    "session.erased": EventType(1, SessionErased, "sessions.v1", public=True),
    "usage.adjusted": EventType(1, UsageAdjusted, "sessions.v1", public=False),
    "usage.recorded": EventType(1, UsageRecorded, "usage.v1", public=False),
    "usage.day_sealed": EventType(1, UsageDaySealed, "usage.v1", public=False),
    "avatar.created": EventType(1, AvatarCreated, "avatars.v1", public=False),
    "avatar.ready": EventType(1, AvatarReady, "avatars.v1", public=True),
    "avatar.failed": EventType(1, AvatarFailed, "avatars.v1", public=True),
    "avatar.deleted": EventType(1, AvatarDeleted, "avatars.v1", public=False),
    "account.erased": EventType(1, AccountErased, "accounts.v1", public=False),
    "worker.state": EventType(1, WorkerState, "workers.v1", public=False),
    "assignment.assign": EventType(1, AssignmentAssign, "assignments.v1", public=False),
    "assignment.end": EventType(1, AssignmentEnd, "assignments.v1", public=False),
    "assignment.hand_over": EventType(1, AssignmentHandOver, "assignments.v1", public=False),
    "assignment.drain": EventType(1, AssignmentDrain, "assignments.v1", public=False),
    "assignment.retire": EventType(1, AssignmentRetire, "assignments.v1", public=False),
    "live.window": EventType(1, LiveWindow, "live.v1", public=False),
    "live.workers": EventType(1, LiveWorkers, "live.v1", public=False),
}
"""Every event type, in its current version."""

TYPE_OF: dict[type[Struct], str] = {known.struct: name for name, known in CATALOGUE.items()}

CANCELED: Final = "session.canceled"
"""Not an event but what an early `session.end_requested` does; customers are told of that alone."""

THRESHOLD_REACHED: Final = "usage.threshold_reached"
"""No event of the log: what is spent follows from the ledger, and limits are nobody's but the account's."""

PUBLIC = frozenset({CANCELED, *(name for name, known in CATALOGUE.items() if known.public)})
"""The transitions that customers are told of."""

ENDPOINT_DISABLED: Final = "webhook_endpoint.disabled"
ENDPOINT_TEST: Final = "webhook_endpoint.test"
"""Sent on request, to that endpoint alone."""
HEARTBEAT: Final = "session.heartbeat"
USAGE_RECORDED: Final = "usage.recorded"

BY_NAME = frozenset({HEARTBEAT, USAGE_RECORDED})
"""So many that an endpoint gets them only where its `events` name them exactly; they are in no feed: heartbeats are in
a session's history, entries in the ledger."""
IN_FEED = frozenset({*PUBLIC, THRESHOLD_REACHED, ENDPOINT_DISABLED})
SUBSCRIBABLE = IN_FEED | BY_NAME
