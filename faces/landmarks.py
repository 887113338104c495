"""What a net sees in a picture: faces, 468 points of each, the irises, and which pixels are the person.

OpenCV runs the nets, whose files `faces.nets` finds. Their input and output follow the model cards of MediaPipe Face
Detection (short range), Face Mesh, Iris and Selfie Segmentation. Not for two threads at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from faces import nets

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

COUNT = 468

RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)
"""The person's; in the order of the iris net: outer corner, lower lid, inner corner, upper lid from without."""
_DETECT, _MESH, _IRIS, _SELF = 128, 192, 64, 256
_SURE = 0.5
_SAME = 0.3
_WINDOWS = 0.62
"""The detector is made for faces that fill a tenth of the picture or more; smaller ones are looked for in parts of
this share of the picture's sides."""


@dataclass(frozen=True)
class Found:
    """One face: `score` 0…1; `box` left, top, right, bottom; `eyes` the picture's left and right one. Pixels."""

    score: float
    box: Points
    eyes: Points

    @property
    def size(self) -> float:
        return float(max(self.box[2:] - self.box[:2]))


@dataclass(frozen=True)
class Mesh:
    """`points` [468, 3]: x, y in pixels, z in the same unit, towards the viewer; `irises` [2, 5, 2]: the picture's left
    and right one, middle and four points of the rim; `presence` 0…1: that there is a face at all."""

    points: Points
    irises: Points
    presence: float

    def moved(self, turn: Points) -> Mesh:
        """By an affine `turn` [2, 3] that scales alike in all directions."""
        scale = float(np.sqrt(abs(np.linalg.det(turn[:, :2]))))
        flat = self.points[:, :2] @ turn[:, :2].T + turn[:, 2]
        points = np.column_stack([flat, self.points[:, 2] * scale])
        return replace(self, points=points, irises=self.irises @ turn[:, :2].T + turn[:, 2])


@cache
def _net(name: str, package: str | None) -> cv2.dnn.Net:
    return cv2.dnn.readNetFromTFLite(str(nets.path(name, package)))


def _run(name: str, picture: NDArray[np.floating], package: str | None = None) -> list[NDArray[np.float32]]:
    """`picture` [h, w, 3] as the net wants its values. Its outputs, the smaller ones first: names differ by release."""
    net = _net(name, package)
    net.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32))
    found = [np.asarray(out, np.float32).ravel() for out in net.forward(net.getUnconnectedOutLayersNames())]
    return sorted(found, key=lambda out: out.size)


# Faces


