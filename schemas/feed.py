"""The account's feed on the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from schemas.sessions import SessionResource


class FeedItem(BaseModel):
    """An event, as a webhook of it carries it, with its place in the feed. `id` is the same in every way of telling."""

    position: int
    id: str
    type: str
    timestamp: str
    seq: int
    attempt: int
    data: SessionResource


class Feed(BaseModel):
    """In order. `next_cursor` always goes into `after`, also when there is no more yet."""

    object: Literal["list"] = "list"
    data: list[FeedItem]
    has_more: bool
    next_cursor: str
