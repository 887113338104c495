"""From what the room sends to samples that wait to be played: byte streams of the agent, or a track.

The SDK queues what a stream brings without bound until its reader is closed: whatever is not read is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import structlog
from livekit import rtc

from schemas.assignments import Task
from schemas.background import Background
from workers.agent_link import AgentLink
from workers.playback import RATE, TICK_SAMPLES, Finish, Playback, TooMuchUnplayed, Utterance, to_mono

log = structlog.get_logger()

_CHUNK_TIMEOUT_S = 10.0
_OVERTAKEN_S = 0.5
"""Patience with a stream once a newer header came: the SDK may hand that over before the last chunks of this one."""
_CLOSE_TIMEOUT_S = 1.0
_MOST_STREAMS = 32
"""That the agent may send at once. More than one is rare: the last chunks of one behind the header of the next."""
_LOWEST_RATE = 8_000
_TRACK_BACKLOG = RATE // 5
_TRACK_SILENT_S, _MOST_PATIENCE_S = 3.0, 60.0
"""A track brings a frame each 10 ms, of silence where nobody speaks: without any its receiver is stuck."""


async def receive(reader: rtc.ByteStreamReader, playback: Playback, heard: Callable[[], None]) -> Finish | None:
    """One utterance, from its header to its trailer, a newer header, an error, or 10 s without a chunk.

    The reader is closed when this returns: what still comes is dropped by the SDK. Returns the finish to report at once
    when the utterance was refused. `heard` is called for every chunk.
    """
    attributes = reader.info.attributes or {}
    rate, channels = _number(attributes.get("sample_rate")), _number(attributes.get("num_channels"))
    utterance = None
    try:
        if not _LOWEST_RATE <= rate <= RATE or channels not in (1, 2):
            log.warning("utterance refused", sample_rate=rate, num_channels=channels)
            return Finish(reader.info.stream_id, 0.0, interrupted=True)
        utterance = playback.open(reader.info.stream_id)
        await _read(reader, playback, utterance, rate, channels, heard)
    except TooMuchUnplayed:
        log.warning("utterance refused", unplayed_samples=playback.waiting_samples)
        if utterance is not None:
            playback.drop(utterance)
        return Finish(reader.info.stream_id, 0.0, interrupted=True)
    finally:
        if utterance is not None:
            utterance.complete = True
        reader.close()
    return None


async def _read(
    reader: rtc.ByteStreamReader,
    playback: Playback,
    utterance: Utterance,
    rate: int,
    channels: int,
    heard: Callable[[], None],
) -> None:
    """Odd bytes carry over to the next chunk; one resampler per stream, flushed at its end."""
    resampler = rtc.AudioResampler(rate, RATE, num_channels=1) if rate != RATE else None
    carry = b""
    try:
        while True:
            chunk = await _next(reader, lambda: playback.overtaken(utterance))
            heard()
            if not utterance.received_s and not carry:
                playback.arrives(utterance, time.monotonic())
            data = carry + chunk
            whole = len(data) - len(data) % (2 * channels)
            carry = data[whole:]
            pcm = to_mono(data[:whole], channels)
            utterance.received_s += len(pcm) / rate
            if resampler is None:
                playback.feed(utterance, pcm)
            else:
                for frame in resampler.push(bytearray(pcm.tobytes())):
                    playback.feed(utterance, np.frombuffer(frame.data, np.int16))
            await asyncio.sleep(0)  # minutes of speech come in one burst: the face goes on between its chunks
    except (StopAsyncIteration, rtc.StreamError, TimeoutError):
        for frame in resampler.flush() if resampler else ():
            playback.feed(utterance, np.frombuffer(frame.data, np.int16))


async def _next(reader: rtc.ByteStreamReader, overtaken: Callable[[], bool]) -> bytes:
    """Raises TimeoutError, StopAsyncIteration, StreamError."""
    began = time.monotonic()
    while True:
        try:
            async with asyncio.timeout(_OVERTAKEN_S):
                return await anext(reader)
        except TimeoutError:
            if overtaken() or time.monotonic() - began >= _CHUNK_TIMEOUT_S:
                raise


class Track(Protocol):
    """Of a track, what is asked for here."""

    @property
    def sid(self) -> str: ...

    @property
    def muted(self) -> bool: ...


class Frames(Protocol):
    """What a receiver of a track brings."""

    async def __anext__(self) -> rtc.AudioFrameEvent: ...

    async def aclose(self) -> None: ...


def frames_of(track: Track) -> Frames:
    assert isinstance(track, rtc.RemoteAudioTrack)
    return rtc.AudioStream.from_track(track=track, sample_rate=RATE, num_channels=1)


class Hearer(Protocol):
    """Whose ears these are."""

    def on_voice(self) -> None:
        """Somebody is there to be heard."""

    def on_heard(self) -> None:
        """Some sound came, just now."""


class Ears:
    """What of the room gets into the playback: the agent's streams, or the chosen speaker's track."""

    def __init__(
        self,
        task: Task,
        playback: Playback,
        link: AgentLink,
        tasks: Background,
        hearer: Hearer,
        receive: Callable[[Track], Frames] = frames_of,
    ) -> None:
        self._frames_of = receive
        self._source = task.audio_source
        self._playback = playback
        self._link = link
        self._tasks = tasks
        self._hearer = hearer
        self._streams = 0
        self.closed = False
        """Whoever comes next is to be spoken to: utterances are refused."""
        self._listening: tuple[str, asyncio.Task[None]] | None = None
        self.choice = Choice(task.subscribe_to_identity)

    def begin(self) -> None:
        """A new connection: what was heard over the one before is over."""
        self.choice.begin()
        self._stop_listening()

    def on_stream(self, reader: rtc.ByteStreamReader, identity: str) -> None:
        """The agent's speech; anybody else's is not ours to play, and is closed before its first byte is kept."""
        if self._source != "data_stream" or self._link.agent not in (None, identity):
            reader.close()
            return
        self._link.agent = identity
        if self.closed or self._streams >= _MOST_STREAMS:
            log.warning("utterance refused", open_streams=self._streams)
            reader.close()
            self._link.finished(Finish(reader.info.stream_id, 0.0, interrupted=True))
            return
        self._streams += 1
        self._hearer.on_voice()
        self._tasks.spawn(self._receive(reader), "receive utterance")

    async def _receive(self, reader: rtc.ByteStreamReader) -> None:
        try:
            refused = await receive(reader, self._playback, self._hearer.on_heard)
        finally:
            self._streams -= 1
        if refused is not None:
            self._link.finished(refused)

    def on_track(self, track: Track) -> None:
        self._hearer.on_voice()
        self._stop_listening()  # to the speaker's track before it: its end may not have been said
        listening = listen(track, self._playback, self._hearer.on_heard, self._frames_of)
        self._listening = track.sid, self._tasks.spawn(listening, "listen to track")

    def unsubscribed(self, sid: str) -> None:
        """Nothing comes of this track any more, by whoever's will: that is no stall."""
        if self._listening is not None and self._listening[0] == sid:
            self._stop_listening()

    def ended(self, sid: str) -> bool:
        """It was the one that is heard: the next is to be looked for."""
        self.unsubscribed(sid)
        return self.choice.ended(sid)

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening[1].cancel()
            self._listening = None


