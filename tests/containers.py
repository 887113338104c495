"""Clips as files: in any container, cut, turned, corrupt, and made to hurt their decoder."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from faces.mark.keys import MarkKey
from tests import clips

Frame = NDArray[np.uint8]
"""I420, [rows × 3 / 2, columns]."""
FPS = 25


def pictures(count: int, width: int = 128, height: int = 96, seed: int = 1) -> list[Frame]:
    return [_frame(each, width) for each in clips.moving(width, height, count, seed)]


def shown(
    seconds: float, second: int, name: str, key: MarkKey = clips.KEY, side: int = 256, seed: int = 1
) -> Iterator[Frame]:
    """As a session published them from its second on."""
    frames = clips.moving(side, side, round(seconds * FPS), seed)
    for each in clips.marked(frames, side, side, name, second * FPS, key):
        yield _frame(each, side)


def _frame(i420: bytes, width: int) -> Frame:
    return np.frombuffer(i420, np.uint8).reshape(-1, width)


def file(
    frames: Iterable[Frame],
    container: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Iterable[float] | None = None,
    fps: int = FPS,
    gop: int = 50,
    **options: str,
) -> bytes:
    """`times`: when each is shown, in seconds."""
    buffer = io.BytesIO()
    stamps = iter(times) if times is not None else None
    with av.open(buffer, "w", format=container) as out:
        stream: Any = None
        for number, frame in enumerate(frames):
            image = av.VideoFrame.from_ndarray(frame, format="yuv420p")
            if stream is None:
                stream = out.add_stream(codec, rate=fps, options=_options(codec, options))
                stream.width, stream.height, stream.pix_fmt = image.width, image.height, pixels
                stream.codec_context.gop_size = gop
                stream.codec_context.time_base = Fraction(1, 1000)
            image = image.reformat(format=pixels) if pixels != "yuv420p" else image
            image.pts = round(1000 * (next(stamps) if stamps is not None else number / fps))
            image.time_base = Fraction(1, 1000)
            out.mux(stream.encode(image))
        if stream is not None:
            out.mux(stream.encode(None))
    return buffer.getvalue()


def with_undecodable(frames: Iterable[Frame]) -> bytes:
    """A file with two pictures of 128 × 96, of which the second is of a kind that no decoder knows."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as out:
        streams = [out.add_stream(codec, rate=FPS, width=128, height=96) for codec in ("libx264", "mpeg4")]
        for number, frame in enumerate(frames):
            image = av.VideoFrame.from_ndarray(frame, format="yuv420p")
            for stream in streams:
                image.pts, image.time_base = number, Fraction(1, FPS)
                out.mux(stream.encode(image))
        for stream in streams:
            out.mux(stream.encode(None))
    return buffer.getvalue().replace(b"V_MPEG4/ISO/ASP", b"V_NEWER/OF/KIND")


def _options(codec: str, options: dict[str, str]) -> dict[str, str]:
    return {"preset": "ultrafast", **options} if codec in ("libx264", "libx265") else options


def sound(seconds: float = 2.0) -> bytes:
    """A file without a picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48_000, layout="mono")
        wave = (np.sin(np.arange(round(48_000 * seconds)) / 20) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.sample_rate = 48_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def corrupt(clip: bytes, begin: float, end: float) -> bytes:
    """From this share of its bytes to that one nothing is as it was."""
    at = slice(int(len(clip) * begin), int(len(clip) * end))
    noise = np.random.default_rng(7).integers(0, 256, at.stop - at.start, np.uint8).tobytes()
    return clip[: at.start] + noise + clip[at.stop :]


def turned(clip: bytes) -> bytes:
    """An MP4 that asks to be turned by 90° clockwise when it is shown, as telephones write them."""
    at = clip.index(b"tkhd") + 4
    at += 4 + (32 if clip[at] == 1 else 20) + 16  # version and flags, times and ids, layer to reserved
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    return clip[:at] + matrix + clip[at + 36 :]


def playlist(target: str) -> bytes:
    """HLS: a text that has its reader open another file or address."""
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\n{target}\n#EXT-X-ENDLIST\n".encode()
