"""From an uploaded portrait to a face: look at it, refuse what would not become a good one, level and crop it, shut its
lips."""

from __future__ import annotations

import cv2
import numpy as np

from faces import landmarks, matte, nets, shut, teeth
from faces.checks import Unfit, refuse, refuse_full_mouth
from faces.face import SIDE, TALL, Face, Landmarks, OldFace
from faces.landmarks import Found, Mesh
from faces.pixels import Floats, Pixels
from faces.shapes import points as at
from faces.shapes import table
from schemas.avatars import Positions, Shape

__all__ = ["Unfit", "fit", "opened"]

_SPREAD, _MOST_SPREAD, _MOST_SPREAD_TALL = 0.19, 0.3, 0.27
"""Distance of the eyes in sides of the cropped picture: wanted, and at the most where the portrait is tight; where more
follows below, the chin must end above it."""
_EYES_AT = 0.43
_LEAST_SPREAD = 36.0
"""Pixels between the eyes; below that a mouth is too few pixels to speak."""
_LEAST_BELOW, _MOST_BELOW = 0.4, 2.2
_MOST_ASIDE = 0.3
_NARROWEST, _WIDEST = 0.2, 1.2
"""What is taken for a mouth, in distances of the eyes: how far below them, beside their middle, how wide. Drawn faces
may be far from people; beyond this there is no room for the mouth to move."""
_LOWER_LIP = 0.15
_LOWEST = 0.97
"""In sides of the cropped picture: where a lower lip must end."""
_AGREED = 0.25
"""Distances of the eyes by which the net may differ from positions that a sender gives, and be believed."""
_IRIS = 0.093
_SURE, _LIKELY = 0.75, 0.6
_AS_LARGE = 0.45
_MOSTLY = 0.85
_COVERED = 0.95
"""Of a frame of 9:16, by the upload: what it lacks at its edges is drawn on."""


def fit(picture: Pixels, given: Positions | None = None, shape: Shape = "square") -> Face:
    """`picture` [h, w, 3] RGB; `given`: positions that its sender knows. Raises Unfit, nets.Missing."""
    high = TALL if shape == "portrait" else SIDE
    if given is None:
        mesh = _seen(picture)
        refuse(picture, mesh)
        square, mesh, below = _level(picture, mesh, high)
        mesh = _looked_at(square, mesh)
        refuse_full_mouth(square, mesh)
        return _finish(square, mesh, below)
    where = _given(given, picture)
    mesh = _mesh_at(*where)
    _large_enough(mesh)
    if nets.missing() is None and (known := _agreeing(picture, mesh)) is not None:
        mesh = known
    square, mesh, below = _level(picture, mesh, high)
    _refuse_misplaced(mesh)
    return _finish(square, mesh, below)


def opened(data: bytes) -> Face:
    """A stored face, of whichever version. Raises UnreadableFace."""
    try:
        return Face.from_bytes(data)
    except OldFace as old:
        return _rebuilt(old.portrait, old.landmarks)


def _rebuilt(portrait: Pixels, marks: Landmarks) -> Face:
    """What the first version has built, with what the net sees in it, or what was known of it then."""
    places = [
        np.array([p.x, p.y]) * SIDE for p in (marks.eye_left, marks.eye_right, marks.mouth_left, marks.mouth_right)
    ]
    mesh = _mesh_at(*places)
    if nets.missing() is None:
        mesh = _agreeing(portrait, mesh) or mesh
    return _finish(portrait, mesh)


# Looking


def _seen(picture: Pixels) -> Mesh:
    """The one face. Raises Unfit, nets.Missing."""
    found = landmarks.faces(picture)
    sure = [each for each in found if each.score > _SURE] or [each for each in found if each.score > _LIKELY][:1]
    meshes = [mesh for each in sure[:4] if (mesh := landmarks.mesh(picture, each)).presence > 0.5]
    if not meshes:
        raise Unfit("No face was found: send one upright, forward-facing face, or the positions of its eyes and mouth.")
    if len([mesh for mesh in meshes if spread(mesh) > _AS_LARGE * spread(meshes[0])]) > 1:
        raise Unfit("Several faces were found: send a portrait of one person.")
    _large_enough(meshes[0])
    return meshes[0]


def spread(mesh: Mesh) -> float:
    """From eye to eye; of a turned head as if it were not, within what a portrait may be turned."""
    return float(np.linalg.norm(mesh.irises[1, 0] - mesh.irises[0, 0]))