def faces(picture: Pixels) -> list[Found]:
    """The faces of [h, w, 3] RGB, largest first. Raises nets.Missing."""
    height, width = picture.shape[:2]
    windows = [(0, 0, width, height)]
    wide, high = int(width * _WINDOWS), int(height * _WINDOWS)
    for left in sorted({0, (width - wide) // 2, width - wide}):
        for top in sorted({0, (height - high) // 2, height - high}):
            windows.append((left, top, left + wide, top + high))
    found: list[Found] = []
    for left, top, right, bottom in windows:
        for each in _detect(picture[top:bottom, left:right]):
            at = np.array([left, top])
            found.append(Found(each.score, each.box + np.tile(at, 2), each.eyes + at))
    return sorted(_different(found), key=lambda each: -each.size)


@cache
def _anchors() -> Points:
    grids = []
    for side, each in ((16, 2), (8, 6)):
        at = (np.arange(side) + 0.5) / side
        grids.append(np.repeat(np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2), each, axis=0))
    return np.concatenate(grids)


def _detect(picture: Pixels) -> list[Found]:
    height, width = picture.shape[:2]
    scale = _DETECT / max(height, width)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    above, aside = (_DETECT - small.shape[0]) // 2, (_DETECT - small.shape[1]) // 2
    square = np.zeros((_DETECT, _DETECT, 3), np.float32)
    square[above : above + small.shape[0], aside : aside + small.shape[1]] = small[:_DETECT, :_DETECT]
    scores, boxes = _run(nets.FACES, square / 127.5 - 1)
    sure = 1 / (1 + np.exp(-np.clip(scores, -80, 80)))
    places = boxes.reshape(-1, 16) / _DETECT
    found = []
    for i in np.nonzero(sure > _SURE)[0]:
        middle, size = places[i, :2] + _anchors()[i], places[i, 2:4]
        eyes = places[i, 4:8].reshape(2, 2) + _anchors()[i]
        box = np.concatenate([middle - size / 2, middle + size / 2])
        off = np.array([aside, above])
        found.append(Found(float(sure[i]), (box * _DETECT - np.tile(off, 2)) / scale, (eyes * _DETECT - off) / scale))
    return found


def _different(found: list[Found]) -> list[Found]:
    kept: list[Found] = []
    for each in sorted(found, key=lambda other: -other.score):
        if all(_shared(each.box, other.box) < _SAME for other in kept):
            kept.append(each)
    return kept


def _shared(a: Points, b: Points) -> float:
    """What two boxes share, of the smaller one."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    areas = [float(np.prod(box[2:] - box[:2])) for box in (a, b)]
    return float(np.prod(np.maximum(sides, 0))) / max(min(areas), 1e-9)


# Points


def mesh(picture: Pixels, found: Found, rounds: int = 3, package: str | None = None) -> Mesh:
    """The points of one face; each round looks again, where the last one found it. `package`: whose release of the
    net. Raises nets.Missing."""
    across = found.eyes[1] - found.eyes[0]
    middle, size = (found.box[:2] + found.box[2:]) / 2, found.size * 1.5
    points, presence = np.zeros((COUNT, 3)), 0.0
    for _ in range(rounds):
        turn = _turn(middle, size, float(np.arctan2(across[1], across[0])), _MESH)
        score, seen = _run(nets.MESH, _cut(picture, turn, _MESH) / 255, package)
        local = seen.reshape(COUNT, 3).astype(np.float64)
        points = np.column_stack([local[:, :2] @ turn[:, :2].T + turn[:, 2], -local[:, 2] * size / _MESH])
        presence = float(1 / (1 + np.exp(-np.clip(score[0], -80, 80))))
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        middle, size = (low + high) / 2, float(max(high - low)) * 1.5
        across = points[263, :2] - points[33, :2]
    irises = []
    for eye, mirrored in ((RIGHT_EYE, False), (LEFT_EYE, True)):
        rim, iris = _eye(picture, points, eye, mirrored, across)
        points[list(eye), :2] = rim
        irises.append(iris)
    return Mesh(points, np.stack(irises), presence)


def _eye(
    picture: Pixels, points: Points, eye: tuple[int, ...], mirrored: bool, across: Points
) -> tuple[Points, Points]:
    """The eye's rim [16, 2] and the iris [5, 2]; the net knows eyes of one side, so the other one is shown mirrored."""
    corners = points[[eye[0], eye[8]], :2]
    size = float(np.linalg.norm(corners[1] - corners[0])) * 2.3
    turn = _turn(corners.mean(axis=0), size, float(np.arctan2(across[1], across[0])), _IRIS)
    shown = _cut(picture, turn, _IRIS) / 255
    if mirrored:
        shown = shown[:, ::-1]
    iris, eyes = _run(nets.IRIS, shown)
    found = [eyes.reshape(71, 3)[:16, :2].astype(np.float64), iris.reshape(5, 3)[:, :2].astype(np.float64)]
    if mirrored:
        for each in found:
            each[:, 0] = _IRIS - each[:, 0]
    return found[0] @ turn[:, :2].T + turn[:, 2], found[1] @ turn[:, :2].T + turn[:, 2]


def _turn(middle: Points, size: float, angle: float, side: int) -> Points:
    """[2, 3]: from pixels of the cut to pixels of the picture."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]]) * size / side
    return np.column_stack([turn, middle - turn @ np.array([side / 2, side / 2])])


def _cut(picture: Pixels, turn: Points, side: int) -> NDArray[np.float32]:
    cut = cv2.warpAffine(
        picture, turn, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, np.float32)


# The person


def person(picture: Pixels) -> NDArray[np.float32]:
    """[256, 256] 0…1: how much of each part of [h, w, 3] RGB is a person. Raises nets.Missing."""
    small = cv2.resize(picture, (_SELF, _SELF), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return _run(nets.PERSON, small)[0].reshape(_SELF, _SELF)
