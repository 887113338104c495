"""From an uploaded portrait to a face: find the eyes and the mouth, level and crop the picture, draw its blinks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.face import GAZES, LIDS, SIDE, Face, Landmarks, Pixels, Point
from schemas.avatars import Positions

_SPREAD, _MOST_SPREAD = 0.19, 0.3
"""Distance of the eyes in sides of the cropped picture: wanted, and at the most where the portrait is tight."""
_EYES_AT = 0.43
_LEAST_SPREAD = 36.0
"""Pixels between the eyes; below that a mouth is too few pixels to speak."""
_MOUTH_BELOW = 1.06
"""From the eyes' line to the mouth, in distances of the eyes; people differ by a tenth."""
_LEAST_BELOW, _MOST_BELOW = 0.4, 2.2
_MOST_ASIDE = 0.3
_NARROWEST, _WIDEST = 0.2, 1.2
"""What is taken for a mouth, in distances of the eyes: how far below them, beside their middle, how wide. Drawn faces
may be far from people; beyond this there is no room for the warp, and a session could not open the face."""
_LOWER_LIP = 0.15
_LOWEST = 0.97
"""In sides of the cropped picture: where a lower lip must end."""
_DETECT_AT = 640


class Unfit(Exception):
    """The message is the avatar's `failure_reason`."""


@dataclass(frozen=True)
class _Found:
    """In pixels of the upload; left and right are the picture's."""

    eye_left: NDArray[np.float64]
    eye_right: NDArray[np.float64]
    mouth: NDArray[np.float64]
    mouth_width: float

    @property
    def spread(self) -> float:
        return float(np.linalg.norm(self.eye_right - self.eye_left))


def fit(picture: Pixels, given: Positions | None = None) -> Face:
    """`picture` [h, w, 3] RGB; `given`: positions that its sender knows. Raises Unfit."""
    found = _given(given, picture) if given is not None else _search(picture)
    if found.spread < _LEAST_SPREAD:
        raise Unfit("The face is too small: the eyes must be at least 36 pixels apart; send a larger portrait.")
    square, found = _level(picture, found)
    _refuse_misplaced(found)
    marks = _landmarks(found)
    face = Face(square, np.zeros((LIDS, GAZES, 0, 0, 3), np.uint8), marks)
    left, top, right, bottom = face.eye_pixels()
    lids = [_blink(square, marks, lid / (LIDS - 1))[top:bottom, left:right] for lid in range(LIDS)]
    return Face(square, np.stack([np.stack([lid] * GAZES) for lid in lids]), marks)


def _given(given: Positions, picture: Pixels) -> _Found:
    left, right = np.array(given.mouth_left), np.array(given.mouth_right)
    eyes = np.array(given.eye_left), np.array(given.eye_right)
    places = np.stack([left, right, *eyes])
    if not (np.isfinite(places).all() and (places >= 0).all() and (places < picture.shape[1::-1]).all()):
        raise Unfit("The positions are not inside of the image.")
    if eyes[0][0] >= eyes[1][0] or left[0] >= right[0] or min(left[1], right[1]) <= max(eyes[0][1], eyes[1][1]):
        raise Unfit("The positions are not those of an upright face: left is the picture's left, the mouth is below.")
    return _Found(eyes[0], eyes[1], (left + right) / 2, float(np.linalg.norm(right - left)))


# Searching


def _search(picture: Pixels) -> _Found:
    scale = min(1.0, _DETECT_AT / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = np.asarray(cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)), np.uint8)
    faces = _faces(grey)
    if not faces:
        if _profiles(grey):
            raise Unfit(
                "The face is not frontal: it must look into the camera, or send the positions of eyes and mouth."
            )
        raise Unfit("No face was found: send one upright, forward-facing face, or the positions of its eyes and mouth.")
    if len(faces) > 1:
        raise Unfit("Several faces were found: send a portrait of one person.")
    eyes = _eyes(grey, faces[0])
    return _mouth(picture, eyes[0] / scale, eyes[1] / scale)


def _cascade(name: str) -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / f"haarcascade_{name}.xml"))  # type: ignore[attr-defined]