def _large_enough(mesh: Mesh) -> None:
    if spread(mesh) < _LEAST_SPREAD:
        raise Unfit("The face is too small: the eyes must be at least 36 pixels apart; send a larger portrait.")


def _looked_at(square: Pixels, mesh: Mesh) -> Mesh:
    """Seen again in the levelled picture, where it is larger or less noisy, and in its mirror image: what the net makes
    of left and right is taken away."""
    again = landmarks.mesh(square, _found(mesh))
    turned = landmarks.mesh(np.ascontiguousarray(square[:, ::-1]), _found(_mirrored(mesh)))
    both = [each for each in (again, _mirrored(turned)) if _agree(mesh, each)]
    if not both:
        return mesh
    points, irises = (np.mean([getattr(each, part) for each in both], axis=0) for part in ("points", "irises"))
    return Mesh(points, irises, min(each.presence for each in both))


def _mirrored(mesh: Mesh) -> Mesh:
    """In the mirror image of the levelled picture."""
    points = mesh.points[table.mirror()] * [-1, 1, 1] + [SIDE, 0, 0]
    irises = mesh.irises[::-1, [0, 3, 2, 1, 4]] * [-1, 1] + [SIDE, 0]
    return Mesh(points, irises, mesh.presence)


def _found(mesh: Mesh) -> Found:
    low, high = mesh.points[:, :2].min(axis=0), mesh.points[:, :2].max(axis=0)
    return Found(1.0, np.concatenate([low, high]), mesh.irises[:, 0])


def _agreeing(picture: Pixels, mesh: Mesh) -> Mesh | None:
    """What the net sees at a face whose place is known, unless it sees another one, or none."""
    seen = landmarks.mesh(picture, _found(mesh))
    return seen if seen.presence > 0.5 and _agree(mesh, seen) else None


def _agree(a: Mesh, b: Mesh) -> bool:
    far = np.linalg.norm(_anchors(a) - _anchors(b), axis=1)
    return bool((far < _AGREED * spread(a)).all())


def _anchors(mesh: Mesh) -> Floats:
    return np.stack([*mesh.irises[:, 0], mesh.points[[13, 14], :2].mean(axis=0)])


def _given(given: Positions, picture: Pixels) -> tuple[Floats, Floats, Floats, Floats]:
    left, right = np.array(given.mouth_left), np.array(given.mouth_right)
    eyes = np.array(given.eye_left), np.array(given.eye_right)
    places = np.stack([left, right, *eyes])
    if not (np.isfinite(places).all() and (places >= 0).all() and (places < picture.shape[1::-1]).all()):
        raise Unfit("The positions are not inside of the image.")
    if eyes[0][0] >= eyes[1][0] or left[0] >= right[0] or min(left[1], right[1]) <= max(eyes[0][1], eyes[1][1]):
        raise Unfit("The positions are not those of an upright face: left is the picture's left, the mouth is below.")
    return eyes[0], eyes[1], left, right


def _mesh_at(eye_left: Floats, eye_right: Floats, mouth_left: Floats, mouth_right: Floats) -> Mesh:
    """The points of a usual face, its eyes and its mouth where they are said to be."""
    across = eye_right - eye_left
    scale = float(np.linalg.norm(across))
    x = across / max(scale, 1e-9)
    turn = np.column_stack([x, [-x[1], x[0]]])
    middle = (eye_left + eye_right) / 2
    usual = table.neutral().copy()
    upper, lower = list(at.UPPER_INNER), list(at.LOWER_INNER)
    usual[upper] = usual[lower] = (usual[upper] + usual[lower]) / 2  # its lips are shut
    mouth = (mouth_left + mouth_right) / 2
    aside, below = (mouth - middle) @ turn / max(scale, 1e-9)
    tall = float(usual[[13, 14], 1].mean())
    usual[:, 1] *= np.where(usual[:, 1] > 0, below / tall, 1.0)
    usual[:, 0] += aside * np.clip(usual[:, 1] / max(below, 1e-9), 0, 1)
    wide = np.linalg.norm(mouth_right - mouth_left) / max(scale, 1e-9) / float(usual[291, 0] - usual[61, 0])
    near = np.exp(-(((usual[:, 1] - below) / (0.35 * below)) ** 2)) * np.exp(-(((usual[:, 0] - aside) / 0.7) ** 4))
    near[list(at.LIPS)] = 1.0
    usual[:, 0] = aside + (usual[:, 0] - aside) * (1 + (wide - 1) * near)
    flat = usual[:, :2] @ turn.T * scale + middle
    rim = np.array([[0, 0], [1, 0], [0, -1], [-1, 0], [0, 1]]) * _IRIS * scale
    return Mesh(np.column_stack([flat, usual[:, 2] * scale]), np.stack([eye_left + rim, eye_right + rim]), 1.0)


