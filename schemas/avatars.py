"""The avatar resource exactly as the published clients know it, the avatars that every install has, and what an upload
may say: of its picture, of what is behind, and that whoever it shows has agreed."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct
from pydantic import BaseModel

from schemas.bounds import Id, Small
from schemas.pages import Page

RuntimeType = Literal["avtr1", "mock"]
AvatarStatus = Literal["processing", "ready", "failed"]
Shape = Literal["square", "portrait"]
"""Of an avatar's frames: as high as wide, or 16 to 9."""

STOCK = {"av_demo": "Demo", "av_stock_001": "Milo", "av_stock_002": "Vera", "av_stock_003": "Kofi"}
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


GREEN = "#00b140"
"""What chroma keys are set to."""
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")


class Background(Struct, frozen=True):
    """What is shown behind the person instead of what the upload had there: that, `blur`red, or a `colour`, or the
    `image` that is `asset`."""

    kind: Literal["blur", "colour", "image"]
    colour: Annotated[str, Meta(pattern=r"^#[0-9a-f]{6}$(?!\n)")] | None = None
    asset: Id | None = None


def asked_for(said: str) -> Background | None:
    """`blur`, `green` or `#rrggbb`; None for anything else."""
    if said == "blur":
        return Background("blur")
    colour = GREEN if said == "green" else said
    return Background("colour", colour=colour.lower()) if _COLOUR.fullmatch(colour) else None


CONSENT = 1
"""The version of `CONSENT_TEXT`."""
CONSENT_TEXT = (
    "The person shown has agreed to have this picture speak as an avatar, or the picture shows nobody; who hears and"
    " sees it will be told that it is synthetic."
)


class Consent(Struct, frozen=True):
    """Whoever holds the key has said CONSENT_TEXT, in this version, with the upload."""

    api_key_id: Id
    statement: Small


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
