"""What happens to a clip on its way to somebody who asks where it is from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.mark_clips import I420, Clip, encoded, joined, planes

Bgr = NDArray[np.float32]
_SCREEN = (1280, 720)


def h264(clip: Clip, crf: int = 23) -> Clip:
    return encoded(clip, "libx264", {"crf": str(crf), "preset": "veryfast"})[0]


def vp9(clip: Clip) -> Clip:
    return encoded(clip, "libvpx-vp9", {"deadline": "realtime", "cpu-used": "7", "lag-in-frames": "0"}, 600_000)[0]


def each(clip: Clip, change: Callable[[I420], I420]) -> Clip:
    return replace(clip, frames=[change(frame) for frame in clip.frames])


def resized(frame: I420, width: int, height: int) -> I420:
    way = cv2.INTER_AREA if width * height < frame.size * 2 // 3 else cv2.INTER_LINEAR
    luma, u, v = planes(frame)
    half = width // 2, height // 2
    return joined(*(cv2.resize(p, s, interpolation=way) for p, s in ((luma, (width, height)), (u, half), (v, half))))  # type: ignore[arg-type]


def cropped(frame: I420, x: int, y: int, width: int, height: int) -> I420:
    """Even numbers."""
    luma, u, v = planes(frame)
    halves = (slice(y // 2, (y + height) // 2), slice(x // 2, (x + width) // 2))
    return joined(luma[y : y + height, x : x + width], u[halves], v[halves])


def coloured(frame: I420, change: Callable[[Bgr], Bgr]) -> I420:
    bgr = change(cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420).astype(np.float32))
    back = cv2.cvtColor(np.clip(np.rint(bgr), 0, 255).astype(np.uint8), cv2.COLOR_BGR2YUV_I420)
    return np.asarray(back, np.uint8)


def on_screen(frame: I420, side: int, x: int, y: int, busy: bool) -> I420:
    """A window of a screen, 1280 × 720: black around it, or a desktop full of small things."""
    width, height = _SCREEN
    background = _desktop() if busy else joined(*_grey(width, height))
    for whole, part, scale in zip(planes(background), planes(resized(frame, side, side)), (1, 2, 2), strict=True):
        whole[y // scale : (y + side) // scale, x // scale : (x + side) // scale] = part
    return background


def _grey(width: int, height: int) -> tuple[I420, I420, I420]:
    half = np.full((height // 2, width // 2), 128, np.uint8)
    return np.full((height, width), 16, np.uint8), half, half.copy()


def _desktop() -> I420:
    rng, (width, height) = np.random.default_rng(4), _SCREEN
    screen = np.full((height, width, 3), 235, np.uint8)
    for _ in range(260):
        x, y, colour = int(rng.integers(width)), int(rng.integers(height)), rng.integers(0, 256, 3).tolist()
        if rng.random() < 0.5:
            corner = x + int(rng.integers(10, 200)), y + int(rng.integers(6, 90))
            cv2.rectangle(screen, (x, y), corner, colour, -1)
        else:
            cv2.putText(screen, "Where is this from?", (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 1, cv2.LINE_AA)
    return np.asarray(cv2.cvtColor(screen, cv2.COLOR_BGR2YUV_I420), np.uint8)


def at_fps(clip: Clip, fps: float) -> Clip:
    """As a converter does it: of each moment the frame that is shown then."""
    times = np.arange(0, clip.times_s[-1], 1 / fps)
    frames = np.searchsorted(clip.times_s, times + 1e-6, side="right") - 1
    return Clip([clip.frames[i] for i in frames], times.tolist())


def _saturated(bgr: Bgr, by: float) -> Bgr:
    grey = bgr.mean(2, keepdims=True)
    return np.asarray(grey + (bgr - grey) * by, np.float32)


def _turned(bgr: Bgr) -> Bgr:
    rows, columns = bgr.shape[:2]
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), 1.0, 1.0)
    return np.asarray(cv2.warpAffine(bgr, turn, (columns, rows), borderMode=cv2.BORDER_REPLICATE), np.float32)


def _mirrored(frame: I420) -> I420:
    luma, u, v = planes(frame)
    return joined(luma[:, ::-1], u[:, ::-1], v[:, ::-1])


def _tone(change: Callable[[Bgr], Bgr]) -> Callable[[Clip], Clip]:
    return lambda clip: h264(each(clip, lambda frame: coloured(frame, change)))


def _shape(change: Callable[[I420], I420]) -> Callable[[Clip], Clip]:
    return lambda clip: h264(each(clip, change))


ATTACKS: dict[str, Callable[[Clip], Clip]] = {
    "as received": lambda clip: clip,
    "H.264 CRF 23": lambda clip: h264(clip, 23),
    "H.264 CRF 28": lambda clip: h264(clip, 28),
    "H.264 CRF 33": lambda clip: h264(clip, 33),
    "VP9 600 kbit/s": vp9,
    "360 × 360": _shape(lambda f: resized(f, 360, 360)),
    "720 × 720": _shape(lambda f: resized(f, 720, 720)),
    "484 × 476": _shape(lambda f: resized(f, 484, 476)),
    "stretched to 640 × 360": _shape(lambda f: resized(f, 640, 360)),
    "24 fps": lambda clip: h264(at_fps(clip, 24)),
    "30 fps": lambda clip: h264(at_fps(clip, 30)),
    "15 fps": lambda clip: h264(at_fps(clip, 15)),
    "mirrored": _shape(_mirrored),
    "brighter and more contrast, 15 %": _tone(lambda b: (b - 128) * 1.15 + 148),
    "darker and less contrast, 15 %": _tone(lambda b: (b - 128) * 0.85 + 108),
    "gamma 1.15": _tone(lambda b: np.asarray(255 * (np.clip(b, 0, 255) / 255) ** 1.15, np.float32)),
    "saturation −30 %": _tone(lambda b: _saturated(b, 0.7)),
    "saturation +30 %": _tone(lambda b: _saturated(b, 1.3)),
    "blurred, σ 1.2": _tone(lambda b: np.asarray(cv2.GaussianBlur(b, (0, 0), 1.2), np.float32)),
    "cropped 10 %": _shape(lambda f: cropped(f, 30, 16, 460, 460)),
    "cropped 20 %, 400 × 400": _shape(lambda f: resized(cropped(f, 60, 30, 412, 412), 400, 400)),
    "pillarbox, 720p": _shape(lambda f: on_screen(f, 720, 280, 0, False)),
    "window of 600 px on a busy desktop": _shape(lambda f: on_screen(f, 600, 620, 60, True)),
    "turned by 1°": _tone(_turned),
    "picture in picture, 288 px of 720p": _shape(lambda f: on_screen(f, 288, 950, 400, True)),
    "picture in picture, 204 px of 720p": _shape(lambda f: on_screen(f, 204, 1040, 490, True)),
    "greyscale": _tone(lambda b: np.repeat(b.mean(2, keepdims=True), 3, 2)),
}
"""For clips of 512 × 512. All but the first are encoded again, H.264 at CRF 23 where nothing else is said."""
PUBLISHED_ONLY = {
    "H.264 CRF 33",
    "turned by 1°",
    "greyscale",
    *(name for name in ATTACKS if name.startswith("picture")),
}
"""Without a promise: what is there is said."""
