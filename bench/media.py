"""What a participant gets: an utterance's first byte → its sound, its frame; an interruption → silence; skew.

A tone of 0.6 s every two seconds, five of them broken off, through the `mock` face, whose meter is white from the tick
on in which there is sound; then speech through a rendered face.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np
from livekit import rtc
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from bench.common import quantile, report, run, world
from cli.customer import Agent, Watcher, speech
from stack.ports import free_ports
from tests.world import World
from workers.renderers import neural_missing

RATE = 24_000
EVERY_S, TONE_S = 2.0, 0.6
INTERRUPTED_AFTER_S = 0.3
_SETTLING = 3
"""Tones that are not counted: the participant's jitter buffer settles."""
_WHITE, _LOUD, _QUIET = 150, 2000, 1000
_LEAST_ROWS = 64
"""LiveKit closes a video with a frame of 8 × 8."""
_WITHIN_S = 1.5
_PIECE = 240
"""Samples, of which a tone of 440 Hz has two waves."""
_OF_A_WORKER = (
    "lk_playback_latency_seconds",
    "greenroom_worker_audio_to_mouth_seconds",
    "greenroom_worker_clear_to_silence_seconds",
)


@dataclass
class Eyes(Watcher):
    """Keeps of each frame how bright the foot of its meter is."""

    bright: list[tuple[float, float]] = field(default_factory=list)

    async def _watch(self, track: rtc.Track) -> None:
        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.I420):
            at, frame = time.monotonic(), event.frame
            if frame.height < _LEAST_ROWS:
                continue
            luma = np.frombuffer(frame.data, np.uint8)[: frame.width * frame.height].reshape(frame.height, frame.width)
            foot = luma[int(frame.height * 0.84) : int(frame.height * 0.89), -frame.width // 16 : -frame.width // 32]
            self.bright.append((at, float(foot.mean())))
            self.first_frame.set()


class Sound:
    """What was heard, on one clock: that of the stream, as the arrivals of about a second say."""

    def __init__(self, heard: Sequence[tuple[float, NDArray[np.int16]]]) -> None:
        lengths = np.array([len(pcm) for _, pcm in heard])
        arrivals, starts = np.array([at for at, _ in heard]), np.cumsum(lengths) - lengths
        origins = arrivals - (starts + lengths) / 48_000
        clocks = np.array([np.median(origins[max(0, n - 50) : n + 50]) for n in range(len(origins))])
        self.pcm = np.abs(np.concatenate([pcm for _, pcm in heard]).astype(np.int32))
        self.at = np.repeat(clocks, lengths) + np.arange(len(self.pcm)) / 48_000

    def begins(self, since: float) -> float | None:
        """The first loud sample within a while."""
        found = np.flatnonzero((self.at > since) & (self.at < since + _WITHIN_S) & (self.pcm > _LOUD))
        return float(self.at[found[0]]) if len(found) else None

    def holes(self, since: float, for_s: float) -> float:
        """Seconds without the tone, in pieces of 5 ms, between its first sample and `for_s` behind it."""
        if (begins := self.begins(since)) is None:
            return for_s
        loud = self.pcm[(self.at >= begins) & (self.at < begins + for_s)] > _QUIET
        pieces = loud[: len(loud) // _PIECE * _PIECE].reshape(-1, _PIECE).any(axis=1)
        return max(0.0, for_s - float(pieces.sum()) * _PIECE / 48_000)

    def ends(self, since: float) -> float:
        """The last sample that is not quiet, within a while."""
        found = np.flatnonzero((self.at > since) & (self.at < since + _WITHIN_S) & (self.pcm > _QUIET))
        return float(self.at[found[-1]]) if len(found) else since


@dataclass
class Found:
    """Seconds, of one or more sessions."""

    to_sound: list[float] = field(default_factory=list)
    to_mouth: list[float] = field(default_factory=list)
    to_silence: list[float] = field(default_factory=list)
    skew: list[float] = field(default_factory=list)
    """Of the frame behind the sound."""
    holes: list[float] = field(default_factory=list)
    """In tones that nobody broke off: of a source that had nothing to give, and of a network."""

    def take(
        self,
        sound: Sound,
        bright: Sequence[tuple[float, float]],
        said: Sequence[float],
        broken: Sequence[tuple[float, float]],
    ) -> None:
        for began in said[_SETTLING:]:
            heard = sound.begins(began)
            seen = next((at for at, light in bright if began < at < began + _WITHIN_S and light > _WHITE), None)
            self.to_sound += [heard - began] if heard is not None else []
            self.to_mouth += [seen - began] if seen is not None else []
            self.skew += [seen - heard] if heard is not None and seen is not None else []
            if bright and began not in dict(broken):
                self.holes.append(sound.holes(began, TONE_S - 0.02))
        for began, cleared in broken:
            heard = sound.begins(began)
            if heard is not None and heard < cleared:  # else there was nothing yet to be silenced
                self.to_silence.append(sound.ends(cleared) - cleared)


def tone() -> bytes:
    at = np.arange(int(RATE * TONE_S)) / RATE
    return (9000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16).tobytes()


async def talk(system: World, client: httpx.AsyncClient, quality: str, seconds: float, clears: int) -> Found:
    room, agent, watcher = f"bench-{secrets.token_hex(4)}", Agent(), Eyes()
    await asyncio.gather(agent.join(system.livekit, room), watcher.join(system.livekit, room))
    session = await system.create(client, room, quality=quality, idle_timeout_seconds=120)
    async with asyncio.timeout(60):
        await watcher.first_frame.wait()
    await system.until(client, session["id"], "running")
    pcm, rate = (tone(), RATE) if quality == "mock" else _vowel()
    count = int(seconds / EVERY_S)
    interrupted = {round((n + 1) * count / (clears + 1)) for n in range(clears)}
    said, broken = list[float](), list[tuple[float, float]]()
    began = time.monotonic()
    for n in range(count):
        await asyncio.sleep(max(0.0, began + n * EVERY_S - time.monotonic()))
        said.append(time.monotonic())
        await agent.say(pcm, rate)
        if n in interrupted:
            await asyncio.sleep(max(0.0, said[-1] + INTERRUPTED_AFTER_S - time.monotonic()))
            broken.append((said[-1], time.monotonic()))
            await agent.interrupt()
    await asyncio.sleep(EVERY_S)
    await client.post(f"/v1/sessions/{session['id']}/end")
    await system.until(client, session["id"], "ended")
    await asyncio.gather(agent.leave(), watcher.leave())
    found = Found()
    # lips have no first bright frame: make judge-avatar looks at them
    found.take(Sound(watcher.sound), watcher.bright if quality == "mock" else [], said, broken)
    return found


def _vowel() -> tuple[bytes, int]:
    """From the middle of a word on, where it is loud from the first sample."""
    pcm, rate, _ = speech()
    samples = np.frombuffer(pcm, np.int16)
    loud = int(np.flatnonzero(np.abs(samples) > 3 * _LOUD)[0])
    return samples[loud : loud + int(rate * TONE_S)].tobytes(), rate


async def of_the_worker(port: int) -> dict[str, tuple[float, int]]:
    """Metric → (sum, count), as /metrics of the worker has them."""
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    samples = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    return {name: (samples[f"{name}_sum"], int(samples[f"{name}_count"])) for name in _OF_A_WORKER}


def rows_of(quality: str, found: Found) -> list[tuple[object, ...]]:
    measures = {
        "first byte sent → its sound heard": found.to_sound,
        "first byte sent → its frame seen": found.to_mouth,
        "interruption sent → silence heard": found.to_silence,
        "frame behind its sound": found.skew,
        "missing of a tone": found.holes,
    }
    return [
        (quality, name, len(values), *(f"{quantile(values, q) * 1000:.0f}" for q in (0.5, 0.95, 0.99)))
        for name, values in measures.items()
        if values
    ]


async def main(sessions: int, seconds: float, clears: int) -> None:
    (port,) = free_ports(1)
    qualities = ["mock"] * sessions + ([] if neural_missing() else ["standard"])
    rows, skews = list[tuple[object, ...]](), list[list[float]]()
    founds, inside = dict[str, Found](), dict[str, dict[str, tuple[float, int]]]()
    async with world() as system:
        await system.start("api", "all")
        await system.start("worker", GREENROOM_WORKER_RENDERER="neural", GREENROOM_WORKER_METRICS_PORT=str(port))
        async with system.client() as client:
            before = dict.fromkeys(_OF_A_WORKER, (0.0, 0))
            for n, quality in enumerate(qualities):
                one = await talk(system, client, quality, seconds, clears)
                print(f"  session {n + 1} of {len(qualities)}, {quality}: {rows_of(quality, one)}", flush=True)
                whole = founds.setdefault(quality, Found())
                skews += [one.skew] if one.skew else []
                for name, values in vars(one).items():
                    getattr(whole, name).extend(values)
                if quality not in qualities[n + 1 :]:
                    now = await of_the_worker(port)
                    inside[quality] = {m: (now[m][0] - before[m][0], now[m][1] - before[m][1]) for m in now}
                    before = now
    for quality, found in founds.items():
        rows += rows_of(quality, found)
        for name, (total, count) in inside[quality].items():
            if count:
                rows.append((quality, f"`{name}`, mean", count, f"{total / count * 1000:.0f}", "", ""))
    mock = founds["mock"]
    absolute = [abs(each) for each in mock.skew]
    medians = ", ".join(f"{statistics.median(each) * 1000:+.0f}" for each in skews)
    report(
        "media",
        "What a participant hears and sees",
        ("quality", "ms", "times", "p50", "p95", "p99"),
        rows,
        (
            f"{sessions} sessions of {seconds:.0f} s through `mock`, one through `standard`; an utterance every two"
            f" seconds, {clears} of each session broken off after {INTERRUPTED_AFTER_S} s. The first {_SETTLING} are"
            " not counted.",
            f"Skew: median {statistics.median(mock.skew) * 1000:+.0f} ms (aim ±20), p95 of its size"
            f" {quantile(absolute, 0.95) * 1000:.0f} ms (aim 40); a frame is there for 40 ms. Medians of the sessions:"
            f" {medians}. A participant whose machine is busy buffers more sound, and none of the picture.",
            f"Load average at the end: {os.getloadavg()[1]:.1f}.",
            "Sent and seen by clients on the same machine: network, both ways, and decoders are in it. `interruption →"
            " silence` is to the last sample above 3 % of full scale, so it has the participant's jitter buffer in it.",
            "What has a metric's name is the worker's own: from a byte that it has, to what it gives to the room.",
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clears", type=int, default=5)
    asked = parser.parse_args()
    run(main(asked.sessions, asked.seconds, asked.clears))
