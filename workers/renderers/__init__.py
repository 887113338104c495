"""The port of every renderer: sound in, frames out. Third parties add one by the entry point `greenroom.renderers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, Protocol, cast, runtime_checkable

from schemas.avatars import Shape
from schemas.moods import Mood
from workers.playback import Pcm

FPS = 25
RENDERED = ("lite", "standard", "pro")
"""The qualities that a renderer process draws."""
_GROUP = "greenroom.renderers"


def neural_missing() -> str | None:
    """A sentence with the command that installs what `neural` needs; None when all is there. Imports nothing heavy."""
    missing = [name for name in ("torch", "safetensors", "cv2", "av") if find_spec(name) is None]
    if not missing:
        return None
    return f"The neural renderer needs {', '.join(missing)}: run `make setup` or `pip install 'greenroom[neural]'`."


@dataclass(frozen=True)
class Format:
    """Size of a frame in pixels, and the bitrate that it is published with."""

    width: int
    height: int
    bitrate: int


FORMATS = {
    "lite": Format(256, 256, 400_000),
    "standard": Format(512, 512, 1_200_000),
    "pro": Format(720, 720, 2_500_000),
    "mock": Format(256, 256, 400_000),
}
PORTRAIT = {
    "lite": Format(288, 512, 500_000),
    "standard": Format(576, 1024, 1_800_000),
    "pro": Format(720, 1280, 3_500_000),
    "mock": Format(288, 512, 500_000),
}
"""Of avatars whose shape is `portrait`."""


def format_of(quality: str, shape: Shape) -> Format:
    return (PORTRAIT if shape == "portrait" else FORMATS)[quality]


class Stream(Protocol):
    """One session's frames."""

    def rest(self) -> Any:
        """The face at rest, I420: shown until the first frame comes, and while the renderer is away."""

    def push(self, pcm: Pcm, /) -> None:
        """The next 40 ms: int16 mono 48 kHz, exactly 1,920 samples, silence included."""

    def clear(self) -> None:
        """The agent was interrupted: forget what was pushed and not shown, and shut the mouth."""


@runtime_checkable
class Cued(Protocol):
    """A stream that wants to know more than the sound. One without this method is not told."""

    def cue(self, mood: Mood, listening: bool, /) -> None:
        """From the next frame on: how the face is to look, and whether somebody else speaks. Told before the first
        `push`, then when one of both has changed."""


class Renderer(Protocol):
    """Synchronous. `lookahead_ms` is how far frames trail the sound; by what is more than a tick, the session
    delays the audio."""

    @property
    def lookahead_ms(self) -> int: ...

    @property
    def device(self) -> str:
        """`cpu`, `cuda`, …: as the worker says it of itself."""

    def load(self, avatar_id: str, built: bytes | None) -> Any:
        """A face, shared by any number of streams: of a built face's file, or the stock avatar of that id.

        In a thread, as `open`. Raises UnreadableFace for a file that is none.
        """

    def open(self, face: Any, side: int, seed: int) -> Any:
        """A `Stream` of frames that are `side` wide, and as high, or as the face's shape has it.

        Faces with different seeds do not blink together.
        """

    def step(self, streams: Sequence[Any]) -> Sequence[Any]:
        """One tick for all given streams in one batch: I420 (bytes or uint8 array) each, None while filling."""

    def skip(self, streams: Sequence[Any]) -> None:
        """One tick that is heard and not drawn: for streams that are behind."""


class UnknownRenderer(Exception):
    """The message names those that are there."""


def make(name: str, threads: int) -> Renderer:
    """Any that `require` lets pass, but `mock`. `threads`: frames that it may draw at once on a CPU."""
    if name == "neural":
        import cv2
        import torch

        from faces.neural import NeuralRenderer

        cv2.setNumThreads(1)
        torch.set_num_threads(1)  # small operations gain nothing from more; frames are drawn side by side instead
        return NeuralRenderer(threads=threads)
    (point,) = entry_points(group=_GROUP, name=name)
    return cast(Renderer, point.load()(threads))


def require(name: str) -> None:
    """Raises UnknownRenderer unless it is `mock`, `neural`, or what a package offers under that name."""
    known = ["mock", "neural", *sorted(point.name for point in entry_points(group=_GROUP))]
    if name not in known:
        raise UnknownRenderer(f"There is no renderer {name!r} here; GREENROOM_WORKER_RENDERER is {' or '.join(known)}.")
