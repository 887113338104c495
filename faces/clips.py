"""Clips of anybody, as the steps that a detector of marks looks at, and nothing else.

A clip may be anything: so whatever its file says of sizes and times is held against a bound, what cannot be read is
passed and told, and memory does not grow with its length. `faces.clip_decoder` does this in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from msgspec import Meta, Struct
from numpy.typing import NDArray

from faces.mark.samples import STEP_S, TALLEST, Chroma, Sampler, Step
from schemas.ids import FILE

_KEPT_EVERY_S = 0.015
"""Of faster clips not every frame is looked at."""
_WIDEST = 4 * TALLEST
_MOST_GAP_S = 3600.0
MOST_S = 24 * 3600.0
"""Of a clip."""
_BACK_S = 0.25
_SEEK_FROM_S = 10.0
_MOST_FAILURES = 100
"""Packets in a row that cannot be read: then nothing behind them is tried."""
_LACKING_S = 1.0
_LEAP_S = 10.0
"""A picture may stand still for a while; a time stamp that is wrong takes all that is behind it away."""
_THUMB_HIGH = 96
_FILE_ID = re.compile(rf"{FILE}_[0-9A-HJKMNP-TV-Z]{{26}}")
_NO_OTHER_FILE = {"protocol_whitelist": "none"}
"""Playlists and the like name files and addresses, which are then opened: a clip is one file."""

UNREADABLE = "This is not a video file that can be read. If it plays elsewhere, convert it to MP4 and try that."
NO_PICTURE = "This file has sound alone: there is no picture to look at. Give the file that has the picture."
NO_FRAME = "Not a single frame of this clip could be read. If it plays elsewhere, convert it to MP4 and try that."
TOO_LARGE = "This clip needs too much memory to be decoded. Scale it to 1080 lines or less, and try that."
ENDS_BEFORE = "The clip ends before the second to begin with. Begin earlier."
TOO_MANY = "The clip has more frames than are looked at. Cut out the part that you mean, and give that."
TOO_CUT_UP = (
    "Its frames change their size, or their times jump, so often that nothing can be found in it. Encode it anew in one"
    " size, and try that."
)
TOO_SLOW = "This clip takes too long to be decoded. Cut a shorter part out of it, or scale it down, and try that."


Word = Annotated[str, Meta(max_length=64)]
Count = Annotated[int, Meta(ge=0, le=2**31)]
Second = Annotated[float, Meta(ge=0, le=2 * MOST_S)]
"""A clip may have taken over who says it: what comes across a pipe is within bounds, or no record."""


class UnreadableClip(Exception):
    """The message says what is wrong with it and what to do, as a sentence to its sender."""


class Limits(Struct, frozen=True):
    """`pixels` of a frame; `frames` of a clip; `cpu_s` seconds of work and `memory` bytes of whoever decodes it.

    `windows`: that are looked through. An honest clip has one for five seconds; one whose frames change their size, or
    whose time jumps, has one each time.
    """

    pixels: int = 36_000_000
    frames: int = 4_000_000
    cpu_s: int = 12 * 3600
    memory: int = 2 * 1024**3
    windows: int = 20_000


class Wanted(Struct, frozen=True):
    """Which seconds, to the end if `to_s` is None; how many small pictures of them at the most."""

    from_s: float = 0.0
    to_s: float | None = None
    thumbs: int = 0


class Opened(Struct, tag="opened"):
    """What the file says of itself. `seconds`: None where it does not. `file_id`: of a file of `greenroom render`."""

    container: Word
    codec: Word
    width: Count
    height: Count
    seconds: Second | None
    file_id: Word | None


class Sampled(Struct, tag="sampled"):
    """A step, across a pipe: 256 for each of the 255 shades."""

    at_s: Second
    rows: Annotated[int, Meta(ge=1, le=TALLEST)]
    columns: Annotated[int, Meta(ge=1, le=_WIDEST)]
    data: bytes

    @classmethod
    def of(cls, step: Step) -> Sampled:
        whole = np.rint(step.chroma * 256).astype(np.uint16)
        _, rows, columns = whole.shape
        return cls(step.at_s, rows, columns, whole.tobytes())

    @property
    def step(self) -> Step:
        shades = np.frombuffer(self.data, np.uint16).reshape(2, self.rows, self.columns)
        return Step(self.at_s, shades.astype(np.float32) / np.float32(256))


class Unread(Struct, tag="unread"):
    """Seconds that could not be read."""

    start: Second
    end: Second


class Thumb(Struct, tag="thumb"):
    """RGB."""

    at: Second
    height: Count
    width: Count
    data: bytes

    @property
    def pixels(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.data, np.uint8).reshape(self.height, self.width, 3)


class Ended(Struct, tag="ended"):
    """`stopped`: the clip has more frames than are looked at."""

    frames: Annotated[int, Meta(ge=0)]
    seconds: Second
    stopped: bool


class Refused(Struct, tag="refused"):
    """`UnreadableClip`, across a pipe."""

    reason: Annotated[str, Meta(max_length=500)]


Record = Opened | Sampled | Unread | Thumb | Ended


def read(clip: BinaryIO, wanted: Wanted, limits: Limits) -> Iterator[Record]:
    """`Opened`, then steps and what could not be read in the order of time, thumbs, `Ended`.

    Raises UnreadableClip, MemoryError.
    """
    try:
        container = av.open(clip, "r", container_options=_NO_OTHER_FILE, metadata_errors="replace")
    except MemoryError:
        raise
    except (FFmpegError, ValueError):
        raise UnreadableClip(UNREADABLE) from None
    with container:
        stream = _stream(container, limits)
        seconds = _length(container, stream)
        size = stream.width, stream.height
        yield Opened(container.format.name[:64], stream.codec_context.name[:64], *size, seconds, _file_id(container))
        yield from _Reading(container, stream, wanted, limits, seconds).records()


def _stream(container: InputContainer, limits: Limits) -> VideoStream:
    """The one that is shown; covers of albums are none. Raises UnreadableClip."""
    streams = [
        each
        for each in container.streams.video
        if not each.disposition & Disposition.attached_pic and each.codec_context is not None
    ]
    if not streams:
        raise UnreadableClip(NO_PICTURE if container.streams.audio else UNREADABLE)
    stream = max(streams, key=lambda each: each.width * each.height)
    if stream.width * stream.height > limits.pixels:
        most = f"at most {limits.pixels / 1_000_000:g} million are taken"
        raise UnreadableClip(f"The clip has {stream.width} × {stream.height} pixels; {most}. Scale it down.")
    context = stream.codec_context
    assert context is not None
    context.options = {"max_pixels": str(limits.pixels)}  # a stream may grow after its header
    context.thread_count = 1  # each thread would hold frames of its own
    return stream


def _length(container: InputContainer, stream: VideoStream) -> float | None:
    """As the file says it, if that can be."""
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        seconds = container.duration / av.time_base
    else:
        return None
    return seconds if 0 < seconds < MOST_S else None


def _file_id(container: InputContainer) -> str | None:
    """`faces.film` writes it at the end of the comment."""
    words = str(container.metadata.get("comment", "")).split()
    return words[-1] if words and _FILE_ID.fullmatch(words[-1]) else None


class _Reading:
    """One clip, from its first packet to its last."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, wanted: Wanted, limits: Limits, seconds: float | None
    ) -> None:
        self._container, self._stream, self._wanted, self._limits = container, stream, wanted, limits
        self._seconds = seconds
        rate = stream.average_rate or stream.guessed_rate
        self._step = 1 / float(rate) if rate and 1 <= rate <= 1000 else 0.04
        start = stream.start_time * stream.time_base if stream.start_time is not None and stream.time_base else None
        self._start = float(start) if start is not None else None
        self._clock = Clock(self._start, self._step)
        self._sampler = Sampler()
        self._strip = Strip(wanted.thumbs)
        self._kept_at = -1.0
        self._until = min(MOST_S, wanted.to_s if wanted.to_s is not None else MOST_S)

    def records(self) -> Iterator[Record]:
        whole_to, broken, frames, stopped = self._wanted.from_s, False, 0, False
        end = min((each for each in (self._wanted.to_s, self._seconds) if each is not None), default=0.0)
        self._seek()
        for frame in self._frames():
            if frame is None:
                broken = True
                continue
            frames += 1
            at = self._clock.at(frame.time)
            if at >= self._until or (stopped := frames > self._limits.frames):
                broken = broken or stopped or at - whole_to > _LEAP_S
                break
            if at < self._wanted.from_s:
                broken = False
                continue
            if broken:
                yield Unread(whole_to, max(at, whole_to + self._step))
                broken = False
            whole_to = at + self._step
            if (step := self._kept(frame, at)) is not None:
                yield Sampled.of(step)
        else:
            broken = broken or end - whole_to > _LACKING_S  # a file that was cut off mostly ends without an error
        if broken:
            yield Unread(whole_to, max(whole_to + self._step, end))
        if (step := self._sampler.end()) is not None:
            yield Sampled.of(step)
        yield from self._strip.thumbs
        yield Ended(frames, whole_to, stopped)

    def _seek(self) -> None:
        if self._wanted.from_s < _SEEK_FROM_S or self._start is None:
            return
        try:
            self._container.seek(int((self._wanted.from_s + self._start) * av.time_base))
        except FFmpegError:
            return  # then all that comes before is decoded, too

    def _frames(self) -> Iterator[av.VideoFrame | None]:
        """None where something was broken."""
        failures = 0
        packets = self._container.demux(self._stream)
        while failures < _MOST_FAILURES:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except MemoryError:
                raise
            except (FFmpegError, ValueError):
                failures += 1
                packets = self._container.demux(self._stream)  # a generator that has raised is over
                yield None
                continue
            failures = 0
            for frame in frames:
                yield None if frame.is_corrupt else frame

    def _kept(self, frame: av.VideoFrame, at: float) -> Step | None:
        """The step that this frame ends."""
        if at < self._kept_at + _KEPT_EVERY_S:
            return None
        self._kept_at = at
        try:
            step = self._sampler.add(at, chroma_of(frame))
            if self._strip.wants(at):
                self._strip.add(_thumb(frame, at))
        except MemoryError:
            raise
        except (FFmpegError, ValueError):  # a format that nobody converts
            return None
        return step


