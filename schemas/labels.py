"""The words that an account has drawn on its faces."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]
MOST_CHARS = 32
USUAL_CORNER: Corner = "bottom-left"


class Label(Struct, frozen=True):
    """`text` lies in `corner` of every frame."""

    text: str
    corner: Corner = USUAL_CORNER
