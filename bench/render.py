"""`make bench-render`: the cost of frames by format and number of sessions, beside encoding, and how late they are."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import cv2
import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from bench.common import quantile, report
from faces import face as faces
from faces import sound
from faces.hearing import TICK
from faces.neural import NeuralRenderer, NeuralStream
from faces.settings import AssetSettings
from workers.face import RenderedFace
from workers.render_keeper import RenderKeeper
from workers.renderers import FORMATS, RENDERED, Format

SESSIONS = (1, 2, 4, 8, 16)
TICKS = 75
WARM = 10
SECONDS = 12.0


def _speech() -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    from cli.customer import SPEECH

    return sound.read(SPEECH)


def cost(quality: str, count: int, device: str) -> dict[str, float]:
    """Milliseconds of one session's frame, by stage, in a process that does nothing else."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    pcm = _speech()
    renderer = NeuralRenderer(device, threads=os.cpu_count() or 1)
    side = FORMATS[quality].width
    streams: list[NeuralStream] = [renderer.open(faces.stock("av_demo"), side, seed) for seed in range(count)]
    listened: list[float] = []
    heard = renderer._listen

    def timed(*arguments: object) -> object:
        began = time.perf_counter()
        try:
            return heard(*arguments)  # type: ignore[arg-type]
        finally:
            listened.append(time.perf_counter() - began)

    renderer._listen = timed  # type: ignore[assignment, method-assign]
    steps: list[float] = []
    for k in range(WARM + TICKS):
        for i, stream in enumerate(streams):
            at = (k * TICK + i * 7 * TICK) % (len(pcm) - TICK)
            stream.push(pcm[at : at + TICK])
        began = time.perf_counter()
        renderer.step(streams)
        steps.append(time.perf_counter() - began)
    return {
        "frame": 1000 * quantile(steps[WARM:], 0.5) / count,
        "listen": 1000 * quantile(listened[WARM:], 0.5) / count,
        "batch p50": 1000 * quantile(steps[WARM:], 0.5),
        "batch p99": 1000 * quantile(steps[WARM:], 0.99),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


class Encoder:
    """VP8 as WebRTC encodes it: realtime, one thread."""

    def __init__(self, frame: Format) -> None:
        self._width = frame.width
        self._codec = av.CodecContext.create("libvpx", "w")
        self._codec.width, self._codec.height, self._codec.pix_fmt = frame.width, frame.height, "yuv420p"
        self._codec.bit_rate, self._codec.time_base = frame.bitrate, Fraction(1, 25)
        self._codec.options = {"deadline": "realtime", "cpu-used": "8", "threads": "1", "lag-in-frames": "0"}
        self._count = 0

    def __call__(self, drawn: NDArray[np.uint8] | None) -> float:
        """Seconds that it took."""
        if drawn is None:
            return 0.0
        picture = av.VideoFrame.from_ndarray(drawn.reshape(-1, self._width), format="yuv420p")
        picture.pts, picture.time_base = self._count, Fraction(1, 25)
        self._count += 1
        began = time.perf_counter()
        self._codec.encode(picture)
        return time.perf_counter() - began


def encoded(quality: str, count: int, device: str) -> dict[str, float]:
    """Milliseconds of one session's frame that is drawn and encoded, and of encoding alone; all cores do both."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    cores = os.cpu_count() or 1
    pcm, renderer, frame = _speech(), NeuralRenderer(device, threads=cores), FORMATS[quality]
    streams = [renderer.open(faces.stock("av_demo"), frame.width, seed) for seed in range(count)]
    encoders = [Encoder(frame) for _ in streams]
    ticks, alone = [], []
    with ThreadPoolExecutor(cores) as threads:
        for k in range(WARM + TICKS):
            for i, stream in enumerate(streams):
                at = (k * TICK + i * 7 * TICK) % (len(pcm) - TICK)
                stream.push(pcm[at : at + TICK])
            began = time.perf_counter()
            drawn = renderer.step(streams)
            took = list(threads.map(lambda pair: pair[0](pair[1]), zip(encoders, drawn, strict=True)))
            ticks.append(time.perf_counter() - began)
            alone += took if k >= WARM else []
    return {"both": 1000 * quantile(ticks[WARM:], 0.5) / count, "encode": 1000 * quantile(alone, 0.5)}


async def latency(quality: str, count: int) -> dict[str, float]:
    """Sound to frame through the renderer process, by sessions that tick every 40 ms at times of their own."""
    process = RenderKeeper("neural", os.cpu_count() or 2, AssetSettings().assets)
    await process.start()
    pcm = _speech()
    faces_ = [RenderedFace(process.path, "av_demo", None, FORMATS[quality]) for _ in range(count)]
    await asyncio.gather(*(face.open() for face in faces_))
    assert process.pid is not None
    renderer = psutil.Process(process.pid)
    took: list[float] = []
    late = 0

    async def session(i: int, face: RenderedFace, begin: float) -> None:
        nonlocal late
        for k in range(int(SECONDS * 25)):
            due = begin + i * 0.04 / count + k * 0.04
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            at = (k * TICK + i * 7 * TICK) % (len(pcm) - TICK)
            began = time.monotonic()
            await face.show(pcm[at : at + TICK])
            if k >= WARM:
                took.append(time.monotonic() - began)
                late += took[-1] > 0.04

    before, began = sum(renderer.cpu_times()[:2]), time.monotonic()
    await asyncio.gather(*(session(i, face, began + 0.2) for i, face in enumerate(faces_)))
    used = (sum(renderer.cpu_times()[:2]) - before) / (time.monotonic() - began)
    memory = renderer.memory_info().rss / 2**20
    for face in faces_:
        face.close()
    await process.close()
    milliseconds = [1000 * t for t in took]
    return {
        "p50": quantile(milliseconds, 0.5),
        "p99": quantile(milliseconds, 0.99),
        "late": 100 * late / len(took),
        "cores": used,
        "memory": memory,
    }


def _apart(*arguments: str) -> dict[str, float]:
    """One measurement in a process of its own: peak memory is then its own too."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.render", *arguments], capture_output=True, text=True, check=True
    )
    return {name: float(value) for name, value in (line.split("=") for line in done.stdout.split("\n") if "=" in line)}


