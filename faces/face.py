"""A face as it is stored: a square portrait, what its eyes look like when they move, and where its parts are."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.avatars import STOCK as STOCK_AVATARS

Pixels = NDArray[np.uint8]

SIDE = 720
"""Pixels of a stored portrait's side: the largest format."""
LIDS = 5
GAZES = 3
STOCK = Path(__file__).parent / "stock"
_MOST_BYTES = 32 * 1024 * 1024


class Point(msgspec.Struct, frozen=True):
    x: float
    y: float


class Landmarks(msgspec.Struct, frozen=True):
    """Where things are, in fractions of the side, x to the right and y down; left and right are the picture's."""

    mouth_left: Point
    mouth_right: Point
    mouth_centre: Point
    lip_upper: float
    lip_lower: float
    chin: Point
    eye_left: Point
    eye_right: Point
    eye_width: float
    eye_height: float
    face: Point
    face_half_width: float
    face_half_height: float

    @property
    def mouth_width(self) -> float:
        return self.mouth_right.x - self.mouth_left.x

    @property
    def eye_box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of what a blink changes."""
        wide, high = self.eye_width * 0.85, max(self.eye_height * 1.1, self.eye_width * 0.5)
        middle = (self.eye_left.y + self.eye_right.y) / 2
        return self.eye_left.x - wide, middle - high, self.eye_right.x + wide, middle + high


class UnreadableFace(Exception):
    """The file is not a built face."""


@dataclass(frozen=True, eq=False)
class Face:
    """`portrait` [SIDE, SIDE, 3] RGB; `eyes` [LIDS, GAZES, h, w, 3]: the eye box by lid, open to shut, and gaze."""

    portrait: Pixels
    eyes: Pixels
    landmarks: Landmarks

    def eye_pixels(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the eye box in the stored portrait; even, so that chroma fits."""
        left, top, right, bottom = self.landmarks.eye_box
        return _even(left), _even(top), _even(right), _even(bottom)

    def to_bytes(self, mark: str = "") -> bytes:
        """The same face and mark give the same bytes; another mark makes it another asset."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            archive.comment = mark.encode()
            lids, gazes, height, width, _ = self.eyes.shape
            sheet = self.eyes.transpose(0, 2, 1, 3, 4).reshape(lids * height, gazes * width, 3)
            parts = {
                "landmarks.json": msgspec.json.encode(self.landmarks, order="sorted"),
                "portrait.png": _png(self.portrait),
                "eyes.png": _png(sheet),
            }
            for name, content in parts.items():
                archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content)
        return packed.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Face:
        """Raises UnreadableFace."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(item.file_size for item in archive.infolist()) > _MOST_BYTES:
                    raise UnreadableFace("too large")
                landmarks = msgspec.json.decode(archive.read("landmarks.json"), type=Landmarks)
                portrait = _pixels(archive.read("portrait.png"))
                sheet = _pixels(archive.read("eyes.png"))
            height, width = sheet.shape[0] // LIDS, sheet.shape[1] // GAZES
            eyes = sheet.reshape(LIDS, height, GAZES, width, 3).transpose(0, 2, 1, 3, 4)
        except (zipfile.BadZipFile, KeyError, ValueError, OSError, msgspec.MsgspecError) as wrong:
            raise UnreadableFace(str(wrong)) from None
        face = cls(portrait, np.ascontiguousarray(eyes), landmarks)
        left, top, right, bottom = face.eye_pixels()
        if portrait.shape != (SIDE, SIDE, 3) or eyes.shape[2:4] != (bottom - top, right - left):
            raise UnreadableFace("its pictures have the wrong size")
        return face


def stock(name: str) -> Face:
    """Raises KeyError."""
    if name not in STOCK_AVATARS:
        raise KeyError(name)
    return Face.from_bytes((STOCK / f"{name}.face").read_bytes())


def _even(fraction: float) -> int:
    return min(SIDE, max(0, round(fraction * SIDE / 2) * 2))


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _pixels(png: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB"))
