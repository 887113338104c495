"""The avatar resource exactly as the published clients know it, the avatars that every install has, and what an upload
may say about its picture."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from pydantic import BaseModel

from schemas.pages import Page

RuntimeType = Literal["avtr1", "mock"]
AvatarStatus = Literal["processing", "ready", "failed"]

STOCK = {"av_demo": "Demo", "av_stock_001": "Milo"}
"""Id → name."""
STOCK_CREATED_AT = "2026-11-01T00:00:00.000Z"
DEFAULT_NAME = "Custom Avatar"
MOST_NAME = 100

Position = tuple[float, float]


class Positions(Struct, frozen=True, forbid_unknown_fields=True):
    """Where eyes and mouth are, in pixels of the image as it is shown upright; left is the picture's left."""

    eye_left: Position
    eye_right: Position
    mouth_left: Position
    mouth_right: Position

    def scaled(self, factor: float) -> Positions:
        places = (self.eye_left, self.eye_right, self.mouth_left, self.mouth_right)
        return Positions(*((x * factor, y * factor) for x, y in places))


class AvatarResource(BaseModel):
    id: str
    object: Literal["avatar"] = "avatar"
    name: str
    status: AvatarStatus
    runtime_type: RuntimeType
    is_demo: bool
    created_at: str
    failure_reason: str | None
    default_voice: str | None = None
    default_custom_instructions: str | None = None


class AvatarList(Page[AvatarResource]):
    pass
