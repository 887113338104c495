"""Pictures to upload: drawn people, and what is none."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from msgspec import structs
from PIL import Image

from faces.face import Face, stock


def drawn(name: str = "av_demo", side: int = 720) -> Image.Image:
    return Image.fromarray(stock(name).portrait).resize((side, side))


def undrawable() -> Face:
    """A face as a file can hold it, whose mouth is where no movement of the head reaches."""
    face = stock("av_demo")
    marks = face.landmarks
    aside = {name: structs.replace(getattr(marks, name), x=0.99) for name in ("mouth_left", "mouth_centre")}
    return replace(face, landmarks=structs.replace(marks, mouth_right=structs.replace(marks.chin, x=1.2), **aside))


def noise(width: int = 400, height: int = 400) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def two_people() -> Image.Image:
    both = Image.new("RGB", (1200, 600))
    both.paste(drawn("av_demo", 600), (0, 0))
    both.paste(drawn("av_stock_001", 600), (600, 0))
    return both


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
