"""What the OpenAPI document shows of each operation: a request and its main answer, as one day of one account. They are
made of the resources themselves, so they have exactly their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel

from schemas.accounts import (
    AccountResource,
    CapacityResource,
    Held,
    KeyResource,
    PlanResource,
    QualityCapacity,
    QuotaResource,
)
from schemas.avatars import AvatarList, AvatarResource
from schemas.feed import Feed, FeedItem
from schemas.history import AttemptResource, HistoryEvent, HistoryPage, Latencies, Timeline
from schemas.jsons import JsonObject
from schemas.live import FirstFramesResource, LiveResource, LiveWindowResource
from schemas.proofs import ProofDay, ProofEntry, ProofResource, ProofSeal
from schemas.sessions import (
    ERASED_AT,
    DryRun,
    Price,
    Problem,
    SessionList,
    SessionResource,
    SessionUsage,
    TransportResource,
)
from schemas.spending import (
    CreditEntry,
    CreditEntryList,
    CreditsResource,
    GrantResource,
    LimitsResource,
    SpendingLimits,
)
from schemas.status import StatusComponent, StatusResource
from schemas.usage import Source, UsageEventList, UsageEventResource, UsageSummary
from schemas.verification import ClipFacts, ShownSession, ShownSpan, VerificationResource

SESSION, _AVATAR = "sess_01K8Z5Q2N5W7Y9A1C3E5G7J9K1", "av_01K8Z4M0P2R4T6V8X0Z2B4D6F8"
ACCOUNT, _KEY = "acct_01K8Z3G1H3J5K7M9N1P3Q5R7S9", "key_01K8Z3H2J4K6M8N0P2Q4R6S8T0"
CREATED, STARTING, _FIRST_FRAME, ENDED = (
    f"2026-11-02T09:30:{second}Z" for second in ("00.000", "00.240", "01.120", "43.500")
)

QUEUED = SessionResource(
    id=SESSION,
    status="queued",
    avatar_id="av_demo",
    transport=TransportResource(
        type="livekit",
        url="wss://my-app.livekit.cloud",
        room_name="demo-room",
        worker_identity="avatar",
        audio_source="data_stream",
        subscribe_to_identity=None,
        synthetic_audio_if_no_input=False,
    ),
    quality="standard",
    max_duration_seconds=600,
    idle_timeout_seconds=30,
    metadata={"customer_session_id": "abc123"},
    created_at=CREATED,
    started_at=None,
    first_frame_at=None,
    ended_at=None,
    failed_at=None,
    failure=None,
    usage=SessionUsage(billable_seconds=0, frames=0),
)
RUNNING = QUEUED.model_copy(
    update={
        "status": "running",
        "started_at": STARTING,
        "first_frame_at": _FIRST_FRAME,
        "usage": SessionUsage(billable_seconds=40, frames=1000),
    }
)
ENDING = RUNNING.model_copy(update={"status": "ending"})
ERASED = RUNNING.model_copy(
    update={
        "status": "ended",
        "transport": RUNNING.transport.model_copy(
            update=dict.fromkeys(("url", "room_name", "worker_identity"), "[erased]")
        ),
        "metadata": {ERASED_AT: "2026-11-03T09:00:00.000Z"},
        "ended_at": ENDED,
    }
)

PROCESSING = AvatarResource(
    id=_AVATAR,
    name="Ada",
    status="processing",
    runtime_type="avtr1",
    is_demo=False,
    created_at="2026-11-02T09:00:00.000Z",
    failure_reason=None,
)
READY = PROCESSING.model_copy(update={"status": "ready"})

_TIMELINE = Timeline(
    session_id=SESSION,
    status="ended",
    latencies_ms=Latencies(queued=12, assigned=25, joined=420, published=610, first_frame=1120, first_audio=2300),
    clear_to_silence_ms=80,
    late_frames=3,
    dropped_frames=0,
    skew_ms=4,
    end_reason="api_request",
    ended_by="customer",
    attempts=[
        AttemptResource(
            attempt=1,
            reason=None,
            assigned_at=CREATED,
            started_at=STARTING,
            joined_at="2026-11-02T09:30:00.420Z",
            first_frame_at=_FIRST_FRAME,
            outcome="ended",
            late_frames=3,
            dropped_frames=0,
            skew_ms=4,
        )
    ],
)

LEDGER_ENTRY = UsageEventResource(
    id="use_01K8Z5R7S9T1V3W5X7Y9Z1A3B5",
    object="usage_event",
    account_id=ACCOUNT,
    session_id=SESSION,
    avatar_id="av_demo",
    attempt=1,
    n=1,
    kind="interval",
    quality="standard",
    billed_as="standard",
    multiplier_milli=1000,
    rate_card="2026-11",
    from_=_FIRST_FRAME,
    to="2026-11-02T09:30:06.120Z",
    billable_ms=5000,
    frames=125,
    credit_us=5_000_000,
    flags=[],
    event_id="evt_01K8Z5R7S8T0V2W4X6Y8Z0A2B4",
    prev_hash="0" * 64,
    hash="3f0c5d6a" * 8,
    source=Source(topic="sessions.v1", partition=3, offset=1042),
    recorded_at="2026-11-02T09:30:06.131Z",
)

_PROOF = ProofResource(
    entries=[
        ProofEntry(
            **LEDGER_ENTRY.model_dump(include=set(ProofEntry.model_fields) - {"from_", "to"}),
            from_=1793611801120,
            to=1793611806120,
        )
    ],
    object="usage_proof",
    seals=[
        ProofSeal(
            day=ProofDay(
                cut="5e9a3d7b" * 8,
                day="2026-11-02",
                leaves=2,
                object="usage_day",
                previous="0" * 64,
                root="9b2e4c1f" * 8,
            ),
            entries=1,
            index=0,
            path=["7d1a5f3c" * 8],
            public_key="4c8e2b6a" * 8,
            signature="e5f1a7c3" * 16,
        )
    ],
    session_id=SESSION,
    version=1,
)

MONTH = "2026-11-01T00:00:00.000Z"
_LIMITS = LimitsResource(
    period_start=MONTH,
    period_end="2026-12-01T00:00:00.000Z",
    account=SpendingLimits(
        hard_cap_credits=1000, threshold_credits=[500, 900], used_credits=512.5, reached_credits=[500]
    ),
    keys={},
)

DRY_RUN = DryRun(
    ok=False,
    problems=[
        Problem(
            status=422,
            type="unprocessable",
            code="transport.worker_token.expired",
            message="The worker token has expired.",
            param="transport.worker_token",
        )
    ],
    warnings=[],
    price=Price(rate_card="2026-11", billed_as="standard", multiplier_milli=1000, credits_per_minute=1),
)

_PLAN = PlanResource(
    key="self_hosted",
    name="Self-hosted",
    monthly_price_cents=0,
    included_credits=0,
    extra_credit_unit_micros=None,
    max_concurrency=1000,
    custom_avatar_slots=1000,
    extra_avatar_slot_cents=None,
    session_time_limit_seconds=3600,
)

REQUESTS: Mapping[str, JsonObject] = MappingProxyType(
    {
        "create_session": {
            "avatar_id": "av_demo",
            "transport": {
                "type": "livekit",
                "url": "wss://my-app.livekit.cloud",
                "room_name": "demo-room",
                "worker_token": "eyJ…",
            },
            "quality": "standard",
            "max_duration_seconds": 600,
            "metadata": {"customer_session_id": "abc123"},
        },
        "put_limits": {"hard_cap_credits": 1000, "threshold_credits": [500, 900]},
        "create_avatar": {"image": "(the bytes of portrait.jpg)", "name": "Ada", "consent": "true"},
        "verify_clip": {"clip": "(the bytes of recording.mp4)", "from": "0", "to": "60"},
    }
)
"""By operation id."""

_LIVE = LiveResource(
    window="1m",
    window_seconds=60,
    hop_seconds=60,
    lateness_seconds=120,
    complete=True,
    windows=[
        LiveWindowResource(
            start="2026-11-02T09:30:00.000Z",
            end="2026-11-02T09:31:00.000Z",
            closes_at="2026-11-02T09:33:00.000Z",
            starts=1,
            active={"ended": 1},
            first_frame=FirstFramesResource(count=1, p50_ms=1120, p95_ms=1120, p99_ms=1120),
            billable_ms=42380,
            credit_us=42_380_000,
            failures={},
            audio_stalls=0,
            late=0,
        )
    ],
)

ANSWERS: Mapping[str, BaseModel | Sequence[BaseModel]] = MappingProxyType(
    {
        "create_session": QUEUED,
        "get_session": RUNNING,
        "list_sessions": SessionList(data=[RUNNING], has_more=False, next_cursor=None),
        "end_session": ENDING,
        "list_session_events": HistoryPage(
            data=[HistoryEvent(seq=1, type="session.created", occurred_at=CREATED, data=QUEUED)],
            has_more=True,
            next_cursor="1",
        ),
        "get_session_timeline": _TIMELINE,
        "get_session_proof": _PROOF,
        "list_events": Feed(
            data=[
                FeedItem(
                    position=41,
                    id="evt_01K8Z5Q2N6X8Z0B2D4F6H8J0K2",
                    type="session.created",
                    timestamp=CREATED,
                    seq=1,
                    attempt=1,
                    data=QUEUED,
                )
            ],
            has_more=False,
            next_cursor="41",
        ),
        "create_avatar": PROCESSING,
        "verify_clip": VerificationResource(
            verdict="ours",
            reason=None,
            clip=ClipFacts(
                from_=0.1,
                to=24.9,
                container="mov,mp4,m4a,3gp,3g2,mj2",
                codec="h264",
                width=1280,
                height=720,
                frames=625,
                unread=[],
            ),
            sessions=[
                ShownSession(
                    id=SESSION,
                    account_id=ACCOUNT,
                    avatar_id="av_demo",
                    quality="standard",
                    score=31.4,
                    spans=[
                        ShownSpan(
                            from_=0.1,
                            to=24.9,
                            session_from=12.2,
                            session_to=37.0,
                            began_at="2026-11-02T09:30:13.320Z",
                            ended_at="2026-11-02T09:30:38.120Z",
                            ledger="billed",
                            billed_seconds=24.8,
                        )
                    ],
                )
            ],
            breaks=[],
        ),
        "get_avatar": READY,
        "list_avatars": AvatarList(data=[READY], has_more=False, next_cursor=None),
        "get_usage": UsageSummary(
            period_start="2026-11-01T00:00:00.000Z",
            period_end="2026-12-01T00:00:00.000Z",
            billable_seconds=43,
            sessions=1,
            by_quality={"standard": 43},
        ),
        "list_usage_events": UsageEventList(data=[LEDGER_ENTRY], has_more=False, next_cursor=None),
        "get_live": _LIVE,
        "get_account": AccountResource(
            id=ACCOUNT,
            name="Example",
            plan=_PLAN.key,
            idle_timeout_seconds=30,
            created_at="2026-11-01T08:00:00.000Z",
            key=KeyResource(
                id=_KEY,
                name="server",
                scopes=["*"],
                creates_per_minute=600,
                max_concurrency=None,
                created_at="2026-11-01T08:00:00.000Z",
            ),
        ),
        "list_billing_plans": [_PLAN],
        "get_billing_quota": QuotaResource(
            plan=_PLAN.key,
            concurrent_sessions=Held(limit=_PLAN.max_concurrency, used=1),
            custom_avatars=Held(limit=_PLAN.custom_avatar_slots, used=1),
            session_time_limit_seconds=_PLAN.session_time_limit_seconds,
            creates_per_minute=600,
        ),
        "get_limits": _LIMITS,
        "put_limits": _LIMITS,
        "get_credits": CreditsResource(
            gated=True,
            balance_credits=87.5,
            grants=[
                GrantResource(
                    id="cg_01K8Z3G1H4J6K8M0N2P4Q6R8S0",
                    granted_credits=100,
                    left_credits=87.5,
                    expires_at="2027-11-01T00:00:00.000Z",
                    note="welcome",
                    created_at=MONTH,
                )
            ],
        ),
        "list_credit_entries": CreditEntryList(
            data=[
                CreditEntry(
                    id="ce_1",
                    at=MONTH,
                    kind="grant",
                    grant_id="cg_01K8Z3G1H4J6K8M0N2P4Q6R8S0",
                    amount_credits=100,
                    balance_credits=100,
                    note="welcome",
                )
            ],
            has_more=False,
            next_cursor=None,
        ),
        "get_capacity": CapacityResource(
            slots=2,
            free=1,
            by_quality={"standard": QualityCapacity(slots=2, free=1)},
            waiting=0,
            estimated_wait_ms=0,
        ),
        "get_status": StatusResource(
            status="operational",
            components=[
                StatusComponent(name=name, status="operational")
                for name in ("api", "database", "log", "projections", "workers")
            ],
            updated_at=CREATED,
        ),
    }
)
"""By operation id."""


def shown(example: BaseModel | Sequence[BaseModel]) -> object:
    """As it is on the wire."""
    if isinstance(example, BaseModel):
        return example.model_dump(mode="json", by_alias=True)
    return [each.model_dump(mode="json", by_alias=True) for each in example]
