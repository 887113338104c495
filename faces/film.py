"""A face that speaks a recording, as a video file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from faces.face import Face
from faces.hearing import RATE, TICK
from faces.neural import NeuralRenderer
from faces.visemes import FPS

Pcm = NDArray[np.int16]


def frames(renderer: NeuralRenderer, face: Face, side: int, pcm: Pcm, seed: int = 1) -> Iterator[NDArray[np.uint8]]:
    """One I420 frame for each 40 ms of `pcm` (int16 mono 48 kHz), the last one padded with silence."""
    stream = renderer.open(face, side, seed)
    count = -(-len(pcm) // TICK)
    padded = np.pad(pcm, (0, (count + 1) * TICK - len(pcm)))
    for i in range(count + 1):
        stream.push(padded[i * TICK : (i + 1) * TICK])
        (frame,) = renderer.step([stream])
        if frame is not None:
            yield frame


def render(
    renderer: NeuralRenderer, face: Face, side: int, pcm: Pcm, path: Path, tell: Callable[[int, int], None]
) -> None:
    """Write an mp4 (H.264, AAC). Raises av.error.FFmpegError, OSError."""
    count = -(-len(pcm) // TICK)
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "veryfast"})
        video.width = video.height = side
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for i, picture in enumerate(frames(renderer, face, side, pcm)):
            shown = av.VideoFrame.from_ndarray(picture.reshape(side * 3 // 2, side), format="yuv420p")
            shown.pts, shown.time_base = i, Fraction(1, FPS)
            container.mux(video.encode(shown))
            piece = pcm[i * TICK : (i + 1) * TICK]
            sound = av.AudioFrame.from_ndarray(np.pad(piece, (0, TICK - len(piece)))[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE, i * TICK, Fraction(1, RATE)
            container.mux(audio.encode(sound))
            tell(i + 1, count)
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
