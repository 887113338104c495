"""Sound files and rates: everything becomes int16 mono at 48 kHz."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from faces.hearing import RATE

Pcm = NDArray[np.int16]


class UnreadableSound(Exception):
    """The file holds no sound that can be decoded."""


def read(path: Path) -> Pcm:
    """Any sound file, int16 mono 48 kHz. Raises UnreadableSound."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    parts: list[Pcm] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise UnreadableSound(f"{path.name} holds no sound")
            for frame in container.decode(audio=0):
                parts.extend(f.to_ndarray()[0] for f in resampler.resample(frame))
        parts.extend(f.to_ndarray()[0] for f in resampler.resample(None))
    except (av.error.FFmpegError, OSError) as failed:
        raise UnreadableSound(f"{path.name} cannot be read: {failed}") from None
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def to_48k(pcm: Pcm, rate: int) -> Pcm:
    """int16 mono at `rate` Hz → 48 kHz."""
    return resample(pcm, rate, RATE)


def resample(pcm: Pcm, rate: int, to: int) -> Pcm:
    """int16 mono at `rate` Hz → the same at `to` Hz."""
    if rate == to:
        return pcm
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm[None]), format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=to)
    parts = [f.to_ndarray()[0] for f in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts)
