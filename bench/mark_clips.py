"""Clips for what judges the mark: faces that speak, what a participant of a real room got of them, and codecs."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from cli.customer import SPEECH, LiveKitProject
from faces import film, sound
from faces.face import SIDE, stock
from faces.hearing import TICK
from faces.mark.carriers import FPS
from faces.neural import NeuralRenderer
from schemas.addresses import AddressPolicy
from schemas.ids import SESSION, new_id
from stack import livekit, servers
from stack.ports import free_ports
from stack.process import ProcessGroup
from tests.builders import task
from workers.playback import TICK_SAMPLES
from workers.renderers import Format
from workers.room import LiveRoom

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

I420 = NDArray[np.uint8]
"""[rows × 3 / 2, columns]."""
_JOIN_S, _FIRST_S = 20.0, 30.0


@dataclass(frozen=True)
class Clip:
    """Frames of one size, and when each is shown."""

    frames: list[I420]
    times_s: list[float]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        rows, columns = self.frames[0].shape
        return columns, rows * 2 // 3

    @classmethod
    def at(cls, frames: Sequence[I420], fps: float = FPS) -> Clip:
        return cls(list(frames), [i / fps for i in range(len(frames))])


def planes(frame: I420) -> tuple[I420, I420, I420]:
    rows = frame.shape[0] * 2 // 3
    chroma = frame[rows:].reshape(2, rows // 2, frame.shape[1] // 2)
    return frame[:rows], chroma[0], chroma[1]


def joined(luma: I420, u: I420, v: I420) -> I420:
    chroma = np.concatenate([np.ascontiguousarray(u).reshape(-1), np.ascontiguousarray(v).reshape(-1)])
    return np.concatenate([np.ascontiguousarray(luma), chroma.reshape(-1, luma.shape[1])])


def speaking(avatar: str, seconds: float, width: int = 512) -> Iterator[I420]:
    """A stock face that says the sentence of the demo, over and over."""
    face, pcm = stock(avatar), sound.read(SPEECH)
    wanted = np.resize(pcm, round(seconds * FPS) * TICK)
    height = face.height * width // SIDE
    for frame in film.frames(NeuralRenderer("cpu"), face, width, wanted):
        yield frame.reshape(height * 3 // 2, width)


def encoded(clip: Clip, codec: str, options: dict[str, str], bitrate: int | None = None) -> tuple[Clip, int]:
    """(the clip as a decoder has it, bytes)."""
    buffer, size = io.BytesIO(), 0
    fps = round((len(clip.frames) - 1) / (clip.times_s[-1] - clip.times_s[0])) if len(clip.frames) > 1 else FPS
    with av.open(buffer, "w", format="matroska") as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height = clip.size
        stream.pix_fmt = "yuv420p"
        if bitrate is not None:
            stream.bit_rate = bitrate
        for i, frame in enumerate(clip.frames):
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="yuv420p")
            shown.pts, shown.time_base = i, Fraction(1, fps)
            size += _muxed(container, stream.encode(shown))
        size += _muxed(container, stream.encode(None))
    buffer.seek(0)
    with av.open(buffer, "r") as received:
        frames = [np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8) for frame in received.decode(video=0)]
    return Clip(frames, clip.times_s[: len(frames)]), size


def _muxed(container: Any, packets: Iterable[Any]) -> int:
    size = 0
    for packet in packets:
        size += packet.size
        container.mux(packet)
    return size


@asynccontextmanager
async def livekit_server() -> AsyncIterator[LiveKitProject]:
    """LiveKit alone."""
    cache = servers.cache_folder()
    with servers.alone(cache / "install.lock"):
        binary = await asyncio.to_thread(livekit.install, cache)
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        group = ProcessGroup(Path(folder) / "logs")
        port, udp, turn = free_ports(3)
        spec, url = livekit.prepare(binary, Path(folder) / "livekit", port, udp, turn)
        try:
            await group.add(spec)
            pair = livekit.keys(Path(folder) / "livekit")
            yield LiveKitProject(url, pair.key, pair.secret)
        finally:
            await group.stop()


class _Anything:
    """In the place of what a room is not asked for here."""

    def __getattr__(self, _: str) -> Any:
        return _Anything()

    def __call__(self, *_: object) -> None:
        return None


async def through_a_room(project: LiveKitProject, frames: Iterable[I420], size: Format) -> Clip:
    """What a second participant gets of frames that are published as a worker does it."""
    name, nothing = new_id("room"), _Anything()
    token = project.token(name, "avatar")
    wanted = task(
        session_id=new_id(SESSION), url=project.url, room_name=name, worker_identity="avatar", worker_token=token
    )
    room = LiveRoom(wanted, size, nothing, nothing, AddressPolicy("0.0.0.0/0"))  # type: ignore[arg-type]
    seen: list[tuple[float, I420]] = []
    first, reading = asyncio.Event(), set[asyncio.Task[None]]()

    async def read(track: rtc.Track) -> None:
        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.I420):
            frame = event.frame
            if (frame.width, frame.height) == (size.width, size.height):
                data = np.frombuffer(frame.data, np.uint8)[: size.width * size.height * 3 // 2].copy()
                seen.append((event.timestamp_us / 1e6, data.reshape(-1, size.width)))
                first.set()

    def on_track(track: rtc.Track, *_: object) -> None:
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            reading.add(asyncio.create_task(read(track)))

    watcher = rtc.Room()
    watcher.on("track_subscribed", on_track)
    silence = np.zeros(TICK_SAMPLES, np.int16)
    async with asyncio.timeout(_JOIN_S):
        await watcher.connect(project.url, project.token(name, "watcher"))
    try:
        await room.join(_JOIN_S)
        await room.publish()
        for frame in frames:
            await room.push(frame.tobytes(), silence)
        async with asyncio.timeout(_FIRST_S):
            await first.wait()
    finally:
        await room.leave()
        for each in reading:
            each.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await watcher.disconnect()
    begin = seen[0][0]
    return Clip([frame for _, frame in seen], [at - begin for at, _ in seen])
