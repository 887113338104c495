"""The session resource and the request that makes one, exactly as the published clients know them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, field_validator

from schemas.events import Quality

REDACTED: Literal["[redacted]"] = "[redacted]"
MAX_METADATA_BYTES = 8 * 1024

Status = Literal["created", "queued", "starting", "running", "ending", "ended", "failed", "canceled"]
MetadataValue = StrictStr | StrictInt | StrictFloat | StrictBool | None


class Strict(BaseModel):
    """Unknown fields are refused, so that a typo is told at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LiveKitTransport(Strict):
    """BYO LiveKit: the customer owns the room and mints the token; we never see their API key."""

    type: Literal["livekit"] = "livekit"
    url: Annotated[StrictStr, Field(min_length=1, max_length=2048, description="ws:// or wss:// URL of LiveKit.")]
    room_name: Annotated[StrictStr, Field(min_length=1, max_length=512)]
    worker_token: Annotated[
        StrictStr, Field(min_length=1, max_length=16384, description="Write-only; answers show `[redacted]`.")
    ]
    worker_identity: Annotated[StrictStr, Field(min_length=1, max_length=512)] | None = None
    audio_source: Literal["data_stream", "track"] = "data_stream"
    subscribe_to_identity: Annotated[StrictStr, Field(min_length=1, max_length=512)] | None = None
    synthetic_audio_if_no_input: StrictBool = False

    @field_validator("url")
    @classmethod
    def _websocket(cls, url: str) -> str:
        if not url.lower().startswith(("ws://", "wss://")):
            raise ValueError("must start with ws:// or wss://")
        return url


class CreateSession(Strict):
    """Body of `POST /v1/sessions`."""

    avatar_id: Annotated[StrictStr, Field(min_length=1, max_length=128)]
    transport: LiveKitTransport
    quality: Quality = "standard"
    max_duration_seconds: Annotated[StrictInt, Field(ge=1, le=3600)] | None = None
    idle_timeout_seconds: Annotated[StrictInt, Field(ge=1, le=600)] | None = None
    metadata: dict[str, MetadataValue] | None = None


class TransportResource(BaseModel):
    type: Literal["livekit"]
    url: str
    room_name: str
    worker_token: Literal["[redacted]"] = REDACTED
    worker_identity: str
    audio_source: Literal["data_stream", "track"]
    subscribe_to_identity: str | None
    synthetic_audio_if_no_input: bool


class Failure(BaseModel):
    code: str
    message: str


class SessionUsage(BaseModel):
    """Lags the last heartbeat by up to one interval; the ledger is canonical."""

    billable_seconds: int
    frames: int


class SessionResource(BaseModel):
    id: str
    object: Literal["session"] = "session"
    status: Status
    avatar_id: str
    transport: TransportResource
    quality: Quality
    max_duration_seconds: int
    idle_timeout_seconds: int
    metadata: dict[str, Any]
    created_at: str
    started_at: str | None
    first_frame_at: str | None
    ended_at: str | None
    failed_at: str | None
    failure: Failure | None
    usage: SessionUsage


class SessionList(BaseModel):
    object: Literal["list"] = "list"
    data: list[SessionResource]
    has_more: bool
    next_cursor: str | None