# Building


def _level(picture: Pixels, mesh: Mesh, high: int) -> tuple[Pixels, Mesh, Pixels | None]:
    """Turn, scale and crop to SIDE × SIDE, and what is below of `high`; where the portrait ends, its edge is drawn on.
    Raises Unfit where there is too little below."""
    eyes, width = mesh.irises[:, 0], picture.shape[1]
    middle, apart = eyes.mean(axis=0), spread(mesh)
    room = 2 * min(middle[0], width - middle[0])
    most = _MOST_SPREAD
    if high > SIDE:
        most = _MOST_SPREAD_TALL
        room = min(room, (picture.shape[0] - middle[1]) / (high / SIDE - _EYES_AT))
    scale = SIDE / float(min(apart / _SPREAD, max(room, apart / most)))
    if scale < 1:  # first, by areas: turning looks up single pixels, and would skip what lies between them
        picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        mesh, scale = mesh.moved(np.array([[scale, 0, 0], [0, scale, 0]])), 1.0
        eyes = mesh.irises[:, 0]
        middle = eyes.mean(axis=0)
    across = eyes[1] - eyes[0]
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    turn = np.asarray(cv2.getRotationMatrix2D(tuple(map(float, middle)), angle, scale), np.float64)
    turn = np.asarray(turn + np.array([[0, 0, SIDE / 2 - middle[0]], [0, 0, SIDE * _EYES_AT - middle[1]]]))
    cut = cv2.warpAffine(picture, turn, (SIDE, high), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    whole = np.asarray(cut, np.uint8)
    if high == SIDE:
        return whole, mesh.moved(turn), None
    if cv2.warpAffine(np.ones(picture.shape[:2], np.float32), turn, (SIDE, high)).mean() < _COVERED:
        raise Unfit(
            "For the shape portrait the picture must be tall: below the eyes at least five times their distance, as in"
            " one down to the waist. Send such a one, or leave the shape out."
        )
    return np.ascontiguousarray(whole[:SIDE]), mesh.moved(turn), np.ascontiguousarray(whole[SIDE:])


def _refuse_misplaced(mesh: Mesh) -> None:
    """`mesh` is level and stands where a sender says. Raises Unfit."""
    apart, mouth = spread(mesh), mesh.points[[13, 14], :2].mean(axis=0)
    away = (mouth - mesh.irises[:, 0].mean(axis=0)) / apart
    if not (_LEAST_BELOW <= away[1] <= _MOST_BELOW and abs(away[0]) <= _MOST_ASIDE):
        raise Unfit("The mouth is not below the middle of the eyes, as in an upright face that looks into the camera.")
    wide = float(np.linalg.norm(mesh.points[291, :2] - mesh.points[61, :2]))
    if not _NARROWEST <= wide / apart <= _WIDEST:
        raise Unfit("The mouth is much wider or narrower than a mouth is; its positions are those of its corners.")
    if mouth[1] + _LOWER_LIP * apart > _LOWEST * SIDE:
        raise Unfit("There is no room for the mouth: the portrait must show the whole face with some space around it.")


def _finish(square: Pixels, mesh: Mesh, below: Pixels | None = None) -> Face:
    """`mesh` in pixels of the levelled picture."""
    points, irises = mesh.points / SIDE, mesh.irises / SIDE
    share = _person(square, points)
    light, grey = teeth.light(square, points), teeth.grey(square, points)
    box = teeth.place(points, SIDE)
    row = teeth.own(square, points, box)
    portrait, points = shut.shut(square, points)
    if row is None:
        box = teeth.place(points, SIDE)
        row = teeth.faded(teeth.drawn(box, light), grey)
    red, green, blue = (round(float(v), 3) for v in light)
    return Face(portrait, points, irises, row, box, (red, green, blue), round(grey, 3), share, below=below)


def _person(square: Pixels, points: Floats) -> Pixels | None:
    """The matte; None where it is not known, or the net does not take the face for a person's."""
    if nets.missing(nets.PERSON) is not None:
        return None
    share = matte.matte(square)
    face = cv2.fillPoly(
        np.zeros((SIDE, SIDE), np.uint8), [np.rint(points[list(at.OVAL), :2] * SIDE).astype(np.int32)], 1
    )
    return share if face.any() and share[face > 0].mean() > _MOSTLY * 255 else None