class Choice:
    """`track`: what is heard. The pinned participant; unpinned, the first that publishes audio, for the session.

    One of its tracks at a time: what it publishes beside that is heard when that has ended.
    """

    def __init__(self, pinned: str | None) -> None:
        self.speaker = pinned
        self._heard: str | None = None

    def wants(self, identity: str, sid: str) -> bool:
        """Of a publication: it is to be heard from now on."""
        if self._heard is not None or self.speaker not in (None, identity):
            return False
        self.speaker, self._heard = identity, sid
        return True

    def ended(self, sid: str) -> bool:
        """It was the one that is heard: the next is to be looked for."""
        was_heard = self._heard == sid
        if was_heard:
            self._heard = None
        return was_heard

    def begin(self) -> None:
        """A new connection: its tracks have other ids."""
        self._heard = None


async def listen(
    track: Track,
    playback: Playback,
    heard: Callable[[], None],
    receive: Callable[[Track], Frames] = frames_of,
) -> None:
    """`track`: everything heard is played as it comes; more than 200 ms behind, the oldest is skipped.

    A receiver that is stuck is made anew, in the same utterance: what waits for it goes on waiting. Whether it is the
    receiver is known only then: a speaker who takes back our leave to listen looks alike.
    """
    utterance = playback.open(track.sid)
    utterance.started, utterance.awaited = True, False  # nobody waits for reports about a track
    try:
        while not await _heard_out(receive(track), track, playback, utterance, heard):
            playback.remakes += 1
            if playback.remakes == 1:
                log.warning("nothing comes of the track, its receiver is made anew")
    finally:
        utterance.complete = True


async def _heard_out(
    stream: Frames, track: Track, playback: Playback, utterance: Utterance, heard: Callable[[], None]
) -> bool:
    """Until the track's end; False when nothing comes of one that is not muted."""
    stuck = False
    try:
        while True:
            utterance.muted = track.muted
            try:
                async with asyncio.timeout(_patience_s(playback.remakes)):
                    event = await stream.__anext__()
            except TimeoutError:
                stuck = not track.muted
                if stuck:
                    return False
                continue
            if utterance.waiting > _TRACK_BACKLOG:
                utterance.take(TICK_SAMPLES)
            playback.feed(utterance, np.frombuffer(event.frame.data, np.int16).copy())
            playback.remakes = 0
            heard()
    except StopAsyncIteration:
        return True
    finally:
        utterance.complete = not stuck  # now: closing takes its time, and the next one waits for that
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await stream.aclose()
        except Exception as failed:  # the SDK's; what it keeps of a receiver must not end the listening
            log.warning("a receiver could not be closed", error=repr(failed))


def _patience_s(remakes: int) -> float:
    """With a receiver that brings nothing: two are tried soon, each later one is given twice as long."""
    return min(_MOST_PATIENCE_S, _TRACK_SILENT_S * 2.0 ** max(0, remakes - 1))


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0
