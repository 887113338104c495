"""Webhook endpoints on the wire."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StrictBool, StrictStr, field_validator

from schemas.sessions import Strict

_PATTERN = re.compile(r"\*|[a-z_]+\.(\*|[a-z_]+)")


class CreateWebhookEndpoint(Strict):
    url: Annotated[StrictStr, Field(min_length=1, max_length=2048)]
    events: Annotated[list[StrictStr], Field(min_length=1, max_length=50, description="Types, `session.*`, or `*`.")]
    description: Annotated[StrictStr, Field(max_length=500)] = ""
    enabled: StrictBool = True

    @field_validator("events")
    @classmethod
    def _patterns(cls, events: list[str]) -> list[str]:
        for pattern in events:
            if not _PATTERN.fullmatch(pattern):
                raise ValueError(f"{pattern[:80]!r} is no event type, prefix such as session.*, or *")
        return events


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
