"""The neural renderer: speech in, frames of a talking face out, for any number of sessions in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from faces import lips
from faces.face import Face, stock
from faces.fit import opened
from faces.hearing import TICK
from faces.life import Life
from faces.listening import Listening, Row
from faces.motion import Lips, Pose
from faces.pitch import Ear
from faces.prosody import SILENT, Sound
from faces.stage import Stage
from faces.visemes import INDEX, Shape
from schemas.moods import Mood

LOOKAHEAD_MS = 40 * lips.LOOKAHEAD_TICKS

Pcm = NDArray[np.int16]


@dataclass(eq=False)
class NeuralStream:
    """One session's face."""

    stage: Stage
    listening: Listening
    life: Life
    row: Row
    """What the net remembers of it."""
    lips: Lips = field(default_factory=Lips)
    ear: Ear = field(default_factory=Ear)
    waiting: list[Pcm] = field(default_factory=list)
    sound: Sound | None = None
    """Of the tick whose frame comes next; None while the lookahead fills."""
    quiet: bool = False

    def rest(self) -> NDArray[np.uint8]:
        """I420 of the face at rest."""
        return self.stage.draw([Pose()]).ravel()

    def push(self, pcm: Pcm) -> None:
        """The next 40 ms: int16 mono 48 kHz, exactly 1,920 samples, silence included."""
        if pcm.shape != (TICK,) or pcm.dtype != np.int16:
            raise ValueError(f"a tick is {TICK} samples of int16, not {pcm.shape} of {pcm.dtype}")
        self.waiting.append(pcm)

    def clear(self) -> None:
        """The agent was interrupted: the next frame's mouth is shut, whatever was pushed before."""
        self.waiting.clear()
        self.listening.forget(self.row)
        self.lips = Lips()
        self.sound = self.sound and SILENT
        self.quiet = True

    def cue(self, mood: Mood, listening: bool) -> None:
        """From the next frame on: how it looks, and whether somebody else speaks."""
        self.life.cue(mood, listening)


class NeuralRenderer:
    """Implements `workers.renderers.Renderer`. The audio net is the same code on CPU and CUDA."""

    lookahead_ms = LOOKAHEAD_MS

    def __init__(self, device: str | None = None, threads: int = 1) -> None:
        """`device` of the audio net; frames are drawn on the CPU, `threads` of a batch at once."""
        self._threads = ThreadPoolExecutor(threads, "draw") if threads > 1 else None
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._listening = Listening(self._device)
        self._stages: WeakKeyDictionary[Face, dict[int, Stage]] = WeakKeyDictionary()

    @property
    def device(self) -> str:
        return self._device.type

    def load(self, avatar_id: str, built: bytes | None = None) -> Face:
        """Raises UnreadableFace; KeyError when there is no such stock avatar."""
        return opened(built) if built is not None else stock(avatar_id)

    def open(self, face: Face, side: int, seed: int) -> NeuralStream:
        """A stream of frames of side × side. Streams with different seeds do not blink together."""
        stages = self._stages.setdefault(face, {})
        if side not in stages:  # made ready for a format once, and kept as long as the face
            stages[side] = Stage(face, side, self._threads)
        return NeuralStream(stages[side], self._listening, Life(seed), self._listening.open())

    def step(self, streams: Sequence[NeuralStream]) -> list[NDArray[np.uint8] | None]:
        """One tick for all given streams: I420 bytes, None while filling. One that pushed nothing hears silence."""
        poses = self._poses(streams)
        frames: list[NDArray[np.uint8] | None] = [None] * len(streams)
        by_stage: dict[int, list[int]] = {}
        for i, stream in enumerate(streams):
            if poses[i] is not None:
                by_stage.setdefault(id(stream.stage), []).append(i)
        for group in by_stage.values():
            drawn = streams[group[0]].stage.draw([pose for i in group if (pose := poses[i]) is not None])
            for row, i in enumerate(group):
                frames[i] = drawn[row]
        return frames

    def skip(self, streams: Sequence[NeuralStream]) -> None:
        """One tick that is heard and not drawn: for streams that are behind."""
        self._poses(streams)

    def _poses(self, streams: Sequence[NeuralStream]) -> list[Pose | None]:
        if not streams:
            return []
        ticks = [stream.waiting.pop(0) if stream.waiting else np.zeros(TICK, np.int16) for stream in streams]
        shapes, kinds = self._listen(streams, ticks)
        poses = []
        for stream, tick, shape, kind in zip(streams, ticks, shapes, kinds, strict=True):
            poses.append(_pose(stream, shape, kind))
            stream.sound = stream.ear.hear(tick)
            stream.quiet = False
        return poses

    def _listen(
        self, streams: Sequence[NeuralStream], ticks: Sequence[Pcm]
    ) -> tuple[list[list[float]], list[list[float]]]:
        """Shapes [3] and viseme shares [15] per stream, of the tick before this one."""
        return self._listening([stream.row for stream in streams], ticks)


def _pose(stream: NeuralStream, shape: list[float], kind: list[float]) -> Pose | None:
    """The frame that this reading belongs to; None as long as there was no tick before this one."""
    if stream.sound is None:
        return None
    said = Shape(0.0, 0.1, 0.0) if stream.quiet else Shape(*shape)
    aperture, roundness, pressed = stream.lips.step(said)
    special = 0.0 if stream.quiet else 1 - pressed
    return Pose(
        *stream.life.step(stream.sound), aperture, roundness, pressed,
        on_teeth=special * _sure(kind[INDEX["FF"]]),
        tongue=special * _sure(kind[INDEX["TH"]]),
    )  # fmt: skip


def _sure(share: float) -> float:
    """Half sure is not enough to show it; sure is all of it."""
    return min(1.0, max(0.0, (share - 0.35) / 0.35))
