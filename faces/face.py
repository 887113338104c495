"""A face as it is stored: a square portrait with shut lips, the points of the landmark net, and what the person is."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces import matte, rig
from faces.teeth import Box
from schemas.avatars import STOCK as STOCK_AVATARS

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

SIDE = 720
"""Pixels of a stored portrait's side: the largest format."""
TALL = SIDE * 16 // 9
"""Pixels of the height of a face whose shape is `portrait`."""
_FOOT = 0.87, 0.965
"""In sides: where movement ends above what stands still below."""
STOCK = Path(__file__).parent / "stock"
_MOST_BYTES = 32 * 1024 * 1024
_VERSION = 2


class Point(msgspec.Struct, frozen=True):
    x: float
    y: float


class Landmarks(msgspec.Struct, frozen=True):
    """Where the eyes and the mouth are, in fractions of the side, x to the right and y down; left and right are the
    picture's."""

    mouth_left: Point
    mouth_right: Point
    mouth_centre: Point
    chin: Point
    eye_left: Point
    eye_right: Point

    @property
    def mouth_width(self) -> float:
        return self.mouth_right.x - self.mouth_left.x


class _About(msgspec.Struct, frozen=True):
    """`points` [468 * 3] and `irises` [2 * 5 * 2], in sides; `teeth`: left, top, width, height of their plate, pixels;
    `light` on the face, `grey`: how much colour the picture lacks."""

    version: int
    points: list[float]
    irises: list[float]
    teeth: tuple[int, int, int, int]
    light: tuple[float, float, float]
    grey: float


class UnreadableFace(Exception):
    """The file is not a built face."""


class OldFace(UnreadableFace):
    """A face of the first version: what of it a new one can be built from."""

    def __init__(self, portrait: Pixels, landmarks: Landmarks) -> None:
        super().__init__("it was built by the first version")
        self.portrait, self.landmarks = portrait, landmarks


@dataclass(frozen=True, eq=False)
class Face:
    """`portrait` [SIDE, SIDE, 3] RGB, lips shut; `points` [468, 3], `irises` [2, 5, 2] in sides, as a `landmarks.Mesh`
    has them; `teeth` RGBA, which lies in `teeth_box`; `matte` [SIDE, SIDE]: how much of each pixel is the person (None:
    nobody knows); `backdrop` [SIDE, SIDE, 3]: what is behind, where that is known and need not be made up; `below`
    [TALL - SIDE, SIDE, 3]: what a frame of 9:16 shows under the square."""

    portrait: Pixels
    points: Floats
    irises: Floats
    teeth: Pixels
    teeth_box: Box
    light: tuple[float, float, float]
    grey: float = 0.0
    matte: Pixels | None = None
    backdrop: Pixels | None = None
    below: Pixels | None = None

    @property
    def height(self) -> int:
        """Of a frame that is SIDE wide."""
        return SIDE if self.below is None else TALL

    @cached_property
    def rig(self) -> rig.Rig:
        built = rig.build(self.points, self.irises, alone=self.matte is not None)
        if self.below is None:
            return built
        rows = np.clip((rig.nodes()[..., 1] - _FOOT[0]) / (_FOOT[1] - _FOOT[0]), 0, 1)
        goes = (1 - rows * rows * (3 - 2 * rows)).astype(np.float32)
        moves = {name: getattr(built, name) * goes[..., None] for name in ("head", "jaw")}
        return replace(built, part=built.part * goes, breath=built.breath * goes, **moves)

    @cached_property
    def behind(self) -> Pixels:
        """[SIDE, SIDE, 3]: what is behind the person, known or made up."""
        if self.matte is None:
            return self.portrait
        return matte.behind(self.portrait, self.matte) if self.backdrop is None else self.backdrop

    @property
    def landmarks(self) -> Landmarks:
        def at(*indices: int) -> Point:
            x, y = self.points[list(indices), :2].mean(axis=0)
            return Point(float(x), float(y))

        eyes = [Point(float(x), float(y)) for x, y in self.irises[:, 0]]
        return Landmarks(at(61), at(291), at(13, 14), at(152), *eyes)

    def to_bytes(self, mark: str = "") -> bytes:
        """The same face and mark give the same bytes; another mark makes it another asset."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            archive.comment = mark.encode()
            box = self.teeth_box
            about = _About(
                _VERSION, _rounded(self.points), _rounded(self.irises), (box.left, box.top, box.width, box.height),
                self.light, self.grey,
            )  # fmt: skip
            pictures = {
                "portrait": self.portrait, "teeth": self.teeth, "matte": self.matte, "backdrop": self.backdrop,
                "below": self.below,
            }  # fmt: skip
            parts = {"face.json": msgspec.json.encode(about, order="sorted")}
            parts |= {f"{name}.png": _png(picture) for name, picture in pictures.items() if picture is not None}
            for name, content in parts.items():
                archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content)
        return packed.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Face:
        """Raises OldFace, UnreadableFace."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(item.file_size for item in archive.infolist()) > _MOST_BYTES:
                    raise UnreadableFace("too large")
                if "landmarks.json" in archive.namelist():
                    landmarks = msgspec.json.decode(archive.read("landmarks.json"), type=Landmarks)
                    raise OldFace(_square(_pixels(archive.read("portrait.png"), "RGB")), landmarks)
                about = msgspec.json.decode(archive.read("face.json"), type=_About)
                face = cls(
                    _square(_pixels(archive.read("portrait.png"), "RGB")),
                    np.array(about.points).reshape(468, 3),
                    np.array(about.irises).reshape(2, 5, 2),
                    _pixels(archive.read("teeth.png"), "RGBA"),
                    Box(*about.teeth),
                    about.light,
                    about.grey,
                    _optional(archive, "matte.png", "L"),
                    _optional(archive, "backdrop.png", "RGB"),
                    _optional(archive, "below.png", "RGB", TALL - SIDE),
                )
        except (zipfile.BadZipFile, KeyError, ValueError, OSError, msgspec.MsgspecError) as wrong:
            raise UnreadableFace(str(wrong)) from None
        if face.teeth.shape[:2] != (face.teeth_box.height, face.teeth_box.width):
            raise UnreadableFace("its teeth have the wrong size")
        return face


@cache
def stock(name: str) -> Face:
    """Raises KeyError."""
    if name not in STOCK_AVATARS:
        raise KeyError(name)
    return Face.from_bytes((STOCK / f"{name}.face").read_bytes())


def _rounded(values: Floats) -> list[float]:
    return [round(float(value), 5) for value in values.ravel()]


def _optional(archive: zipfile.ZipFile, name: str, mode: str, height: int = SIDE) -> Pixels | None:
    return _square(_pixels(archive.read(name), mode), height) if name in archive.namelist() else None


def _square(picture: Pixels, height: int = SIDE) -> Pixels:
    if picture.shape[:2] != (height, SIDE):
        raise UnreadableFace("its pictures have the wrong size")
    return picture


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _pixels(png: bytes, mode: str) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]).convert(mode))
