"""Webhooks on the wire: endpoints, what is sent to them, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, Field, StrictBool, StrictInt, StrictStr, model_validator

from schemas.avatars import AvatarResource
from schemas.events import SUBSCRIBABLE
from schemas.jsons import JsonObject
from schemas.pages import Page
from schemas.requests import WEB_URL, WHOLE, Strict, Text, with_usable_host
from schemas.sessions import SessionResource
from schemas.spending import ThresholdReached
from schemas.times import to_wire
from schemas.usage import UsageEventResource

SUBSCRIPTION = r"^(\*|[a-z_]+\.(\*|[a-z_]+))$"
"""The form of an event type, of a prefix such as `session.*`, and `*`."""
_NOUNS = sorted({kind.partition(".")[0] for kind in SUBSCRIBABLE})
KNOWN = frozenset({"*", *(f"{noun}.*" for noun in _NOUNS), *SUBSCRIBABLE})


def _known(text: str) -> str:
    if text not in KNOWN:
        raise ValueError(f"is no type of event; there are {', '.join(sorted(KNOWN))}")
    return text


Subscription = Annotated[
    StrictStr,
    Field(max_length=100, pattern=SUBSCRIPTION, json_schema_extra={"enum": sorted(KNOWN)}),
    AfterValidator(_known),
]
"""A typo would be an event that never comes."""
Url = Annotated[
    StrictStr,
    Field(min_length=1, max_length=2048, pattern=WEB_URL, examples=["https://example.com/hook"]),
    AfterValidator(with_usable_host),
]
Events = Annotated[
    list[Subscription],
    Field(
        min_length=1,
        max_length=50,
        examples=[["session.*"]],
        description="Types, `session.*`, or `*`. `session.heartbeat` and `usage.recorded` only by their names.",
    ),
]
Description = Annotated[Text, Field(max_length=500)]


class CreateWebhookEndpoint(Strict):
    url: Url
    events: Events
    description: Description = ""
    enabled: StrictBool = True


class PatchWebhookEndpoint(Strict):
    """What is not given stays. Null is no value of any field."""

    url: Url = ""
    events: Events = []  # noqa: RUF012 - pydantic copies it; never seen: what was not given is not read
    description: Description = ""
    enabled: StrictBool = True


class RotateSecret(Strict):
    previous_expires_in_seconds: Annotated[
        StrictInt,
        Field(ge=0, le=86_400, description="How long the secrets before sign, too. 0: not any more."),
        WHOLE,
    ] = 86_400


POSITION = "0|[1-9][0-9]{0,17}"
"""Of an account's feed, as text."""
Position = Annotated[StrictStr, Field(pattern=f"^({POSITION})$")]


class Replay(Strict):
    """Exactly one of `since`, `after` and `session_id`."""

    since: Annotated[
        Annotated[Text, Field(max_length=40, json_schema_extra={"format": "date-time"})] | None,
        Field(description="Inclusive."),
    ] = None
    after: Annotated[Position | None, Field(description="A position of the feed: what comes behind it.")] = None
    session_id: Annotated[Text, Field(min_length=1, max_length=64)] | None = None
    after_seq: Annotated[StrictInt, Field(ge=0, le=2**31 - 1, description="With `session_id`."), WHOLE] = 0

    @model_validator(mode="after")
    def _one(self) -> Replay:
        if sum(each is not None for each in (self.since, self.after, self.session_id)) != 1:
            raise ValueError("give exactly one of since, after and session_id")
        if self.after_seq and self.session_id is None:
            raise ValueError("after_seq belongs to session_id")
        return self


class WebhookEndpointResource(BaseModel):
    """`secret` is in the answer to the create and to a rotation, and never again.

    `disabled_reason` says why we disabled it: it answered 410 (`gone`), or nothing arrived for 120 h (`failing`).
    `failing_since`: of the first failure since the last success.
    """

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: Literal["gone", "failing"] | None = None
    disabled_at: str | None = None
    failing_since: str | None = None
    created_at: str
    secret: str | None = None


