"""The account's feed on the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from schemas.avatars import AvatarResource
from schemas.sessions import SessionResource
from schemas.spending import ThresholdReached
from schemas.webhooks import WebhookEndpointResource


class FeedItem(BaseModel):
    """An event, as a webhook of it carries it, with its place in the feed. `id` is the same in every way of telling."""

    position: int
    id: str
    type: str
    timestamp: str
    seq: int | None
    attempt: int | None
    data: SessionResource | AvatarResource | ThresholdReached | WebhookEndpointResource


class Feed(BaseModel):
    """In order. `next_cursor` always goes into `after`, also when there is no more yet."""

    object: Literal["list"] = "list"
    data: list[FeedItem]
    has_more: bool
    next_cursor: str
