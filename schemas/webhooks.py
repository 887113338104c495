"""Webhooks on the wire: endpoints, and what is sent to them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictBool, StrictStr

from schemas.requests import WEB_URL, Strict, Text, with_usable_host
from schemas.sessions import SessionResource
from schemas.spending import ThresholdReached

SUBSCRIPTION = r"^(\*|[a-z_]+\.(\*|[a-z_]+))$"
Subscription = Annotated[StrictStr, Field(max_length=100, pattern=SUBSCRIPTION)]
"""An event type, a prefix such as `session.*`, or `*`."""


class CreateWebhookEndpoint(Strict):
    url: Annotated[
        StrictStr,
        Field(min_length=1, max_length=2048, pattern=WEB_URL, examples=["https://example.com/hook"]),
        AfterValidator(with_usable_host),
    ]
    events: Annotated[
        list[Subscription],
        Field(min_length=1, max_length=50, examples=[["session.*"]], description="Types, `session.*`, or `*`."),
    ]
    description: Annotated[Text, Field(max_length=500)] = ""
    enabled: StrictBool = True


class WebhookEndpointResource(BaseModel):
    """`secret` is in the answer to the create and never again."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: str
    events: list[str]
    description: str
    enabled: bool
    created_at: str
    secret: str | None = None


class WebhookBody(BaseModel):
    """What is sent of a session's event: the session as it was then, however late the delivery."""

    type: str
    timestamp: str
    seq: Annotated[int, Field(description="Counts the session's events; has gaps where something internal happened.")]
    attempt: Annotated[int, Field(description="Counts the workers that were given the session.")]
    data: SessionResource


class ThresholdBody(BaseModel):
    """What is sent when a threshold of spending is reached, which is no session's event."""

    type: Literal["usage.threshold_reached"]
    timestamp: str
    seq: None
    attempt: None
    data: ThresholdReached
