"""Whom a session hears in a room with others, and what those others cost it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import psutil
import pytest
import pytest_asyncio
from livekit import rtc

from cli.customer import speech
from tests.system.stage import FINISHED, Stage
from tests.world import World, eventually

pytestmark = pytest.mark.media

TOPIC = "lk.audio_stream"
MEGABYTES = 30


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "all")
    await world.start("worker")
    return world


@asynccontextmanager
async def joined(playing: Stage, identity: str) -> AsyncIterator[rtc.Room]:
    room = rtc.Room()
    token = playing.world.livekit.token(playing.room, identity)
    async with asyncio.timeout(20):
        await room.connect(playing.world.livekit.url, token, rtc.RoomOptions(auto_subscribe=False))
    try:
        yield room
    finally:
        async with asyncio.timeout(10):
            await room.disconnect()


def session_process(world: World) -> psutil.Process:
    """The one that is in a room: warm ones have no socket to anywhere."""
    children = psutil.Process(world.processes["worker"].pid).children()
    (busy,) = [c for c in children if "workers.session_process" in c.cmdline() and c.net_connections("inet")]
    return busy


async def flood(sender: rtc.Room, receivers: list[str], received: Callable[[], int]) -> None:
    """MEGABYTES in one stream, until a receiver that listens to it has it all."""
    writer = await sender.local_participant.stream_bytes(
        name="flood",
        topic=TOPIC,
        attributes={"sample_rate": "48000", "num_channels": "1"},
        destination_identities=receivers,
    )
    block = secrets.token_bytes(250_000)
    for _ in range(MEGABYTES * 4):
        await writer.write(block)
    await writer.aclose()

    async def all_there() -> bool:
        return received() == MEGABYTES * 1_000_000

    await eventually(all_there, 120)


@pytest.mark.parametrize(
    ("sender", "source"), [("stranger", "data_stream"), ("agent", "track")], ids=["a stranger", "with a track"]
)
async def test_a_stream_that_is_not_heard_is_not_kept(stage: Any, running: World, sender: str, source: str) -> None:
    playing = await stage(transport={"audio_source": source}, idle_timeout_seconds=300)
    process = session_process(running)
    count = 0

    async def take(reader: rtc.ByteStreamReader) -> None:
        nonlocal count
        async for chunk in reader:
            count += len(chunk)

    taking: list[asyncio.Task[None]] = []
    playing.watcher.room.register_byte_stream_handler(
        TOPIC, lambda reader, _: taking.append(asyncio.create_task(take(reader)))
    )
    before = process.memory_info().rss
    if sender == "agent":
        await flood(playing.agent.room, ["avatar", "watcher"], lambda: count)
    else:
        async with joined(playing, sender) as room:
            await flood(room, ["avatar", "watcher"], lambda: count)
    await asyncio.gather(*taking)
    grown = (process.memory_info().rss - before) / 1e6
    assert grown < MEGABYTES / 2, f"{grown:.0f} MB more"
    if source == "data_stream":
        pcm, rate, _ = speech()
        await playing.agent.say(pcm[: rate * 2], rate)
        finished = await playing.agent.report(FINISHED, 30)
        assert (round(finished.position_s, 1), finished.interrupted) == (1.0, False)


async def test_streams_that_are_opened_and_left_get_one_finish_each(stage: Any) -> None:
    playing = await stage()
    for _ in range(50):
        await playing.agent.room.local_participant.stream_bytes(
            name="left",
            topic=TOPIC,
            attributes={"sample_rate": "48000", "num_channels": "1"},
            destination_identities=["avatar"],
        )
    for _ in range(49):  # the last is waited for
        assert (await playing.agent.report(FINISHED, 30)).position_s == 0
    pcm, rate, _ = speech()
    await playing.agent.say(pcm[: rate * 2], rate)
    positions = [(await playing.agent.report(FINISHED, 30)).position_s for _ in range(2)]
    assert [round(p, 1) for p in positions] == [0.0, 1.0]
    assert playing.agent.heard.empty()


async def test_a_clear_makes_nobody_the_agent(stage: Any) -> None:
    """A token that names no agent: it is who speaks first, not who interrupts first."""
    playing = await stage(behalf=None)
    async with joined(playing, "stranger") as room:
        answer = await room.local_participant.perform_rpc(
            destination_identity="avatar", method="lk.clear_buffer", payload="", response_timeout=10
        )
        assert answer == "reject"
        pcm, rate, _ = speech()
        await playing.agent.say(pcm[: rate * 2], rate)
        assert round((await playing.agent.report(FINISHED, 30)).position_s, 1) == 1.0


class Microphone:
    """A participant's track that carries a tone without end."""

    def __init__(self, room: rtc.Room, hz: float) -> None:
        self._room, self._hz = room, hz
        self._source = rtc.AudioSource(48_000, 1)
        self._sid = ""
        self._task: asyncio.Task[None] | None = None

    async def publish(self) -> None:
        track = rtc.LocalAudioTrack.create_audio_track("voice", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        async with asyncio.timeout(20):
            self._sid = (await self._room.local_participant.publish_track(track, options)).sid
        self._task = self._task or asyncio.create_task(self._hum())

    async def unpublish(self) -> None:
        async with asyncio.timeout(20):
            await self._room.local_participant.unpublish_track(self._sid)

    async def _hum(self) -> None:
        for n in range(10**9):
            at = np.arange(n * 480, n * 480 + 480) / 48_000
            tone = (9000 * np.sin(2 * np.pi * self._hz * at)).astype(np.int16)
            await self._source.capture_frame(rtc.AudioFrame(tone.tobytes(), 48_000, 1, 480))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class Ear:
    """Somebody who hears the avatar alone."""

    def __init__(self, room: rtc.Room) -> None:
        self._sound: deque[tuple[float, Any]] = deque(maxlen=50)
        self._tasks: list[asyncio.Task[None]] = []
        room.on("track_subscribed", lambda track, *_: self._tasks.append(asyncio.create_task(self._listen(track))))
        for publication in room.remote_participants["avatar"].track_publications.values():
            publication.set_subscribed(publication.kind == rtc.TrackKind.KIND_AUDIO)

    async def _listen(self, track: rtc.Track) -> None:
        async for event in rtc.AudioStream.from_track(track=track, sample_rate=48_000, num_channels=1):
            self._sound.append((time.monotonic(), np.frombuffer(event.frame.data, np.int16).astype(np.float64)))

    def pitch(self) -> float | None:
        """Of the last half second; None when it is silent, or not heard."""
        recent = [pcm for at, pcm in self._sound if at > time.monotonic() - 1]
        if len(recent) < 20:
            return None
        sound = np.concatenate(recent)
        if np.abs(sound).mean() < 500:
            return None
        return float(np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound))))) * 48_000 / len(sound))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_the_first_microphone_is_heard_for_the_session(stage: Any) -> None:
    """Unpinned: later microphones change nothing, also while the first is away; it is heard again when it is back."""
    playing = await stage(transport={"audio_source": "track"}, idle_timeout_seconds=120)

    async with joined(playing, "first") as one, joined(playing, "second") as other, joined(playing, "ear") as third:
        first, second, ear = Microphone(one, 400), Microphone(other, 1000), Ear(third)

        async def hears(hz: float | None) -> None:
            async def heard() -> bool:
                found = ear.pitch()
                return found is None if hz is None else found is not None and abs(found - hz) < 20

            await eventually(heard, 90, f"hearing {hz} Hz")

        try:
            await first.publish()
            await hears(400)
            await second.publish()
            until = time.monotonic() + 2
            while time.monotonic() < until:
                assert (ear.pitch() or 400) < 600
                await asyncio.sleep(0.1)
            await hears(400)
            await first.unpublish()
            await hears(None)
            await first.publish()
            await hears(400)
        finally:
            await first.close()
            await second.close()
            await ear.close()