class WebhookEndpointList(Page[WebhookEndpointResource]):
    """The newest first."""


class WebhookDeliveryResource(BaseModel):
    """One event to one endpoint. `id` is the `webhook-id` of every attempt.

    `reason` of `given_up`: `attempts` (all of the schedule failed), `gone` (410), `endpoint_disabled`, or `hindered`
    (we could not, for more than a day).
    """

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    endpoint_id: str
    session_id: str | None
    event_id: str
    type: str
    status: Literal["pending", "delivered", "given_up"]
    reason: Literal["attempts", "gone", "endpoint_disabled", "hindered"] | None
    attempts: int
    next_attempt_at: Annotated[str | None, Field(description="Null while an attempt is under way.")]
    created_at: str
    finished_at: str | None


class WebhookDeliveryList(Page[WebhookDeliveryResource]):
    """The newest event first. A page may have fewer than `limit` and still more behind it: see `has_more`."""


class WebhookAttempt(BaseModel):
    """`status` is the answer's; null where none came, and `error` says why. `answer`: its first 2 KB."""

    n: int
    at: str
    status: int | None
    latency_ms: int
    error: str | None
    answer: str | None


class WebhookDeliveryDetail(WebhookDeliveryResource):
    """`body` is what is sent, as it was frozen when the event happened."""

    body: JsonObject
    tried: list[WebhookAttempt]


class ReplayResource(BaseModel):
    """`deliveries` that were made or are made again. `has_more`: ask again with `after` = `through`, which is null for
    a session's."""

    object: Literal["webhook_replay"] = "webhook_replay"
    deliveries: int
    through: str | None
    has_more: bool


class WebhookBody(BaseModel):
    """What is sent of a session's event: the session as it was then, however late the delivery."""

    type: str
    timestamp: str
    seq: Annotated[int, Field(description="Counts the session's events; has gaps where something internal happened.")]
    attempt: Annotated[int, Field(description="Counts the workers that were given the session.")]
    data: SessionResource


class HeartbeatBody(BaseModel):
    """What is sent of a worker's heartbeat, every 5 s. `n` counts those of an attempt; it is tried twice at most."""

    type: Literal["session.heartbeat"]
    timestamp: str
    seq: None
    attempt: int
    n: int
    data: SessionResource


class Unsequenced(BaseModel):
    """What is sent of an event that is no session's."""

    timestamp: str
    seq: None
    attempt: None


class UsageBody(Unsequenced):
    """What is sent of a new entry in the ledger."""

    type: Literal["usage.recorded"]
    data: UsageEventResource


class AvatarBody(Unsequenced):
    """What is sent when an avatar's build is over."""

    type: Literal["avatar.ready", "avatar.failed"]
    data: AvatarResource


class ThresholdBody(Unsequenced):
    """What is sent when a threshold of spending is reached."""

    type: Literal["usage.threshold_reached"]
    data: ThresholdReached


class EndpointBody(Unsequenced):
    """What is sent when an endpoint is disabled, to the others; and as a test, to itself."""

    type: Literal["webhook_endpoint.disabled", "webhook_endpoint.test"]
    data: WebhookEndpointResource


BODIES: tuple[type[BaseModel], ...] = (
    WebhookBody,
    HeartbeatBody,
    UsageBody,
    AvatarBody,
    ThresholdBody,
    EndpointBody,
)


def body(
    kind: str, at_ms: int, data: JsonObject, *, seq: int | None = None, attempt: int | None = None, **further: int
) -> bytes:
    """What is sent, as one of BODIES has it."""
    told = {"type": kind, "timestamp": to_wire(at_ms), "seq": seq, "attempt": attempt, **further, "data": data}
    return orjson.dumps(told)


def body_of(kind: str) -> type[BaseModel]:
    """The model of what is sent of this type."""
    for model in BODIES[1:]:
        if kind in _literals(model.model_fields["type"].annotation):
            return model
    return WebhookBody


def _literals(annotation: Any) -> tuple[str, ...]:
    return getattr(annotation, "__args__", ())
