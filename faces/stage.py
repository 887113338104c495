"""A face made ready for one format on one device, and the drawing of its frames, many in one batch.

All of it happens in YUV 4:2:0, the format that is published: per frame the mouth and the eyes are laid into the
portrait from what was drawn beforehand, then the whole is warped once by a few smooth fields (head turn and nod by
parallax, roll, breath, brows). Floats in 0…255.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from faces.face import GAZES, LIDS, SIDE, Face, Landmarks
from faces.motion import Pose
from faces.mouth import APERTURES, ROUNDNESSES, Box, Mouth, openings

YAW, PITCH, ROLL, BREATH, BROW = 0.014, 0.011, 0.018, 0.0035, 0.009
"""How far a whole unit of each movement goes, in sides (roll: radians)."""
_LAID = 4
"""Drawn mouths that are blended into one."""
_NOTHING = 2e-5
"""A movement of a hundredth of a pixel."""
_ROWS = 4
_AT_ONCE = 1
"""Frames drawn together on a CPU: more do not fit its caches, and cost half as much again each."""


@dataclass(frozen=True)
class _Patches:
    """Drawn variants of one box: `luma` [n, h, w] and `chroma` [n, 2, h / 2, w / 2], uint8."""

    box: Box
    luma: Tensor
    chroma: Tensor

    def lay(self, luma: Tensor, chroma: Tensor, chosen: Tensor, shares: Tensor) -> None:
        """Blend variants `chosen` [batch, m] by `shares` [batch, m] into planes [batch, 1 | 2, …], in place."""
        b = self.box
        for plane, drawn, half in ((luma, self.luma[:, None], 1), (chroma, self.chroma, 2)):
            rows, columns = slice(b.top // half, b.bottom // half), slice(b.left // half, b.right // half)
            blended = drawn[chosen[:, 0]].float() * shares[:, 0, None, None, None]
            for i in range(1, chosen.shape[1]):
                # Often nothing but the first two have a share; what nobody needs is not computed.
                if bool((shares[:, i] > 0).any()):
                    blended.addcmul_(drawn[chosen[:, i]].float(), shares[:, i, None, None, None])
            plane[:, :, rows, columns] = blended


class Stage:
    """`side`: the format's width and height. `threads`: how many chunks of a batch are drawn at once, on a CPU."""

    def __init__(
        self, face: Face, side: int, device: torch.device | str = "cpu", threads: ThreadPoolExecutor | None = None
    ) -> None:
        self.side = side
        self._device = torch.device(device)
        self._threads = threads
        self._workers = threads._max_workers if threads else 1
        self._at_once = 64 if self._device.type == "cuda" else _AT_ONCE
        shrink = cv2.INTER_AREA if side < SIDE else cv2.INTER_LINEAR
        picture = cv2.resize(face.portrait, (side, side), interpolation=shrink).astype(np.float32)
        fields = _fields(face.landmarks, side)
        box = self._box = _extent(fields)
        luma, chroma = _planes(picture[None])
        self._still = torch.cat([self._float(plane).round().to(torch.uint8).flatten() for plane in (luma, chroma)])
        self._luma = self._float(luma[:, None, box.top : box.bottom, box.left : box.right])
        half = box.halved
        self._chroma = self._float(chroma[:, :, half.top : half.bottom, half.left : half.right])
        mouth = Mouth(picture, face.landmarks)
        self._mouth = self._patches(mouth.box, np.stack([mouth.draw(each) for each in openings()]))
        self._eyes = self._eye_patches(face, picture)
        self._luma_moves = _Moves(fields, box, side, _ROWS, self._float)
        self._chroma_moves = _Moves(fields, half, side // 2, _ROWS // 2, self._float)

    @torch.inference_mode()
    def draw(self, poses: Sequence[Pose]) -> NDArray[np.uint8]:
        """[batch, side * side * 3 / 2], I420."""
        frames = self._still.repeat(len(poses), 1)
        size = min(self._at_once, -(-len(poses) // self._workers))
        chunks = [(poses[i : i + size], frames[i : i + size]) for i in range(0, len(poses), size)]
        if self._threads is None or len(chunks) == 1:
            for some, shown in chunks:
                self._draw(some, shown)
        else:
            for done in [self._threads.submit(self._draw, some, shown) for some, shown in chunks]:
                done.result()
        return frames.cpu().numpy()

    @torch.inference_mode()  # which is a thread's own
    def _draw(self, poses: Sequence[Pose], frames: Tensor) -> None:
        batch, side, box = len(poses), self.side, self._box
        luma = self._luma.repeat(batch, 1, 1, 1)
        chroma = self._chroma.repeat(batch, 1, 1, 1)
        self._mouth.lay(luma, chroma, *self._choice([_mouths(pose) for pose in poses]))
        self._eyes.lay(luma, chroma, *self._choice([_eyes(pose) for pose in poses]))
        moved = torch.tensor([[p.yaw, p.pitch, p.roll, p.breath, p.brow] for p in poses]).to(self._device)
        shown = frames[:, : side * side].view(batch, 1, side, side)
        _warp(luma, self._luma_moves(moved), shown, box)
        shown = frames[:, side * side :].view(batch, 2, side // 2, side // 2)
        _warp(chroma, self._chroma_moves(moved), shown, box.halved)

    def _choice(self, chosen: list[list[tuple[int, float]]]) -> tuple[Tensor, Tensor]:
        most = max(len(each) for each in chosen)
        padded = [each + [(0, 0.0)] * (most - len(each)) for each in chosen]
        indices = torch.tensor([[i for i, _ in each] for each in padded]).to(self._device)
        shares = torch.tensor([[s for _, s in each] for each in padded], dtype=torch.float32).to(self._device)
        return indices, shares

    def _float(self, values: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self._device)

    def _patches(self, box: Box, pictures: NDArray[np.float32]) -> _Patches:
        """The box as it lies within the part that moves."""
        luma, chroma = (np.clip(np.rint(p), 0, 255).astype(np.uint8) for p in _planes(pictures))
        left, top = self._box.left, self._box.top
        inside = Box(box.left - left, box.top - top, box.right - left, box.bottom - top)
        assert min(inside.left, inside.top) >= 0
        assert box.right <= self._box.right
        assert box.bottom <= self._box.bottom
        return _Patches(inside, torch.from_numpy(luma).to(self._device), torch.from_numpy(chroma).to(self._device))

    def _eye_patches(self, face: Face, picture: NDArray[np.float32]) -> _Patches:
        """Each variant is laid into the stored portrait and taken to the format's size with it, so that edges meet."""
        left, top, right, bottom = face.eye_pixels()
        scale = self.side / SIDE
        even = [int(v * scale / 2) * 2 for v in (left, top)] + [-(-int(v * scale) // 2) * 2 for v in (right, bottom)]
        box = Box(even[0], even[1], min(self.side, even[2]), min(self.side, even[3]))
        pictures = []
        for lid in range(LIDS):
            for gaze in range(GAZES):
                whole = face.portrait.copy()
                whole[top:bottom, left:right] = face.eyes[lid, gaze]
                small = cv2.resize(whole, (self.side, self.side), interpolation=cv2.INTER_AREA).astype(np.float32)
                pictures.append(small[box.top : box.bottom, box.left : box.right])
        return self._patches(box, np.stack(pictures))


class _Moves:
    """Where the pixels of one plane's box are looked up: the pixels themselves, and what each movement adds to that.

    What moves is smooth: `rows` rows share one value, from which they differ by a twentieth of a pixel at the most.
    """

    def __init__(
        self, fields: NDArray[np.float32], box: Box, side: int, rows: int, put: Callable[[NDArray[np.floating]], Tensor]
    ) -> None:
        self._shape = box.height, box.width, 2
        self._rows = box.height // rows, rows, box.width * 2
        y, x = ((np.arange(n, dtype=np.float32) + 0.5) * 2 / n - 1 for n in (box.height, box.width))
        self._identity = put(np.stack(np.meshgrid(x, y), axis=-1).reshape(self._rows))
        unit = np.array([side / box.width, side / box.height], np.float32)
        shared = []
        for field in fields:
            sized = np.asarray(cv2.resize(field, (side, side), interpolation=cv2.INTER_AREA), np.float32)
            part = sized[box.top : box.bottom, box.left : box.right] * (-2 * unit)
            shared.append(part.reshape(-1, rows, box.width * 2).mean(axis=1).ravel())
        self._fields = put(np.stack(shared))

    def __call__(self, moved: Tensor) -> Tensor:
        """`moved` [batch, movements] → the grid [batch, height, width, 2] of `grid_sample`."""
        count, _, width = self._rows
        moves = (moved @ self._fields).view(-1, count, 1, width)
        return (self._identity + moves).view(-1, *self._shape)


def _warp(plane: Tensor, at: Tensor, shown: Tensor, box: Box) -> None:
    """The plane looked up at `at`, into the box of `shown`; the rest of it stays."""
    warped = functional.grid_sample(plane, at, padding_mode="border", align_corners=False)
    shown[:, :, box.top : box.bottom, box.left : box.right] = warped


def _extent(fields: NDArray[np.float32]) -> Box:
    """What any movement reaches; its height in whole _ROWS, all of it even."""
    side = fields.shape[1]
    reached = np.abs(fields).max(axis=(0, 3)) > _NOTHING
    rows, columns = np.nonzero(reached.any(axis=1))[0], np.nonzero(reached.any(axis=0))[0]
    left, right = int(columns[0]) // 2 * 2, int(columns[-1]) // 2 * 2 + 2
    top, bottom = int(rows[0]) // _ROWS * _ROWS, (int(rows[-1]) // _ROWS + 1) * _ROWS
    return Box(left, top, min(right, side), min(bottom, side))


def _mouths(pose: Pose) -> list[tuple[int, float]]:
    """The drawn mouths around the pose's opening and rounding, and its special ones: (index, share), sum 1."""
    special = [(APERTURES * ROUNDNESSES + i, s) for i, s in enumerate((pose.pressed, pose.on_teeth, pose.tongue))]
    special = [(i, s) for i, s in special if s > 0.02]
    rest = max(0.0, 1 - sum(s for _, s in special))
    a, a_share = _between(pose.aperture, APERTURES)
    r, r_share = _between(pose.roundness, ROUNDNESSES)
    if special:  # roundness to the nearest: four mouths are enough
        r, r_share = (r + 1, 0.0) if r_share > 0.5 else (r, 0.0)
    grid = [
        (min(r + dr, ROUNDNESSES - 1) * APERTURES + min(a + da, APERTURES - 1), rest * wa * wr)
        for dr, wr in ((0, 1 - r_share), (1, r_share))
        for da, wa in ((0, 1 - a_share), (1, a_share))
    ]
    total = rest + sum(s for _, s in special)
    found = [(i, s / total) for i, s in (*grid, *special) if s > 0]
    return sorted(found, key=lambda each: -each[1])[:_LAID] if len(found) > _LAID else found


def _eyes(pose: Pose) -> list[tuple[int, float]]:
    """The drawn eyes around the pose's lid, with the gaze while they are open."""
    lid, share = _between(pose.lid, LIDS)
    if lid or share:
        return [(lid * GAZES + 1, 1 - share), (min(lid + 1, LIDS - 1) * GAZES + 1, share)]
    away = min(1.0, abs(pose.gaze))
    return [(1, 1 - away), (2 if pose.gaze > 0 else 0, away)] if away > 0.02 else [(1, 1.0)]


def _between(value: float, count: int) -> tuple[int, float]:
    at = min(1.0, max(0.0, value)) * (count - 1)
    low = int(at)
    return low, at - low


def _planes(pictures: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[n, h, w, 3] RGB → luma [n, h, w] and chroma [n, 2, h / 2, w / 2]; BT.601, limited range, as WebRTC has it."""
    red, green, blue = (pictures[..., i] for i in range(3))
    luma = 16 + 0.256788 * red + 0.504129 * green + 0.097906 * blue
    u = 128 - 0.148223 * red - 0.290993 * green + 0.439216 * blue
    v = 128 + 0.439216 * red - 0.367788 * green - 0.071427 * blue
    n, height, width = luma.shape
    chroma = np.stack([u, v], axis=1).reshape(n, 2, height // 2, 2, width // 2, 2).mean(axis=(3, 5))
    return luma, chroma


def _fields(marks: Landmarks, side: int) -> NDArray[np.float32]:
    """[5, side, side, 2]: where a unit of yaw, pitch, roll, breath and brow moves each point, in sides.

    A head is an ellipsoid with a nose: what is nearer moves further. Everything fades out around it, so that the
    background stays where it is.
    """
    at = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = np.meshgrid(at, at)
    dx, dy = (x - marks.face.x) / marks.face_half_width, (y - marks.face.y) / marks.face_half_height
    distance = np.sqrt(dx * dx + dy * dy)
    head = _fade(distance, 1.1, 1.5)
    nose_y = (marks.eye_left.y + 2 * marks.mouth_centre.y) / 3
    nose = np.exp(
        -(((x - marks.mouth_centre.x) / (0.16 * marks.face_half_width)) ** 2)
        - ((y - nose_y) / (0.2 * marks.face_half_height)) ** 2
    )
    depth = np.sqrt(np.clip(1 - (distance / 1.3) ** 2, 0, 1)) + 0.18 * nose
    # The neck's foot stands still.
    upright = _fade((y - marks.chin.y) / (1 - marks.chin.y + 1e-6), 0.0, 0.7)
    turned = head * upright * (0.3 + 0.7 * depth)
    pivot = marks.chin.y + 0.35 * marks.face_half_height
    tilted = head * upright
    shoulders = _fade((marks.chin.y + 0.12 - y) / 0.2, 0.0, 1.0) * _fade((y - 0.97) / 0.03, 0.0, 1.0)
    breath = shoulders * _fade(np.abs(x - marks.face.x), 0.16, 0.32) + 0.45 * tilted
    brow_y = marks.eye_left.y - 1.15 * marks.eye_height
    brows = sum(
        np.exp(-(((x - eye.x) / (0.75 * marks.eye_width)) ** 2) - ((y - brow_y) / (0.55 * marks.eye_height)) ** 2)
        for eye in (marks.eye_left, marks.eye_right)
    )
    none = np.zeros_like(x)
    fields = [
        np.stack([YAW * turned, none], axis=-1),
        np.stack([none, PITCH * turned], axis=-1),
        np.stack([-ROLL * (y - pivot) * tilted, ROLL * (x - marks.face.x) * tilted], axis=-1),
        np.stack([none, -BREATH * breath], axis=-1),
        np.stack([none, -BROW * brows], axis=-1),
    ]
    return np.stack(fields).astype(np.float32)


def _fade(distance: NDArray[np.floating], full: float, gone: float) -> NDArray[np.float32]:
    t = np.clip((distance - full) / (gone - full), 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t), np.float32)
