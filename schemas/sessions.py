"""The session resource and the request that makes one, exactly as the published clients know them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StrictBool, StrictInt, StrictStr, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from schemas.errors import ErrorType
from schemas.events import Quality
from schemas.jsons import JsonObject
from schemas.moods import MOOD_KEY, MOODS
from schemas.pages import Page
from schemas.requests import CONTROLS, SOCKET_URL, WHOLE, Strict, Text, with_usable_host

REDACTED: Literal["[redacted]"] = "[redacted]"
RESERVED = "_avatar."
"""How keys of metadata begin that are ours to give: the published clients take no field that they do not know."""
ERASED_AT = f"{RESERVED}erased_at"
MAX_METADATA_BYTES = 8 * 1024
MAX_METADATA_NUMBER = 2**53
"""Beyond it doubles skip integers: what we gave back might not be what we were sent."""
_MAX_METADATA_ENTRIES = MAX_METADATA_BYTES // 5
"""More cannot fit: `"":0,` is the shortest. Told before any of them is looked at."""

Status = Literal["created", "queued", "starting", "running", "ending", "ended", "failed", "canceled"]


def _flat(metadata: Any) -> Any:
    """Stops at the first problem: a body of 256 KB holds tens of thousands, and each would cost its own error."""
    if not isinstance(metadata, dict):
        return metadata
    if len(metadata) > _MAX_METADATA_ENTRIES:
        raise PydanticCustomError("too_large", "more than 8 KB")
    for name, value in metadata.items():
        if CONTROLS.search(name):
            raise PydanticCustomError("control", "a key has a control character, such as NUL or a line break")
        problem = _problem(value)
        if problem is not None:
            found = InitErrorDetails(type=problem, loc=(name,), input=value)
            raise ValidationError.from_exception_data("metadata", [found])
    return metadata


def _problem(value: Any) -> PydanticCustomError | None:
    if isinstance(value, str):
        if CONTROLS.search(value):
            return PydanticCustomError("control", "control characters, such as NUL or a line break, are not taken")
    elif isinstance(value, int | float):
        if abs(value) > MAX_METADATA_NUMBER:
            return PydanticCustomError("too_large", "a number must be within ±2^53; send larger ones as strings")
    elif value is not None:
        return PydanticCustomError("value_type", "must be a string, a number, true, false or null")
    return None


Metadata = Annotated[
    JsonObject,
    BeforeValidator(_flat),
    WithJsonSchema(
        {
            "type": "object",
            "description": "Flat, at most 8 KB as JSON. Numbers are doubles, as in JavaScript. `greenroom.mood` says"
            f" how the face looks: {', '.join(MOODS)}.",
            "properties": {MOOD_KEY: {"enum": list(MOODS)}},
            "propertyNames": {"pattern": r"^(?!_avatar\.)[^\x00-\x1f]*$"},
            "additionalProperties": {
                "anyOf": [
                    {"type": "string", "pattern": r"^[^\x00-\x1f]*$"},
                    {"type": "number", "minimum": -MAX_METADATA_NUMBER, "maximum": MAX_METADATA_NUMBER},
                    {"type": "boolean"},
                    {"type": "null"},
                ]
            },
        }
    ),
]


class LiveKitTransport(Strict):
    """BYO LiveKit: the customer owns the room and mints the token; we never see their API key."""

    type: Literal["livekit"] = "livekit"
    url: Annotated[
        StrictStr,
        Field(min_length=1, max_length=2048, pattern=SOCKET_URL, examples=["wss://my-app.livekit.cloud"]),
        AfterValidator(with_usable_host),
    ]
    room_name: Annotated[Text, Field(min_length=1, max_length=512, examples=["demo-room"])]
    worker_token: Annotated[
        Text,
        Field(min_length=1, max_length=16384, examples=["eyJ…"], description="Write-only; answers show `[redacted]`."),
    ]
    worker_identity: Annotated[Text, Field(min_length=1, max_length=512)] | None = None
    audio_source: Literal["data_stream", "track"] = "data_stream"
    subscribe_to_identity: Annotated[Text, Field(min_length=1, max_length=512)] | None = None
    synthetic_audio_if_no_input: StrictBool = False


class CreateSession(Strict):
    """Body of `POST /v1/sessions`."""

    avatar_id: Annotated[Text, Field(min_length=1, max_length=128, examples=["av_demo"])]
    transport: LiveKitTransport
    quality: Quality = "standard"
    max_duration_seconds: Annotated[StrictInt, Field(ge=1, le=3600), WHOLE] | None = None
    idle_timeout_seconds: Annotated[StrictInt, Field(ge=1, le=600), WHOLE] | None = None
    metadata: Metadata | None = None


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
    metadata: Annotated[
        JsonObject,
        Field(description="As it was given. Of an erased session `_avatar.erased_at` alone: since when."),
    ]
    created_at: str
    started_at: str | None
    first_frame_at: str | None
    ended_at: str | None
    failed_at: str | None
    failure: Failure | None
    usage: SessionUsage


class SessionList(Page[SessionResource]):
    pass


class Problem(BaseModel):
    """What the create would be refused with."""

    status: int
    type: ErrorType
    code: str
    message: str
    param: str | None


class Warned(BaseModel):
    """What would be accepted, and may not be what was meant."""

    code: str
    message: str
    param: str


class Price(BaseModel):
    """Of the quality that was asked for; 60,000 ms × `multiplier_milli` are a minute's `credit_us`."""

    rate_card: str
    billed_as: str
    multiplier_milli: int
    credits_per_minute: float


class DryRun(BaseModel):
    """What a create would meet right now. Nothing was reserved. `price`: null when the body has no valid form."""

    object: Literal["session.dry_run"] = "session.dry_run"
    ok: bool
    problems: list[Problem]
    warnings: list[Warned]
    price: Price | None
