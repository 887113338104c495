"""`greenroom faces draw`: the stock faces from their drawings. For maintainers; needs `resvg-py` and the landmark nets.

The net says where cheeks, nose and brows of a drawing are; lips, lids and irises are where they were drawn.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from faces import landmarks, teeth
from faces.face import SIDE, STOCK, Face
from faces.pixels import Floats, Pixels
from faces.shapes import points as at
from faces.stock import drawing, features
from faces.stock.characters import CHARACTERS, Character

_LASH = 2.5
_LIGHT = np.array([1.0, 0.97, 0.94])
_OUTER_UPPER = 61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291
_OUTER_LOWER = 61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291
_RINGS = (
    (0.25, (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306), _OUTER_UPPER),
    (0.6, (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292), _OUTER_UPPER),
    (0.25, (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306), _OUTER_LOWER),
    (0.6, (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292), _OUTER_LOWER),
)
"""How far from the lip's outer edge to its inner one, whose points, and the outer ones they belong to."""


def draw(who: Character) -> Face:
    whole, person = _picture(who), _picture(who, background=False)
    portrait, matte = whole[..., :3], person[..., 3]
    (found,) = landmarks.faces(portrait)
    mesh = landmarks.mesh(portrait, found, rounds=4)
    points = mesh.points / SIDE
    irises = np.stack([_iris(x) for x in (drawing.EYE_LEFT, drawing.EYE_RIGHT)])
    _as_drawn(points, who)
    box = teeth.place(points, SIDE)
    red, green, blue = (float(v) for v in _LIGHT)
    backdrop = _picture(who, person=False)[..., :3]
    return Face(
        portrait, points, irises, teeth.drawn(box, _LIGHT), box, (red, green, blue), 0.0, matte, backdrop
    )  # fmt: skip


def write() -> list[str]:
    """Draw all; returns their names."""
    for who in CHARACTERS:
        (STOCK / f"{who.name}.face").write_bytes(draw(who).to_bytes())
    return [who.name for who in CHARACTERS]


def _picture(who: Character, person: bool = True, background: bool = True) -> Pixels:
    """[SIDE, SIDE, 4] RGBA."""
    import resvg_py

    text = drawing.svg(who, person, background)
    png = bytes(resvg_py.svg_to_bytes(svg_string=text, width=SIDE, height=SIDE))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def _iris(x: float) -> Floats:
    rim = np.array([[0, 0], [1, 0], [0, -1], [-1, 0], [0, 1]]) * features.IRIS
    return np.asarray((np.array([x, drawing.EYE_Y - 1]) + rim) / drawing.SIDE)


def _as_drawn(points: Floats, who: Character) -> None:
    """In place."""
    for x, mirrored, rims in (
        (drawing.EYE_LEFT, False, (at.EYE_LEFT_UPPER, at.EYE_LEFT_LOWER)),
        (drawing.EYE_RIGHT, True, (at.EYE_RIGHT_UPPER, at.EYE_RIGHT_LOWER)),
    ):
        for curve, rim in zip(drawing.eye_rims(x, mirrored), rims, strict=True):
            points[list(rim), :2] = _along(curve, np.linspace(0, 1, len(rim)))
        points[list(rims[0][1:-1]), 1] += _LASH / drawing.SIDE  # the lashes are the lid's, not the eye's
    upper, line, lower = drawing.lip_lines(who)
    ends = points[[61, 291], 0].copy()

    def share(indices: tuple[int, ...]) -> Floats:
        return np.asarray(np.clip((points[list(indices), 0] - ends[0]) / (ends[1] - ends[0]), 0, 1))

    edges: tuple[tuple[drawing.Curve, tuple[int, ...]], ...] = (upper, _OUTER_UPPER), (lower, _OUTER_LOWER)
    placed = [(ring, _along(curve, share(ring))) for curve, ring in edges]
    inner = (at.CORNERS[0], *at.UPPER_INNER, at.CORNERS[1]), (at.CORNERS[0], *at.LOWER_INNER, at.CORNERS[1])
    placed += [(ring, _along(line, np.clip(share(ring), 0.045, 0.955))) for ring in inner]
    for ring, places in placed:
        points[list(ring), :2] = places
    for part, ring, outer in _RINGS:
        edge = points[list(outer), :2]
        points[list(ring), :2] = edge + part * (_along(line, share(outer)) - edge)
    corners = (
        ((61, 76, 62, 78), (0.0, 0.015, 0.03, 0.045)),
        ((291, 306, 292, 308), (1.0, 0.985, 0.97, 0.955)),
    )
    for corner, where in corners:
        points[list(corner), :2] = _along(line, np.array(where))


def _along(curve: drawing.Curve, shares: Floats) -> Floats:
    """[n, 2] in sides: the points of a curve at shares of its width."""
    pieces = [curve[i : i + 4] for i in range(0, len(curve) - 1, 3)]
    t = np.linspace(0, 1, 200)[:, None]
    fine = np.concatenate(
        [
            (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
            for a, b, c, d in (np.array(piece) for piece in pieces)
        ]
    )
    x = fine[0, 0] + shares * (fine[-1, 0] - fine[0, 0])
    return np.column_stack([x, np.interp(x, fine[:, 0], fine[:, 1])]) / drawing.SIDE
