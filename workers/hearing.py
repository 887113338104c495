"""From what the room sends to samples that wait to be played: byte streams of the agent, or a track."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import structlog
from livekit import rtc

from workers.playback import RATE, TICK_SAMPLES, Finish, Playback, Segment, TooMuchUnplayed, to_mono

log = structlog.get_logger()

_CHUNK_TIMEOUT_S = 10.0
_LOWEST_RATE = 8_000
_TRACK_BACKLOG = RATE // 5


async def receive(reader: rtc.ByteStreamReader, playback: Playback, heard: Callable[[], None]) -> Finish | None:
    """One segment, from its header to its trailer, a newer header, an error, or 10 s without a chunk.

    Returns the finish to report at once when the segment was refused. `heard` is called for every chunk.
    """
    attributes = reader.info.attributes or {}
    rate, channels = _number(attributes.get("sample_rate")), _number(attributes.get("num_channels"))
    if not _LOWEST_RATE <= rate <= RATE or channels not in (1, 2):
        log.warning("segment refused", sample_rate=rate, num_channels=channels)
        reader.close()
        return Finish(reader.info.stream_id, 0.0, interrupted=True)
    segment = playback.open(reader.info.stream_id)
    try:
        await _read(reader, playback, segment, rate, channels, heard)
    except TooMuchUnplayed:
        log.warning("segment refused", unplayed_samples=playback.waiting_samples)
        playback.drop(segment)
        return Finish(segment.id, 0.0, interrupted=True)
    finally:
        segment.complete = True
        reader.close()
    return None


async def _read(
    reader: rtc.ByteStreamReader,
    playback: Playback,
    segment: Segment,
    rate: int,
    channels: int,
    heard: Callable[[], None],
) -> None:
    """Odd bytes carry over to the next chunk; one resampler per stream, flushed at its end."""
    resampler = rtc.AudioResampler(rate, RATE, num_channels=1) if rate != RATE else None
    carry = b""
    try:
        while True:
            async with asyncio.timeout(_CHUNK_TIMEOUT_S):
                chunk = await anext(reader)
            heard()
            data = carry + chunk
            whole = len(data) - len(data) % (2 * channels)
            carry = data[whole:]
            pcm = to_mono(data[:whole], channels)
            segment.received_s += len(pcm) / rate
            if resampler is None:
                playback.feed(segment, pcm)
                continue
            for frame in resampler.push(bytearray(pcm.tobytes())):
                playback.feed(segment, np.frombuffer(frame.data, np.int16))
    except (StopAsyncIteration, rtc.StreamError, TimeoutError):
        for frame in resampler.flush() if resampler else ():
            playback.feed(segment, np.frombuffer(frame.data, np.int16))


async def listen(track: rtc.RemoteAudioTrack, playback: Playback, heard: Callable[[], None]) -> None:
    """`track`: everything heard is played as it comes; more than 200 ms behind, the oldest is skipped."""
    segment = playback.open(track.sid)
    segment.started = True  # nobody waits for reports about a track
    async for event in rtc.AudioStream.from_track(track=track, sample_rate=RATE, num_channels=1):
        if segment.waiting > _TRACK_BACKLOG:
            segment.take(TICK_SAMPLES)
        playback.feed(segment, np.frombuffer(event.frame.data, np.int16).copy())
        heard()
    segment.complete = True


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0
