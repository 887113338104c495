"""What goes into the room: one frame and its sound per tick, and once a frame that makes the encoder begin anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.rtc.participant import PublishTrackError

from schemas.addresses import AddressPolicy
from tests.builders import task
from workers.playback import TICK_SAMPLES
from workers.renderers import Format
from workers.room import CROPPED_ROWS, LiveRoom, RoomError, cropped

pytestmark = pytest.mark.unit

SIZE = Format(8, 8, 1)


class Anything:
    """In the place of what a room is not asked for here."""

    def __getattr__(self, _: str) -> Any:
        return Anything()

    def __call__(self, *_: object) -> None:
        return None


class Sync:
    def __init__(self) -> None:
        self.heights: list[int] = []

    async def push(self, pushed: rtc.VideoFrame | rtc.AudioFrame) -> None:
        if isinstance(pushed, rtc.VideoFrame):
            self.heights.append(pushed.height)


def test_cropped_is_the_frame_without_its_lowest_rows() -> None:
    planes = [np.arange(64).reshape(8, 8), np.arange(100, 116).reshape(4, 4), np.arange(200, 216).reshape(4, 4)]
    frame = b"".join(plane.astype(np.uint8).tobytes() for plane in planes)
    kept = [planes[0][:-CROPPED_ROWS], *(plane[: -CROPPED_ROWS // 2] for plane in planes[1:])]
    assert cropped(frame, SIZE) == b"".join(plane.astype(np.uint8).tobytes() for plane in kept)


async def test_the_first_who_sees_the_track_gets_a_keyframe_when_the_way_is_clear() -> None:
    room = LiveRoom(task(), SIZE, Anything(), Anything(), AddressPolicy(""))  # type: ignore[arg-type]
    sync = room._sync = Sync()  # type: ignore[assignment]
    pcm, frame = np.zeros(TICK_SAMPLES, np.int16), bytes(96)

    async def tick(times: int) -> list[int]:
        sync.heights = []
        for _ in range(times):
            await room.push(frame, pcm)
        return sync.heights

    assert await tick(2) == [8, 8]
    room._on_subscribed(rtc.LocalAudioTrack.create_audio_track("voice", room._audio))
    assert await tick(4) == [8, 8, 8, 8]
    room._on_subscribed(rtc.LocalVideoTrack.create_video_track("face", room._video))
    assert await tick(5) == [8, 8, 6, 8, 8]


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
