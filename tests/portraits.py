"""Pictures to upload: drawn people, and what is none."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from PIL import Image

from faces.face import Face, stock


def drawn(name: str = "av_demo", side: int = 720) -> Image.Image:
    return Image.fromarray(stock(name).portrait).resize((side, side))


def undrawable() -> Face:
    """A face as a file can hold it, all of whose points are in one place."""
    face = stock("av_demo")
    return replace(face, points=np.full_like(face.points, 0.5))


def hopper() -> Image.Image:
    """A photograph of the public domain, which matplotlib ships: lips shut, glasses, a hat."""
    with as_file(files("matplotlib") / "mpl-data" / "sample_data" / "grace_hopper.jpg") as path:
        return Image.open(path).convert("RGB")


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