def main() -> None:
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows = []
    for device in devices:
        for quality in RENDERED:
            for count in SESSIONS:
                one = _apart("--one", quality, str(count), device)
                both = _apart("--encoded", quality, str(count), device)
                rows.append(
                    [
                        device,
                        f"{quality} {FORMATS[quality].width}²",
                        count,
                        f"{1000 / one['frame']:.0f}",
                        f"{1000 / both['both']:.0f}",
                        f"{one['frame']:.2f}",
                        f"{one['listen']:.2f}",
                        f"{one['frame'] - one['listen']:.2f}",
                        f"{one['batch p50']:.1f} / {one['batch p99']:.1f}",
                        f"{one['memory']:.0f}",
                        f"{both['encode']:.2f}",
                    ]
                )
                print(" ".join(str(cell) for cell in rows[-1]), file=sys.stderr)
    notes = [
        "Frames/s are of all sessions together: rendered, and rendered and encoded by the same cores, which is what a"
        " machine can publish. ms are of one session's rendered frame, medians; stages: listening (log-mel, net) and"
        " drawing (all else). Encoding: VP8, realtime, one thread a session. MiB: peak of the process.",
    ]
    for quality, count in (("standard", 8), ("standard", 16), ("lite", 16), ("pro", 8)):
        through = asyncio.run(latency(quality, count))
        notes.append(
            f"Through the renderer process, {count} sessions of `{quality}`, 25 fps, {SECONDS:.0f} s: sound → frame"
            f" p50 {through['p50']:.1f} ms, p99 {through['p99']:.1f} ms beyond the lookahead of 40 ms,"
            f" {through['late']:.2f} % later than a tick; {through['cores']:.2f} cores, {through['memory']:.0f} MiB."
        )
    report(
        "render",
        "Rendering",
        [
            "device",
            "format",
            "sessions",
            "rendered/s",
            "rendered and encoded/s",
            "ms",
            "listen",
            "draw",
            "batch p50 / p99",
            "MiB",
            "encode ms",
        ],
        rows,
        notes,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("--one", "--encoded"):
        parser.add_argument(name, nargs=3, metavar=("QUALITY", "SESSIONS", "DEVICE"))
    chosen = parser.parse_args()
    if chosen.one or chosen.encoded:
        measure = cost if chosen.one else encoded
        quality, sessions, device = chosen.one or chosen.encoded
        for name, value in measure(quality, int(sessions), device).items():
            print(f"{name}={value}")
    else:
        main()
