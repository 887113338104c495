"""What of a portrait is the person, and what is behind: the head moves, the background does not."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces import landmarks

Pixels = NDArray[np.uint8]
Field = NDArray[np.float32]

_ROOM = 0.5
"""The net has learned people at some distance: what it misses of a large head it may see in a wider picture."""
_UNSURE, _SURE = 0.25, 0.85
_LEAST = 0.1
"""Of a pixel, of which the person's own colour can still be told."""
_THIN, _THICK = 0.05, 0.5
_SMALL = 160


def matte(picture: Pixels) -> Pixels:
    """[side, side] 0…255 of a levelled square portrait: how much of each pixel is the person. Raises nets.Missing."""
    side = picture.shape[0]
    room = round(_ROOM * side)
    wide = cv2.copyMakeBorder(picture, room, room, room, room, cv2.BORDER_REPLICATE)
    looks = [
        _sized(landmarks.person(picture), side),
        _sized(landmarks.person(np.ascontiguousarray(picture[:, ::-1])), side)[:, ::-1],
        _sized(landmarks.person(np.asarray(wide)), side + 2 * room)[room : room + side, room : room + side],
    ]
    seen = np.clip((np.max(looks, axis=0) - _UNSURE) / (_SURE - _UNSURE), 0, 1)
    seen = (seen * seen * (3 - 2 * seen)).astype(np.float32)
    return np.rint(_guided(_whole(seen), picture) * 255).astype(np.uint8)


def _sized(seen: Field, side: int) -> Field:
    return np.asarray(cv2.resize(seen, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def _whole(seen: Field) -> Field:
    """One person without holes: what hangs together with the middle of the picture."""
    solid = (seen > 0.3).astype(np.uint8)
    _, labels = cv2.connectedComponents(solid)
    side = seen.shape[0]
    mine = labels == labels[round(0.5 * side), side // 2]
    outside = np.pad(~mine, 1, constant_values=True).astype(np.uint8)
    outside[-1] = 0
    cv2.floodFill(outside, None, (0, 0), 2)
    holes = (outside[1:-1, 1:-1] != 2) & ~mine
    grown = cv2.dilate(mine.astype(np.uint8), np.ones((5, 5))) > 0
    return np.where(holes, 1.0, np.where(grown, seen, 0.0)).astype(np.float32)


def _guided(rough: Field, picture: Pixels) -> Field:
    """A guided filter (He, Sun, Tang 2010) on luma: near its edge the matte becomes locally linear in the picture."""
    reach = max(3, picture.shape[0] // 100)
    guide = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255

    def mean(values: NDArray[np.floating]) -> Field:
        return np.asarray(cv2.blur(values, (2 * reach + 1, 2 * reach + 1)), np.float32)

    middle, level = mean(guide), mean(rough)
    slope = (mean(guide * rough) - middle * level) / (mean(guide * guide) - middle * middle + 2e-3)
    offset = level - slope * middle
    return np.asarray(np.clip(mean(slope) * guide + mean(offset), 0, 1), np.float32)


def own(picture: Pixels, share: Pixels, behind: Pixels) -> Pixels:
    """The person's own colours: `share` of them over the rest of what is behind make the picture again."""
    back = behind.astype(np.float32)
    found = back + (picture - back) / np.maximum(share.astype(np.float32) / 255, _LEAST)[..., None]
    return np.clip(np.rint(found), 0, 255).astype(np.uint8)


def behind(picture: Pixels, share: Pixels) -> Pixels:
    """What is behind the person: where nobody knows it is made up from around."""
    alpha = share.astype(np.float32) / 255
    side = picture.shape[0]
    hole = cv2.dilate((alpha > _THIN).astype(np.uint8), np.ones((9, 9)))
    small = cv2.resize(picture, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
    filled = cv2.inpaint(
        small, cv2.resize(hole, (_SMALL, _SMALL), interpolation=cv2.INTER_NEAREST), 4, cv2.INPAINT_TELEA
    )
    smooth = cv2.resize(cv2.GaussianBlur(filled, (0, 0), 1.2), (side, side), interpolation=cv2.INTER_CUBIC)
    hidden = np.clip((alpha - _THIN) / (_THICK - _THIN), 0, 1)[..., None]
    return np.rint(picture + (smooth.astype(np.float32) - picture) * hidden).astype(np.uint8)
