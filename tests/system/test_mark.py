"""A session is recorded by a participant, encoded again and cut: what is left of the mark names it and its seconds."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import av
import cv2
import numpy as np
import psutil
import pytest
import pytest_asyncio

from cli.customer import SeenFrame
from faces.mark.appearances import appearances
from faces.mark.detect import Detector
from faces.mark.keys import MarkKeyring
from faces.mark.samples import Sampler, Step, windows
from schemas.events import EventMark, SessionFirstFrame
from tests.world import World, eventually

pytestmark = pytest.mark.media

_RECORDED_S, _CUT_S = 14, 3


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "all", "worker")
    return world


def encoded(frames: list[SeenFrame]) -> bytes:
    """H.264, each frame when it was seen."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "23", "preset": "veryfast"})
        assert frames[0].image is not None
        stream.height, stream.width = frames[0].image.shape[:2]
        stream.pix_fmt = "yuv420p"
        last = -1
        for seen in frames:
            shown = av.VideoFrame.from_ndarray(seen.image, format="rgb24").reformat(format="yuv420p")
            last = max(last + 1, round((seen.at - frames[0].at) * 25))
            shown.pts = last
            container.mux(stream.encode(shown))
        container.mux(stream.encode(None))
    return file.getvalue()


def sampled(file: bytes) -> list[Step]:
    sampler, found = Sampler(), list[Step | None]()
    with av.open(io.BytesIO(file), "r") as container:
        for frame in container.decode(video=0):
            rows, columns = frame.height, frame.width
            planes = np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8)[rows:]
            found.append(sampler.add(float(frame.time or 0.0), planes.reshape(2, rows // 2, columns // 2)))
    return [step for step in [*found, sampler.end()] if step is not None]


async def first_frames(world: World, session_id: str) -> list[SessionFirstFrame]:
    return [x.data for x, _ in await world.log(session_id) if isinstance(x.data, SessionFirstFrame)]


async def test_a_recording_names_its_session_and_its_seconds(stage: Any, running: World) -> None:
    playing = await stage(keep=True)
    began = playing.watcher.frames[0].at

    async def long_enough() -> bool:
        return bool(playing.watcher.frames[-1].at - began > _RECORDED_S)

    await eventually(long_enough, timeout_s=60)
    cut = [seen for seen in playing.watcher.frames if seen.at - began >= _CUT_S and seen.image.shape == (256, 256, 3)]
    key = MarkKeyring(running.env["GREENROOM_MARK_KEYS"]).current
    cv2.setNumThreads(1)
    detector = Detector([key], searches=0)
    looks = [await asyncio.to_thread(detector.look, window) for window in windows(sampled(encoded(cut)))]
    (shown,) = appearances(finding for look in looks for finding in look.findings)
    (said,) = await first_frames(running, playing.id)
    assert said.mark == EventMark(key.key_id, f"{key.tag(playing.id):010x}", 0)
    assert f"{shown.tag:010x}" == said.mark.tag
    assert shown.spans[0].second - shown.spans[0].from_s == pytest.approx(cut[0].at - began, abs=1)


async def test_the_next_attempt_counts_on(stage: Any, running: World) -> None:
    playing = await stage()
    children = psutil.Process(running.processes["worker"].pid).children()
    (busy,) = [c for c in children if "workers.session_process" in c.cmdline() and c.net_connections("inet")]
    busy.kill()

    async def both() -> bool:
        return len(await first_frames(running, playing.id)) == 2

    await eventually(both, timeout_s=60)
    one, then = await first_frames(running, playing.id)
    times = [x.time_ms for x, _ in await running.log(playing.id) if isinstance(x.data, SessionFirstFrame)]
    assert one.mark is not None
    assert then.mark is not None
    assert then.mark.tag == one.mark.tag
    assert then.mark.frame / 25 == pytest.approx((times[1] - times[0]) / 1000, abs=1)
