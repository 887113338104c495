"""Who is heard, and that a track goes on being heard."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import pytest
from livekit import rtc

from schemas.background import Background
from tests.builders import task
from workers import ears
from workers.agent_link import AgentLink
from workers.ears import Choice, Ears, listen
from workers.playback import Playback, Utterance

pytestmark = pytest.mark.unit


def test_the_first_who_publishes_is_heard_for_the_session() -> None:
    choice = Choice(None)
    assert choice.wants("ann", "t1")
    assert not choice.wants("bob", "t2")
    assert not choice.wants("ann", "t3")  # one at a time
    assert not choice.ended("t2")
    assert choice.ended("t1")
    assert not choice.wants("bob", "t2")
    assert choice.wants("ann", "t3")
    choice.begin()  # another connection
    assert not choice.wants("bob", "t4")
    assert choice.wants("ann", "t5")


def test_the_pinned_participant_is_heard_and_nobody_else() -> None:
    choice = Choice("ann")
    assert not choice.wants("bob", "t1")
    assert choice.wants("ann", "t2")


@dataclass
class Microphone:
    """A track: each of its receivers brings so many frames of 10 ms, then nothing, or the track's end."""

    receivers: list[int]
    muted: bool = False
    sid: str = "t1"
    opened: int = 0
    closed: int = 0

    def receive(self, _: object) -> Receiver:
        self.opened += 1
        return Receiver(self, self.receivers.pop(0))


class Receiver:
    def __init__(self, microphone: Microphone, frames: int) -> None:
        self._microphone, self._left = microphone, frames

    async def __anext__(self) -> rtc.AudioFrameEvent:
        if self._left:
            self._left -= 1
            return rtc.AudioFrameEvent(rtc.AudioFrame(b"\1\0" * 480, 48_000, 1, 480))
        if not self._microphone.receivers:
            raise StopAsyncIteration
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def aclose(self) -> None:
        self._microphone.closed += 1


class Burst:
    """A byte stream whose chunks are all there, so that none is waited for."""

    def __init__(self, rate: int, chunks: int) -> None:
        self.info = SimpleNamespace(stream_id="s1", attributes={"sample_rate": str(rate), "num_channels": "1"})
        self._left = chunks

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return bytes(15_000)

    def close(self) -> None:
        return None


@pytest.mark.parametrize("rate", [48_000, 24_000])
async def test_the_face_goes_on_between_the_chunks_of_a_burst(rate: int) -> None:
    turns = 0

    async def the_face() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    face = asyncio.create_task(the_face())
    refused = await ears.receive(cast(rtc.ByteStreamReader, Burst(rate, 50)), Playback(), lambda: None)
    face.cancel()
    assert refused is None
    assert turns >= 50


async def test_a_receiver_that_is_stuck_is_made_anew_in_the_same_utterance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "_TRACK_SILENT_S", 0.01)
    playback, microphone = Playback(), Microphone([2, 0, 3])
    opened, heard = list[Utterance | None](), 0

    def hear() -> None:
        nonlocal heard
        heard += 1
        opened.append(playback.current)

    await listen(microphone, playback, hear, microphone.receive)
    assert (microphone.opened, microphone.closed, heard) == (3, 3, 5)
    assert len(set(map(id, opened))) == 1
    assert playback.waiting_samples == 5 * 480
    assert playback.tick().speech == 1920
    assert not playback.tick().starved  # the track has ended


async def test_a_speaker_who_is_silenced_is_told_from_a_receiver_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both bring nothing. The first remade receiver brings nothing either: then nothing is ours any more."""
    monkeypatch.setattr(ears, "_TRACK_SILENT_S", 0.01)
    playback, microphone, deaf = Playback(), Microphone([0, 0, 0, 1]), list[bool]()

    def receive(asked: object) -> Receiver:
        deaf.append(playback.tick().deaf)
        return microphone.receive(asked)

    await listen(microphone, playback, lambda: deaf.append(playback.tick().deaf), receive)
    assert deaf[1:4] == [True, False, False]
    assert playback.waiting_samples == 0


class Hearer:
    def on_voice(self) -> None: ...

    def on_heard(self) -> None: ...


@pytest.mark.parametrize("how", ["ended", "unsubscribed", "begin", "on_track"])
async def test_a_track_that_is_gone_is_waited_for_no_longer(how: str) -> None:
    """Its receiver need not say that it has ended. Nobody would be billed again, if it counted as a stall."""
    playback, tasks, microphone = Playback(), Background(), Microphone([1, 1])
    heard = Ears(task(), playback, AgentLink(lambda: None), tasks, Hearer(), microphone.receive)
    assert heard.choice.wants("ann", "t1")
    heard.on_track(microphone)
    try:
        async with asyncio.timeout(10):
            while not playback.waiting_samples:
                await asyncio.sleep(0)
            first = playback.current
            assert first is not None
            heard.unsubscribed("t2")  # another one's
            await asyncio.sleep(0)
            assert playback.tick().speech
            assert playback.tick().starved
            arguments: dict[str, list[object]] = {"begin": [], "on_track": [Microphone([9], sid="t3")]}
            getattr(heard, how)(*arguments.get(how, ["t1"]))
            while not first.complete:
                await asyncio.sleep(0)
    finally:
        await tasks.cancel()
    assert heard.choice.wants("ann", "t4") is (how in ("ended", "begin"))


async def test_a_muted_microphone_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "_TRACK_SILENT_S", 0.001)
    playback, microphone = Playback(), Microphone([0, 0], muted=True)
    listening = asyncio.create_task(listen(microphone, playback, lambda: None, microphone.receive))
    try:
        async with asyncio.timeout(10):
            while playback.current is None or not playback.current.muted:
                await asyncio.sleep(0)
            assert not playback.tick().starved
            microphone.muted = False
            while microphone.opened == 1:
                assert microphone.closed == 0
                await asyncio.sleep(0)
            await listening
    finally:
        listening.cancel()
    assert microphone.closed == 2