def _faces(grey: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
    """Boxes (x, y, w, h) of different faces, the largest first, leaving out those far behind it.

    The second cascade finds a few faces more and sees some where there are none: only its surest one counts.
    """
    least = max(24, min(grey.shape) // 8)
    boxes = _cascade("frontalface_alt2").detectMultiScale(grey, 1.08, 4, minSize=(least, least))
    found = sorted((tuple(int(v) for v in box) for box in boxes), key=lambda box: -box[2])
    if not found:
        boxes, _, weights = _cascade("frontalface_default").detectMultiScale3(
            grey, 1.08, 5, minSize=(least, least), outputRejectLevels=True
        )
        found = [tuple(int(v) for v in boxes[int(np.argmax(weights))])] if len(boxes) else []
    kept: list[tuple[int, int, int, int]] = []
    for x, y, w, h in found:
        if w > 0.45 * found[0][2] and not any(_overlap((x, y, w, h), other) for other in kept):
            kept.append((x, y, w, h))
    return kept


def _profiles(grey: NDArray[np.uint8]) -> bool:
    profile = _cascade("profileface")
    return any(len(profile.detectMultiScale(view, 1.08, 4, minSize=(60, 60))) for view in (grey, cv2.flip(grey, 1)))


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return wide > 0 and high > 0 and wide * high > 0.2 * min(a[2] * a[3], b[2] * b[3])


def _eyes(grey: NDArray[np.uint8], box: tuple[int, int, int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One in each half of the upper face; where the cascade sees none (glasses), where eyes are in most faces."""
    x, y, w, h = box
    usual = [np.array([x + 0.31 * w, y + 0.39 * h]), np.array([x + 0.69 * w, y + 0.39 * h])]
    least = max(8, w // 9)
    found: list[NDArray[np.float64] | None] = []
    for side, place in enumerate(usual):
        left = x + side * w // 2
        part = grey[y + h // 5 : y + int(h * 0.58), left : left + w // 2]
        boxes = _cascade("eye").detectMultiScale(part, 1.05, 3, minSize=(least, least))
        centres = [np.array([left + bx + bw / 2, y + h // 5 + by + bh * 0.52]) for bx, by, bw, bh in boxes]
        near = [c for c in centres if np.linalg.norm(c - place) < 0.16 * w]
        found.append(min(near, key=lambda c: float(np.linalg.norm(c - place))) if near else None)
    one, other = found
    if one is None or other is None:
        return usual[0], usual[1]
    middle = (one[0] + other[0]) / 2
    if abs(middle - (x + w / 2)) > 0.12 * w or abs(one[1] - other[1]) > 0.4 * (other[0] - one[0]):
        raise Unfit("The face is not frontal: it must look into the camera, or send the positions of eyes and mouth.")
    return one, other


def _mouth(picture: Pixels, left: NDArray[np.float64], right: NDArray[np.float64]) -> _Found:
    """The lips are redder than the skin, and the line between them is the darkest row among them."""
    across = right - left
    spread = float(np.linalg.norm(across))
    down = np.array([-across[1], across[0]]) / spread
    middle = (left + right) / 2 + down * _MOUTH_BELOW * spread
    size = 64
    turn = np.array([[across[0], down[0] * spread], [across[1], down[1] * spread]]) / size
    corner = middle - turn @ np.array([size / 2, size / 2])
    part = cv2.warpAffine(
        picture, np.column_stack([turn, corner]), (size, size), flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
    )
    lab = cv2.cvtColor(part, cv2.COLOR_RGB2LAB).astype(np.float32)
    centre = slice(size // 2 - 9, size // 2 + 9)
    red = cv2.GaussianBlur(lab[:, centre, 1].mean(axis=1)[:, None], (1, 7), 0)[:, 0]
    dark = 255 - cv2.GaussianBlur(lab[:, centre, 0].mean(axis=1)[:, None], (1, 5), 0)[:, 0]
    rows = np.arange(size)
    prior = -0.5 * ((rows - size / 2) / 9.0) ** 2
    score = prior + 0.8 * _standard(red) + 1.0 * _standard(dark)
    line = int(np.argmax(score))
    lips = lab[max(0, line - 3) : line + 4, :, 1].mean(axis=0)
    lips = cv2.GaussianBlur(lips[None], (7, 1), 0)[0]
    skin, lip = float(np.percentile(lips, 15)), float(lips[centre].mean())
    reddish = lips > (skin + lip) / 2
    reach = [_run(reddish[size // 2 :]), _run(reddish[size // 2 :: -1])]
    width = float(np.clip(sum(reach) / size, 0.72, 1.05)) * spread
    at = corner + turn @ np.array([size / 2, line + 0.5])
    return _Found(left, right, at, width)


def _run(flags: NDArray[np.bool_]) -> int:
    return int(np.argmin(flags)) if not flags.all() else len(flags)


def _standard(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray((values - values.mean()) / (values.std() + 1e-6))


# Building


def _level(picture: Pixels, found: _Found) -> tuple[Pixels, _Found]:
    """Turn, scale and crop to SIDE × SIDE; where the portrait ends, its edge is drawn on."""
    width = picture.shape[1]
    middle = (found.eye_left + found.eye_right) / 2
    room = 2 * min(middle[0], width - middle[0])
    scale = SIDE / float(min(found.spread / _SPREAD, max(room, found.spread / _MOST_SPREAD)))
    if scale < 1:  # first, by areas: turning looks up single pixels, and would skip what lies between them
        picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        eyes, mouth = (found.eye_left * scale, found.eye_right * scale), found.mouth * scale
        found, scale = _Found(*eyes, mouth, found.mouth_width * scale), 1.0
    across = found.eye_right - found.eye_left
    middle = (found.eye_left + found.eye_right) / 2
    angle = np.degrees(np.arctan2(across[1], across[0]))
    turn = cv2.getRotationMatrix2D(tuple(map(float, middle)), float(angle), scale)
    turn = turn + np.array([[0, 0, SIDE / 2 - middle[0]], [0, 0, SIDE * _EYES_AT - middle[1]]])
    square = cv2.warpAffine(picture, turn, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    def moved(point: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(turn @ np.array([point[0], point[1], 1.0]))

    levelled = _Found(moved(found.eye_left), moved(found.eye_right), moved(found.mouth), found.mouth_width * scale)
    return np.asarray(square, np.uint8), levelled


def _refuse_misplaced(found: _Found) -> None:
    """`found` is level. Raises Unfit."""
    away = (found.mouth - (found.eye_left + found.eye_right) / 2) / found.spread
    if not (_LEAST_BELOW <= away[1] <= _MOST_BELOW and abs(away[0]) <= _MOST_ASIDE):
        raise Unfit("The mouth is not below the middle of the eyes, as in an upright face that looks into the camera.")
    if not _NARROWEST <= found.mouth_width / found.spread <= _WIDEST:
        raise Unfit("The mouth is much wider or narrower than a mouth is; its positions are those of its corners.")
    if found.mouth[1] + _LOWER_LIP * found.spread > _LOWEST * SIDE:
        raise Unfit("There is no room for the mouth: the portrait must show the whole face with some space around it.")


def _landmarks(found: _Found) -> Landmarks:
    """What was not looked for follows from the distance of eyes and mouth, as in most faces."""
    spread = found.spread / SIDE
    eyes = (found.eye_left + found.eye_right) / 2 / SIDE
    mouth = found.mouth / SIDE
    half = found.mouth_width / SIDE / 2
    drop = float(mouth[1] - eyes[1])
    return Landmarks(
        mouth_left=Point(float(mouth[0]) - half, float(mouth[1])),
        mouth_right=Point(float(mouth[0]) + half, float(mouth[1])),
        mouth_centre=Point(float(mouth[0]), float(mouth[1])),
        lip_upper=0.11 * spread,
        lip_lower=_LOWER_LIP * spread,
        chin=Point(float(mouth[0]), min(0.98, float(mouth[1]) + 0.68 * drop)),
        eye_left=Point(*(float(v) for v in found.eye_left / SIDE)),
        eye_right=Point(*(float(v) for v in found.eye_right / SIDE)),
        eye_width=0.46 * spread,
        eye_height=0.19 * spread,
        face=Point(float(eyes[0]), float(eyes[1]) + 0.25 * drop),
        face_half_width=1.12 * spread,
        face_half_height=1.5 * drop,
    )


def _blink(square: Pixels, marks: Landmarks, lid: float) -> Pixels:
    """The skin above each eye drawn down over it, lashes at its edge; `lid` 0 open, 1 shut."""
    if lid == 0:
        return square
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    source = rows.copy()
    half, high = marks.eye_width / 2 * SIDE, marks.eye_height * SIDE
    for eye in (marks.eye_left, marks.eye_right):
        u = (columns - eye.x * SIDE) / half
        arc = np.clip(1 - u * u, 0, 1) ** 0.6
        upper = eye.y * SIDE - 0.5 * high * arc
        edge = upper + lid * 0.9 * high * arc
        brow = upper - 0.95 * high
        stretched = brow + (rows - brow) * (upper - brow) / np.maximum(edge - brow, 1e-3)
        covered = (np.abs(u) < 1) & (rows > brow) & (rows < edge)
        source = np.where(covered, stretched, source)
    return np.asarray(cv2.remap(square, columns, source.astype(np.float32), cv2.INTER_LINEAR), np.uint8)