class Clock:
    """From time stamps, which may be missing, go back or jump, to seconds that never go back."""

    def __init__(self, start: float | None, step: float) -> None:
        self._start, self._step = start, step
        self._last: float | None = None

    def at(self, stamp: float | None) -> float:
        if self._last is None:
            return self._first(stamp)
        going_on = self._last + self._step
        if stamp is None or self._start is None:
            at = going_on
        elif -_BACK_S <= (at := stamp - self._start) - self._last <= _MOST_GAP_S:
            at = max(at, self._last)
        else:  # one clip behind another, or nonsense: it goes on from here
            self._start, at = stamp - going_on, going_on
        self._last = at
        return at

    def _first(self, stamp: float | None) -> float:
        if stamp is None:
            at = 0.0
        elif self._start is None or not -_BACK_S <= stamp - self._start <= MOST_S:
            self._start, at = stamp, 0.0
        else:
            at = max(0.0, stamp - self._start)
        self._last = at
        return at


class Strip:
    """At most so many thumbs, evenly over a clip of a length that is not known before."""

    def __init__(self, most: int) -> None:
        self.thumbs: list[Thumb] = []
        self._most, self._every, self._next = most, STEP_S, 0.0

    def wants(self, at: float) -> bool:
        return self._most > 0 and at >= self._next

    def add(self, thumb: Thumb) -> None:
        if len(self.thumbs) >= 2 * self._most:
            self.thumbs, self._every = self.thumbs[::2], self._every * 2
        self.thumbs.append(thumb)
        self._next = thumb.at + self._every


