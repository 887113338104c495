"""A label on each frame: what a viewer reads, whoever has drawn the face. No torch and no OpenCV: session processes
draw it."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from schemas.labels import MOST_CHARS, Label

FONT = Path(__file__).parent / "fonts" / "label.ttf"
_HIGH, _LEAST_HIGH = 0.056, 0.043
"""Of the frame's width: the size of its letters, and the least one that can be read at 256 pixels."""
_PAD, _MARGIN = 0.45, 0.02
"""Room around the letters in their size; room to the frame's edge in its width."""
_LIGHT, _DARK, _GREY = 235, 16, 128
_SHADE = 0.72
"""How much of the box hides what is behind."""


def clean(text: str) -> str:
    """Its letters composed, its ends stripped."""
    return unicodedata.normalize("NFC", text).strip()


def problem(text: str) -> str | None:
    """What keeps a text from being a label, as a sentence; None when it can be read on the smallest frames."""
    if not text:
        return "A label needs a text."
    if len(text) > MOST_CHARS:
        return f"A label has at most {MOST_CHARS} characters, not {len(text)}."
    strange = [each for each in text if not _drawn(each)]
    if strange:
        named = ", ".join(dict.fromkeys(f"U+{ord(each):04X}" for each in strange))
        return f"A label is drawn in Latin, Greek and Cyrillic letters; its font has no {named}."
    if _width(text, _LEAST_HIGH * 256) > _room(256):
        return "This label is too wide to be read on the smallest frames; take fewer or narrower letters."
    return None


@cache
def _font(size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, size)


@cache
def _missing() -> bytes:
    return bytes(_font(32).getmask("\U0010ffff"))


def _drawn(letter: str) -> bool:
    """Whether the font has it. Of what cannot be seen the space alone is taken: no order of letters is turned."""
    return letter == " " or (letter.isprintable() and bytes(_font(32).getmask(letter)) not in (b"", _missing()))


def _width(text: str, size: float) -> float:
    return float(_font(size).getlength(text)) + 2 * _PAD * size


def _room(width: int) -> float:
    return width * (1 - 2 * _MARGIN)


class Lettering:
    """A label made ready for frames of one size. Whatever its text, it is drawn, and lies within the frame."""

    def __init__(self, label: Label, width: int, height: int) -> None:
        self._width, self._height = width, height
        cover, letters = _picture(" ".join(label.text.split()), width)  # a line break would end the drawing
        high, wide = letters.shape
        margin = round(_MARGIN * width / 2) * 2
        down, right = label.corner.startswith("bottom"), label.corner.endswith("right")
        top = max(0, height - margin - high) // 2 * 2 if down else margin
        left = max(0, width - margin - wide) // 2 * 2 if right else margin
        self._at = slice(top, top + high), slice(left, left + wide)
        self._half = slice(top // 2, (top + high) // 2), slice(left // 2, (left + wide) // 2)
        light = _DARK + (_LIGHT - _DARK) * letters
        small = cover.reshape(high // 2, 2, wide // 2, 2).mean(axis=(1, 3))
        self._luma = _mixing(light, cover)
        self._chroma = _mixing(np.full_like(small, _GREY), small)

    def on(self, frame: bytes) -> bytes:
        """The I420 frame, with the label on it."""
        data = np.frombuffer(bytearray(frame), np.uint8)
        pixels = self._width * self._height
        _mix(data[:pixels].reshape(self._height, self._width)[self._at], *self._luma)
        for plane in data[pixels:].reshape(2, self._height // 2, self._width // 2):
            _mix(plane[self._half], *self._chroma)
        return data.tobytes()


Plane = NDArray[np.uint16]


def _mixing(value: NDArray[np.floating], share: NDArray[np.floating]) -> tuple[Plane, Plane]:
    """(what is added, what is left of what is behind), in 256ths of a level."""
    return np.rint(value * share * 256).astype(np.uint16), np.rint((1 - share) * 256).astype(np.uint16)


def _mix(under: NDArray[np.uint8], added: Plane, left: Plane) -> None:
    under[:] = np.minimum((under * left + added + 128) >> 8, 255)


def _picture(text: str, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(how much of each pixel is hidden, how much of that is a letter), of even height and width, within the frame."""
    wanted = _HIGH * width
    size = max(4.0, wanted * min(1.0, _room(width) / _width(text, wanted)))
    wide = min(round(_width(text, size) / 2) * 2, round(_room(width)) // 2 * 2)
    high = round((1 + 2 * _PAD) * size / 2) * 2
    letters = Image.new("L", (wide, high))
    ImageDraw.Draw(letters).text((wide / 2, high / 2), text, fill=255, font=_font(size), anchor="mm")
    box = Image.new("L", (4 * wide, 4 * high))
    ImageDraw.Draw(box).rounded_rectangle((0, 0, 4 * wide - 1, 4 * high - 1), radius=0.3 * 4 * high, fill=255)
    ink = np.asarray(letters, np.float64) / 255
    shade = np.asarray(box.resize((wide, high), Image.Resampling.BOX), np.float64) / 255 * _SHADE
    return np.maximum(shade, ink), ink / np.maximum(np.maximum(shade, ink), 1e-9)
