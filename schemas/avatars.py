"""The avatars that every install has, and what an upload may say about its picture."""

from __future__ import annotations

from msgspec import Struct

STOCK = ("av_demo", "av_stock_001")

Position = tuple[float, float]


class Positions(Struct, frozen=True, forbid_unknown_fields=True):
    """Where eyes and mouth are, in pixels of the uploaded image as it is shown upright; left is the picture's left."""

    eye_left: Position
    eye_right: Position
    mouth_left: Position
    mouth_right: Position
