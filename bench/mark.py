"""What the mark costs: time a frame, noise in the picture, bytes of a codec. Each beside the same without it.

And docs/pictures/mark.png: left without, right with it; below, with three times the colour.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.common import quantile, report
from bench.mark_clips import I420, Clip, encoded, speaking
from faces.mark.carriers import FPS
from faces.mark.embed import KeyPatterns, Marker
from faces.mark.keys import MarkKey
from tests.builders import task
from workers.mark import FrameMark, MarkMaker
from workers.renderers import FORMATS, PORTRAIT, Format

KEY = MarkKey("bench", b"what a frame costs is no secret.")
PICTURE = Path("docs/pictures/mark.png")
_FRAMES, _WARM = 2900, 50
"""As many as a session process has patterns for at once."""
_QUANTISER = 24
"""Fixed, so that what the mark costs shows in bytes alone."""
_VP8 = {"deadline": "realtime", "cpu-used": "6", "lag-in-frames": "0", "noise-sensitivity": "4", "static-thresh": "1"}


def marker(size: Format) -> Marker:
    return Marker(KeyPatterns(KEY, KEY.tag("sess_1")), size.width, size.height)


def times_us(work: Callable[[int], object]) -> tuple[float, float]:
    """(median, 99th percentile) of one call."""
    taken = []
    gc.disable()
    for number in range(_FRAMES):
        began = time.perf_counter()
        work(number)
        taken.append((time.perf_counter() - began) * 1e6)
    gc.enable()
    return quantile(taken[_WARM:], 0.5), quantile(taken[_WARM:], 0.99)


def cost(name: str, size: Format) -> list[str]:
    frame = np.random.default_rng(1).integers(16, 240, size.width * size.height * 3 // 2, np.uint8).tobytes()
    ticks = count()
    marks = FrameMark(MarkMaker(KEY, task()).plan(), task(), size, lambda: next(ticks) / FPS)
    floor, floor_99 = times_us(lambda _: bytearray(frame))
    taken, taken_99 = times_us(lambda _: marks.on(frame))
    row = f"{floor:.0f} / {floor_99:.0f}", f"{taken:.0f} / {taken_99:.0f}"
    return [f"{name}, {size.width} × {size.height}", *row]


def psnr(one: Sequence[I420], other: Sequence[I420]) -> float:
    """Of I420 frames as a whole."""
    apart = np.mean([((a.astype(np.int16) - b) ** 2).mean() for a, b in zip(one, other, strict=True)])
    return 10 * math.log10(255**2 / float(apart))


def drawn(frame: I420, colour: int) -> NDArray[np.uint8]:
    chroma = (frame[512:].astype(np.int16) - 128) * colour + 128
    strong = np.concatenate([frame[:512], np.clip(chroma, 0, 255).astype(np.uint8)])
    return np.asarray(cv2.cvtColor(strong, cv2.COLOR_YUV2RGB_I420), np.uint8)


def draw() -> None:
    """Of the face whose background is nearest to grey: it is seen there first."""
    (plain,) = speaking("av_stock_002", 1 / FPS)
    after = np.frombuffer(marker(FORMATS["standard"]).mark(plain.tobytes(), 1000), np.uint8).reshape(plain.shape)
    rows = []
    for colour in (1, 3):
        both = drawn(plain, colour)
        both[:, 256:] = drawn(after, colour)[:, 256:]
        rows.append(both)
    Image.fromarray(np.vstack(rows)).save(PICTURE)


def main() -> None:
    draw()
    plain = list(speaking("av_demo", 10))
    marks = marker(FORMATS["standard"])
    marked = [
        np.frombuffer(marks.mark(frame.tobytes(), i), np.uint8).reshape(frame.shape) for i, frame in enumerate(plain)
    ]
    options = {**_VP8, "qmin": str(_QUANTISER), "qmax": str(_QUANTISER)}
    before, after = (encoded(Clip.at(frames), "libvpx", options, 1_200_000)[1] for frames in (plain, marked))
    sizes = {**FORMATS, **{f"{name}, 9:16": size for name, size in PORTRAIT.items()}}
    report(
        "mark-cost",
        "What the mark costs",
        ("format", "a copy of the frame, median / p99 µs", "a marked copy, median / p99 µs"),
        [cost(name, size) for name, size in sizes.items() if not name.startswith("mock")],
        [
            f"{_FRAMES} frames each, as a session process does it; some of each 25 make the next second ready.",
            f"Ten seconds of av_demo at 512 × 512: PSNR of I420 {psnr(plain, marked):.1f} dB; luma is the same.",
            f"VP8 (libvpx, realtime, quantiser {_QUANTISER}): {before:,} bytes without, {after:,} with it:"
            f" {100 * (after / before - 1):+.1f} %.",
        ],
        command="make bench-mark",
    )


if __name__ == "__main__":
    main()
