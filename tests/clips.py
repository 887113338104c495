"""Clips that are drawn, marked and taken apart again, without a codec."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.mark.carriers import FPS
from faces.mark.embed import KeyPatterns, Marker
from faces.mark.keys import MarkKey
from faces.mark.samples import Sampler, Step

Chroma = NDArray[np.uint8]

KEY = MarkKey("k1", b"1" * 32)
OTHER_KEY = MarkKey("k2", b"2" * 32)


def picture(width: int, height: int, seed: int = 1) -> bytes:
    """Soft patches of colour, I420."""
    rng = np.random.default_rng(seed)
    luma = np.full(width * height, 90, np.uint8).tobytes()
    planes = [
        np.clip(cv2.GaussianBlur(rng.normal(128, 300, (height // 2, width // 2)), (0, 0), 9), 16, 240).astype(np.uint8)
        for _ in range(2)
    ]
    return luma + b"".join(plane.tobytes() for plane in planes)


def moving(width: int, height: int, count: int, seed: int = 1) -> Iterator[bytes]:
    """The same, drifting to the right, with a codec's noise."""
    rng = np.random.default_rng(seed)
    still = np.frombuffer(picture(width, height, seed), np.uint8)
    planes = still[width * height :].reshape(2, height // 2, width // 2).astype(np.int16)
    for i in range(count):
        drifted = np.roll(planes, i // 5, axis=2) + rng.integers(-2, 3, planes.shape)
        yield still[: width * height].tobytes() + np.clip(drifted, 16, 240).astype(np.uint8).tobytes()


def marked(
    frames: Iterable[bytes], width: int, height: int, name: str, first: int = 0, key: MarkKey = KEY
) -> Iterator[bytes]:
    """`first`: the number of the first frame."""
    marker = Marker(KeyPatterns(key, key.tag(name)), width, height)
    return (bytes(marker.mark(frame, first + i)) for i, frame in enumerate(frames))


def chroma(frame: bytes, width: int, height: int) -> Chroma:
    return np.frombuffer(frame, np.uint8)[width * height :].reshape(2, height // 2, width // 2)


def steps(
    frames: Iterable[bytes], width: int, height: int, seen: Callable[[Chroma], Chroma] = lambda planes: planes
) -> list[Step]:
    """As a clip at 25 frames a second; `seen`: what somebody does to each frame."""
    sampler = Sampler()
    found = [sampler.add(i / FPS, seen(chroma(frame, width, height))) for i, frame in enumerate(frames)]
    return [step for step in [*found, sampler.end()] if step is not None]
