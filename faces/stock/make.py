"""`greenroom faces draw`: the stock faces from their drawings. For maintainers; needs `resvg-py`."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from faces.face import GAZES, LIDS, SIDE, STOCK, Face, Landmarks, Pixels, Point
from faces.stock import drawing
from faces.stock.characters import CHARACTERS, Character


def draw(who: Character) -> Face:
    def picture(lid: float, gaze: float) -> Pixels:
        import resvg_py

        png = bytes(resvg_py.svg_to_bytes(svg_string=drawing.svg(who, lid, gaze), width=SIDE, height=SIDE))
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    portrait = picture(0, 0)
    face = Face(portrait, np.zeros((LIDS, GAZES, 0, 0, 3), np.uint8), _landmarks())
    left, top, right, bottom = face.eye_pixels()
    eyes = np.stack(
        [
            np.stack([picture(lid / (LIDS - 1), gaze - 1)[top:bottom, left:right] for gaze in range(GAZES)])
            for lid in range(LIDS)
        ]
    )
    return Face(portrait, eyes, face.landmarks)


def write() -> list[str]:
    """Draw all; returns their names."""
    for who in CHARACTERS:
        (STOCK / f"{who.name}.face").write_bytes(draw(who).to_bytes())
    return [who.name for who in CHARACTERS]


def _landmarks() -> Landmarks:
    scaled = {
        name: Point(*(v / drawing.SIDE for v in value)) if isinstance(value, tuple) else float(value) / drawing.SIDE  # type: ignore[arg-type]
        for name, value in drawing.LANDMARKS.items()
    }
    return Landmarks(**scaled)  # type: ignore[arg-type]
