"""What goes into the room: one frame and its sound per tick, and once a frame that makes the encoder begin anew."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.rtc.participant import PublishTrackError

from schemas.addresses import AddressPolicy
from tests.builders import task
from tests.world import eventually
from workers.media_clock import LEAVES_S
from workers.playback import TICK_SAMPLES
from workers.renderers import Format
from workers.room import CROPPED_ROWS, LiveRoom, RoomError, cropped

pytestmark = pytest.mark.unit

SIZE = Format(8, 8, 1)
FRAME, SILENCE = bytes(96), np.zeros(TICK_SAMPLES, np.int16)


class Anything:
    """In the place of what a room is not asked for here."""

    def __getattr__(self, _: str) -> Any:
        return Anything()

    def __call__(self, *_: object) -> None:
        return None


class Sources:
    """Where frames and sound of a room go. The sound is full from the beginning: it has room when it is `drained`."""

    def __init__(self, room: LiveRoom) -> None:
        self.heights: list[int] = []
        self.times: list[float] = []
        self.drained = asyncio.Event()
        room._audio = SimpleNamespace(capture_frame=self._sound)  # type: ignore[assignment]
        room._video = SimpleNamespace(capture_frame=self._frame)  # type: ignore[assignment]

    async def _sound(self, sound: rtc.AudioFrame) -> None:
        assert sound.samples_per_channel == TICK_SAMPLES
        await self.drained.wait()

    def _frame(self, frame: rtc.VideoFrame) -> None:
        self.heights.append(frame.height)
        self.times.append(asyncio.get_running_loop().time())

    async def seen(self, count: int) -> list[int]:
        async def all_of_them() -> bool:
            return len(self.heights) >= count

        await eventually(all_of_them)
        return self.heights


def test_cropped_is_the_frame_without_its_lowest_rows() -> None:
    planes = [np.arange(64).reshape(8, 8), np.arange(100, 116).reshape(4, 4), np.arange(200, 216).reshape(4, 4)]
    frame = b"".join(plane.astype(np.uint8).tobytes() for plane in planes)
    kept = [planes[0][:-CROPPED_ROWS], *(plane[: -CROPPED_ROWS // 2] for plane in planes[1:])]
    assert cropped(frame, SIZE) == b"".join(plane.astype(np.uint8).tobytes() for plane in kept)


async def test_the_first_who_sees_the_track_gets_a_keyframe_when_the_way_is_clear() -> None:
    room = LiveRoom(task(), SIZE, Anything(), Anything(), AddressPolicy(""))  # type: ignore[arg-type]
    voice = rtc.LocalAudioTrack.create_audio_track("voice", room._audio)
    face = rtc.LocalVideoTrack.create_video_track("face", room._video)
    sources = Sources(room)
    sources.drained.set()

    async def tick(times: int) -> list[int]:
        sources.heights = []
        for _ in range(times):
            await room.push(FRAME, SILENCE)
        return await sources.seen(times)

    assert await tick(2) == [8, 8]
    room._on_subscribed(voice)
    assert await tick(4) == [8, 8, 8, 8]
    room._on_subscribed(face)
    assert await tick(5) == [8, 6, 8, 8, 8]


async def test_a_frame_goes_out_when_its_sound_leaves() -> None:
    """Some time after that has found room. The first one, for which somebody waits, at once."""
    room = LiveRoom(task(), SIZE, Anything(), Anything(), AddressPolicy(""))  # type: ignore[arg-type]
    sources = Sources(room)
    pushing = asyncio.create_task(room.push(FRAME, SILENCE))
    await asyncio.sleep(0)
    assert sources.heights == []
    sources.drained.set()
    await pushing
    assert sources.heights == [8]
    began = asyncio.get_running_loop().time()
    await room.push(FRAME, SILENCE)
    assert sources.heights == [8]
    await sources.seen(2)
    assert sources.times[-1] - began >= LEAVES_S * 0.9  # a loop's clock is no finer


async def test_a_frame_of_a_room_that_was_left_goes_nowhere() -> None:
    room = LiveRoom(task(), SIZE, Anything(), Anything(), AddressPolicy(""))  # type: ignore[arg-type]
    room._room = SimpleNamespace(disconnect=lambda: asyncio.sleep(2 * LEAVES_S))  # type: ignore[assignment]
    sources = Sources(room)
    sources.drained.set()
    for _ in range(2):
        await room.push(FRAME, SILENCE)
    await room.leave()
    assert sources.heights == [8]


async def test_a_mood_that_is_none_is_answered_with_those_that_are() -> None:
    listener = SimpleNamespace(on_mood=lambda identity, mood: (identity, mood) == ("agent", "warm"))
    room = LiveRoom(task(), SIZE, listener, Anything(), AddressPolicy(""))  # type: ignore[arg-type]

    def call(identity: str, payload: str) -> rtc.RpcInvocationData:
        return rtc.RpcInvocationData("1", identity, payload, 5.0)

    assert await room._set_mood(call("agent", "warm")) == "ok"
    with pytest.raises(rtc.RpcError, match="neutral, warm, cheerful, serious, concerned") as unknown:
        await room._set_mood(call("agent", "grumpy"))
    with pytest.raises(rtc.RpcError, match="the agent's to set") as stranger:
        await room._set_mood(call("user", "warm"))
    assert (unknown.value.code, stranger.value.code) == (422, 403)


async def test_a_refusal_is_told_in_our_words() -> None:
    """LiveKit's own may name the room or people in it, and the message is in the log for ever."""

    async def publish_track(*_: object) -> None:
        raise PublishTrackError("participant ada may not publish in room-of-ada")

    room = LiveRoom(task(), SIZE, Anything(), Anything(), AddressPolicy(""))  # type: ignore[arg-type]
    room._room = SimpleNamespace(local_participant=SimpleNamespace(publish_track=publish_track))  # type: ignore[assignment]
    with pytest.raises(RoomError, match="does not let it publish") as told:
        await room._publish(Anything(), rtc.TrackPublishOptions())  # type: ignore[arg-type]
    assert told.value.code == "transport.unauthorized"
    assert "ada" not in str(told.value)
