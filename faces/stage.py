"""A face made ready for one format, and the drawing of its frames.

Per frame, shapes and the head's turn give a smooth field, to which the irises and, below the mouth's seam, the jaw add
their own; the person is looked up through it once and laid over the background, which stands still. What opens is drawn
on top, along edges that are known to a fraction of a pixel: the inside of the mouth, the lids. All of it in YUV 4:2:0,
the format that is published, by OpenCV, one thread a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from faces import matte, teeth
from faces.edges import EdgeFinder, Turn
from faces.eyes import Eyes
from faces.face import SIDE, Face
from faces.fields import HeadField, JawField
from faces.motion import Pose
from faces.mouth import Mouth, Plates
from faces.pixels import Frame, Pixels, Values, look_up, multiplied, over, planes, to_bytes
from faces.poses import Weights, lean

_ENOUGH = 160
"""Of a matte: where a drawing's own colour is known."""


class Stage:
    """`side`: the format's width. `threads`: how many frames of a batch are drawn at once.

    A face with something `below` is drawn in the square on top of a frame of 9:16; what is below stands still.
    """

    def __init__(self, face: Face, side: int, threads: ThreadPoolExecutor | None = None) -> None:
        self.side, self.height = side, face.height * side // SIDE // 2 * 2
        self._threads = threads
        rig = face.rig
        person, behind = _sized(face.portrait, side), _sized(face.behind, side)
        small = share = None
        if face.matte is not None:  # as each frame has it: from chroma's
            small = _sized(face.matte, side // 2)
            share = np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
            if face.backdrop is None:
                person = matte.own(person, share, behind)
            else:
                person = _sized(_drawn(face.portrait, face.matte, face.backdrop), side)
        self._field = HeadField(rig, side, share)
        luma, chroma = (to_bytes(plane) for plane in planes(person))
        back_luma, back_chroma = (to_bytes(plane) for plane in planes(behind))
        self._eyes = Eyes(rig, luma)
        self._behind = back_luma, [np.ascontiguousarray(back_chroma[..., i]) for i in (0, 1)]
        if share is not None and small is not None:  # looked up are shares of the person, and how large they are
            luma = multiplied(luma, share)
            chroma = np.dstack([*(multiplied(np.ascontiguousarray(chroma[..., i]), small) for i in (0, 1)), small])
        self._luma, self._chroma, self._matte = luma, chroma, share
        self._still = self._whole(face.below)
        self._weights = Weights(rig)
        self._edges = EdgeFinder(rig, side)
        self._mouth = Mouth(rig, JawField(rig, side, self._field), _plates(face, side), side)

    def _whole(self, below: Pixels | None) -> NDArray[np.uint8]:
        """The frame at rest, of which the strips are drawn anew in each."""
        planes_ = [self._luma, self._chroma[..., 0], self._chroma[..., 1]]
        if self._matte is not None:
            shares = [self._matte, self._chroma[..., 2], self._chroma[..., 2]]
            behind = [self._behind[0], *self._behind[1]]
            planes_ = [
                over(*three)
                for three in zip(
                    map(np.ascontiguousarray, planes_), behind, map(np.ascontiguousarray, shares), strict=True
                )
            ]
        if below is not None:
            lower = cv2.resize(below, (self.side, self.height - self.side), interpolation=cv2.INTER_AREA)
            luma, chroma = planes(np.asarray(lower, np.uint8))
            parts = map(to_bytes, (luma, chroma[..., 0], chroma[..., 1]))
            planes_ = [np.concatenate(both) for both in zip(planes_, parts, strict=True)]
        return np.concatenate([plane.ravel() for plane in planes_])

    def draw(self, poses: Sequence[Pose]) -> NDArray[np.uint8]:
        """[batch, side * height * 3 / 2], I420."""
        frames = np.empty((len(poses), len(self._still)), np.uint8)
        if self._threads is None or len(poses) == 1:
            for pose, frame in zip(poses, frames, strict=True):
                self._draw(pose, frame)
        else:
            list(self._threads.map(self._draw, poses, frames))
        return frames

    def _draw(self, pose: Pose, data: NDArray[np.uint8]) -> None:
        data[:] = self._still
        frame = Frame.of(data, self.side, self.height)
        weights = self._weights(pose)
        turn = Turn(lean(pose), pose.breath)
        rigid = self._field.rigid(turn)
        edges = self._edges(weights, turn)
        at, at_half = self._field.back(weights, rigid)
        box = self._field.box
        self._eyes.look(edges, (pose.gaze, pose.look), box, at, at_half)
        self._mouth.part(edges, weights, rigid, box, at, at_half)
        self._person(at, at_half, frame)
        self._eyes.blink(edges, pose.lid, box, frame)
        self._mouth.fill(edges, pose.tongue, box, frame)

    def _person(self, at: Values, at_half: Values, frame: Frame) -> None:
        box = self._field.box
        for strip in self._field.strips:
            inside = strip.within(box)
            luma = look_up(self._luma, at[inside.at])
            half = inside.half
            chroma = cv2.split(look_up(self._chroma, at_half[half.at]))
            if self._matte is None:
                frame.luma[strip.at] = luma
                for i in (0, 1):
                    frame.chroma[i][strip.half.at] = chroma[i]
                continue
            small = np.asarray(chroma[2], np.uint8)
            share = np.asarray(cv2.resize(small, strip.size, interpolation=cv2.INTER_LINEAR), np.uint8)
            frame.luma[strip.at] = over(luma, self._behind[0][strip.at], share)
            for i in (0, 1):
                frame.chroma[i][strip.half.at] = over(
                    np.asarray(chroma[i], np.uint8), self._behind[1][i][strip.half.at], small
                )


def _drawn(portrait: Pixels, share: Pixels, backdrop: Pixels) -> Pixels:
    """The colours of a drawn person, whose matte is exact. Past their edges those of the nearest place that has some: a
    frame's matte is half as fine, and would let the backdrop shine through."""
    return teeth.spread(matte.own(portrait, share, backdrop), share >= _ENOUGH)


def _sized(picture: Pixels, side: int) -> Pixels:
    if picture.shape[0] == side:
        return picture
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _plates(face: Face, side: int) -> Plates:
    scale, whole = side / SIDE, face.teeth_box
    box = teeth.Box(*(round(v * scale) for v in (whole.left, whole.top, whole.width, whole.height)))
    tongue = teeth.faded(teeth.tongue(whole, np.array(face.light)), face.grey)
    size = box.width, box.height
    upper, tongue = (
        np.asarray(cv2.resize(plate, size, interpolation=cv2.INTER_AREA), np.uint8) for plate in (face.teeth, tongue)
    )
    return Plates(upper, tongue, box, float(np.mean(face.light)))
