"""How much later than its sound a participant sees a picture.

The judge is a process of its own, which goes before others: a customer's machine is no part of the one that is judged,
and a participant that is kept waiting buffers sound.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson

from bench.common import quantile
from bench.watching import go_first
from cli.customer import AVATAR, LiveKitProject, Watcher
from tests.system.test_speaking import judge, windows

TONE_S, PAUSE_S, TONES, RATE = 0.4, 0.8, 8, 16_000
_READY_S, _STATS_S = 60.0, 10.0

Say = Callable[[bytes, int, float], Coroutine[None, None, None]]
"""PCM16 mono, its rate, and within how many seconds its end has to be reported."""


@dataclass(frozen=True)
class Lips:
    """`late_ms`: how much later the picture comes than the sound; not a number where the picture stands still.
    `buffered_ms`: how much longer the participant that says so kept the sound than the picture, in its own buffers."""

    late_ms: float
    buffered_ms: float


async def lips(project: LiveKitProject, room: str, quality: str, say: Say) -> Lips:
    """The median over beginnings of tones, or over pieces of a speech. It is said twice in one utterance, of which the
    first half is not counted: it comes in one burst, agent and LiveKit are on this machine, too, and the judge's own
    buffers fill at that and settle within some seconds."""
    pcm, rate, seconds = said(quality)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.lips", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def answer() -> Any:
        async with asyncio.timeout(_READY_S):
            return orjson.loads(await process.stdout.readline())  # type: ignore[union-attr]

    try:
        process.stdin.write(orjson.dumps([project.url, project.token(room, "judge"), quality]) + b"\n")
        await answer()  # it sees
        async with asyncio.TaskGroup() as speaking:
            speaking.create_task(say(2 * pcm, rate, 2 * seconds + 30))
            await asyncio.sleep(seconds)
            process.stdin.write(b"now\n")
            await answer()
        process.stdin.write(b"over\n")
        found = await answer()
        return Lips(float("nan") if found["late_ms"] is None else found["late_ms"], found["buffered_ms"])
    finally:
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def said(quality: str) -> tuple[bytes, int, float]:
    """What a face of this quality says to be judged: PCM16 mono, its rate, seconds."""
    return (tones(), RATE, TONES * (TONE_S + PAUSE_S)) if quality == "mock" else judge()


def tones() -> bytes:
    """Silence and a tone, in turn: each beginning is seen in the face of `mock`, and heard."""
    silent, loud = np.zeros(int(PAUSE_S * RATE)), np.sin(2 * np.pi * 440 * np.arange(int(TONE_S * RATE)) / RATE)
    return np.tile(np.concatenate([silent, 12_000 * loud]), TONES).astype(np.int16).tobytes()


def begins(times: list[float], levels: list[float]) -> list[float]:
    """When the level rises over half of its most."""
    half = max(levels, default=0.0) / 2
    return [at for at, before, now in zip(times[1:], levels, levels[1:], strict=False) if before < half <= now]


def meter(image: Any) -> float:
    """How full the meter of `mock` is."""
    height, width = image.shape[:2]
    column = image[int(height * 0.1) : int(height * 0.9), width - width * 9 // 160 : width - width * 6 // 160]
    return float((column.mean(axis=(1, 2)) > 150).mean())


def late(watcher: Watcher, quality: str, since: float) -> list[float]:
    """ms, for each tone that began or each piece of the speech."""
    if quality != "mock":
        return [window.late_ms for window in windows(watcher, since, said(quality)[2])]
    seen = begins([f.at for f in watcher.frames], [meter(f.image) for f in watcher.frames])
    heard = begins([at for at, _ in watcher.sound], [float(np.abs(s).max()) for _, s in watcher.sound])
    nearest = [min(seen, key=lambda at: abs(at - began), default=np.inf) - began for began in heard]
    return [1000 * each for each in nearest if abs(each) < PAUSE_S / 2]


@dataclass(frozen=True)
class Kept:
    """By a participant's buffer: seconds in all, of how many samples or frames."""

    seconds: float
    count: int

    def each_ms(self, before: Kept) -> float:
        return 1000 * (self.seconds - before.seconds) / max(1, self.count - before.count)


async def buffers(watcher: Watcher) -> dict[str, Kept]:
    """Of "audio" and "video" that come from the avatar, as WebRTC counts them."""
    found = {}
    for publication in watcher.room.remote_participants[AVATAR].track_publications.values():
        assert publication.track is not None
        async with asyncio.timeout(_STATS_S):
            stats = await publication.track.get_stats()
        for each in stats:
            if each.HasField("inbound_rtp"):
                counted = each.inbound_rtp.inbound
                kept = Kept(counted.jitter_buffer_delay, counted.jitter_buffer_emitted_count)
                found[each.inbound_rtp.stream.kind] = kept
    return found


async def main() -> None:
    """The judge: its questions come line by line, and each is answered by a line."""

    def answer(said: object) -> None:
        sys.stdout.buffer.write(orjson.dumps(said) + b"\n")
        sys.stdout.buffer.flush()

    url, token, quality = orjson.loads(await asyncio.to_thread(sys.stdin.readline))
    watcher = Watcher(keep=True)
    await watcher.enter(url, token)
    async with asyncio.timeout(_READY_S):
        await watcher.first_frame.wait()
    answer("sees")
    await asyncio.to_thread(sys.stdin.readline)
    before, since = await buffers(watcher), time.monotonic()
    watcher.frames.clear()
    watcher.sound.clear()
    answer("counts")
    await asyncio.to_thread(sys.stdin.readline)
    after = await buffers(watcher)
    await watcher.leave()
    found = late(watcher, quality, since)
    longer = after["audio"].each_ms(before["audio"]) - after["video"].each_ms(before["video"])
    answer(asdict(Lips(quantile(found, 0.5) if found else float("nan"), longer)))  # JSON has no nan: it is null there


if __name__ == "__main__":
    go_first()
    asyncio.run(main())
