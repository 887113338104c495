"""Another background: the person of a face, as the matte has them, before what was asked for."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from faces import matte, nets
from faces.checks import Unfit
from faces.face import SIDE, TALL, Face
from faces.pixels import Pixels
from schemas.avatars import Background

_BLUR = 0.022
"""In sides: as a lens would that is focused on the face."""
_SEAM = 40
"""Rows in which the matte of the square becomes that of the whole picture."""
_TIGHT, _LOOSE = 0.12, 0.96
"""Shares of a pixel below and above which it is somebody else's, or the person's alone: what was behind shows least."""

_SOLID, _THIN, _WISPS = 0.9, 9, 12
"""What is sure, and no thinner than twice so many pixels; how far from it hair may stick out."""


def behind(face: Face, asked: Background, image: Pixels | None = None) -> Face:
    """The same face before `asked`; `image` [h, w, 3] RGB is that of its asset. Raises Unfit, nets.Missing.

    What is stored is a portrait that was always taken before that background: drawing needs to know nothing of it.
    """
    if face.matte is None:
        if (reason := nets.missing(nets.PERSON)) is not None:
            raise nets.Missing(reason)
        raise Unfit(
            "The person cannot be told from what is behind: send another portrait, or leave the background out."
        )
    share, own, was = _person(face)
    new = _asked(asked, was, face.height, image)
    firm = _firm(share)
    weight = firm[..., None].astype(np.float32) / 255
    picture = np.asarray(np.rint(own * weight + new * (1 - weight)), np.uint8)
    return replace(
        face,
        portrait=np.ascontiguousarray(picture[:SIDE]),
        matte=np.ascontiguousarray(firm[:SIDE]),
        backdrop=np.ascontiguousarray(new[:SIDE]),
        below=None if face.below is None else np.ascontiguousarray(picture[SIDE:]),
    )


def _person(face: Face) -> tuple[Pixels, Pixels, Pixels]:
    """Of the whole frame: the matte [h, SIDE], the person's own colours, and what was behind."""
    assert face.matte is not None
    share, was, picture = face.matte, face.behind, face.portrait
    if face.below is not None:
        picture = np.concatenate([picture, face.below])
        whole = _whole_matte(picture)
        part = np.clip((np.arange(SIDE, dtype=np.float32) - (SIDE - _SEAM)) / _SEAM, 0, 1)[:, None]
        whole[:SIDE] = np.rint(share + (whole[:SIDE].astype(np.float32) - share) * part)
        share = whole
        was = np.concatenate([was, matte.behind(_squared(picture), _squared(share))[_INNER][SIDE:]])
    return share, matte.own(picture, share, was), was


def _firm(share: Pixels) -> Pixels:
    """The matte without what hangs on it: a pole, say, that the filter has followed away from the person."""
    solid = cv2.morphologyEx((share > _SOLID * 255).astype(np.uint8), cv2.MORPH_OPEN, _disc(_THIN))
    near = cv2.GaussianBlur(cv2.dilate(solid, _disc(_WISPS)).astype(np.float32), (0, 0), _WISPS / 8)
    firm = np.clip((share.astype(np.float32) / 255 - _TIGHT) / (_LOOSE - _TIGHT), 0, 1)
    return np.asarray(np.rint(255 * firm * near), np.uint8)


def _disc(pixels: int) -> Pixels:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1)), np.uint8)


_INNER = slice(None), slice((TALL - SIDE) // 2, (TALL + SIDE) // 2)


def _squared(picture: Pixels) -> Pixels:
    """[TALL, TALL]: a tall picture and its mirror images beside it, in which an arm at the edge goes on."""
    room = (TALL - SIDE) // 2
    return np.asarray(cv2.copyMakeBorder(picture, 0, 0, room, room, cv2.BORDER_REFLECT_101), np.uint8)


def _whole_matte(picture: Pixels) -> Pixels:
    return np.ascontiguousarray(matte.matte(_squared(picture))[_INNER])


def _asked(asked: Background, was: Pixels, height: int, image: Pixels | None) -> Pixels:
    """[height, SIDE, 3]"""
    if asked.kind == "blur":
        return np.asarray(cv2.GaussianBlur(was, (0, 0), _BLUR * SIDE, borderType=cv2.BORDER_REPLICATE), np.uint8)
    if asked.kind == "colour":
        text = asked.colour or "#000000"
        colour = [int(text[at : at + 2], 16) for at in (1, 3, 5)]
        return np.full((height, SIDE, 3), colour, np.uint8)
    assert image is not None
    return _cover(image, height)


def _cover(image: Pixels, height: int) -> Pixels:
    """The middle of the image, as large as the frame needs it."""
    high, wide = image.shape[:2]
    scale = max(height / high, SIDE / wide)
    size = max(SIDE, round(wide * scale)), max(height, round(high * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    sized = np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)
    left, top = (size[0] - SIDE) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(sized[top : top + height, left : left + SIDE])