def chroma_of(frame: av.VideoFrame) -> Chroma:
    """Upright, at most TALLEST rows. Made smaller in 16 bits: a mark of one shade would be rounded away in 8."""
    rows, columns = _fitted(frame.height, frame.width, frame.rotation % 180 == 90)
    small = frame.reformat(columns, rows, "yuv444p16le", interpolation=Interpolation.AREA, threads=1)
    planes = [
        np.frombuffer(memoryview(plane), np.uint16).reshape(rows, plane.line_size // 2)[:, :columns]
        for plane in small.planes[1:]
    ]
    return np.stack([_upright(plane, frame.rotation) for plane in planes]).astype(np.float32) / np.float32(256)


def _fitted(height: int, width: int, on_its_side: bool) -> tuple[int, int]:
    """Half the sides of the frame, as colour planes mostly have, or less."""
    rows, columns = -(-height // 2), -(-width // 2)
    shown = (columns, rows) if on_its_side else (rows, columns)
    scale = min(1.0, TALLEST / shown[0], _WIDEST / shown[1])
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def _upright(picture: NDArray[Any], rotation: int) -> NDArray[Any]:
    """`rotation`: degrees against the clock by which the file asks to be turned when it is shown."""
    return np.rot90(picture, round(rotation / 90) % 4)


def _thumb(frame: av.VideoFrame, at: float) -> Thumb:
    width = max(1, min(4 * _THUMB_HIGH, round(frame.width * _THUMB_HIGH / frame.height)))
    small = frame.reformat(width, _THUMB_HIGH, "rgb24", interpolation=Interpolation.AREA, threads=1).to_ndarray()
    upright = np.ascontiguousarray(_upright(small, frame.rotation))
    high, wide, _ = upright.shape
    return Thumb(at, high, wide, upright.tobytes())
