"""The renderer process, real: its socket, its ring, its death."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from itertools import combinations
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio

from cli.customer import SPEECH
from faces import measure, sound
from faces.assets import Assets
from faces.face import stock
from faces.fit import fit
from schemas.moods import Mood
from tests import portraits
from tests.world import eventually
from workers.face import FaceUnloadable, RenderedFace, RendererLost
from workers.frames import Clear, Drawn, Push
from workers.playback import TICK_SAMPLES
from workers.render_keeper import RenderKeeper
from workers.renderers import FORMATS, PORTRAIT

pytestmark = pytest.mark.processes

LITE = FORMATS["lite"]
SILENCE = np.zeros(TICK_SAMPLES, np.int16)


@pytest_asyncio.fixture(scope="module")
async def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("assets")


@pytest_asyncio.fixture(scope="module")
async def renderer(assets: Path) -> AsyncIterator[RenderKeeper]:
    process = RenderKeeper("neural", 0, assets)
    assert await process.start() == "cpu"
    yield process
    await process.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where much else runs, torch alone takes longer to import than a session would wait."""
    monkeypatch.setattr("workers.face._OPEN_TIMEOUT_S", 90.0)


def face_of(renderer: RenderKeeper, avatar_id: str = "av_demo", asset: str | None = None) -> RenderedFace:
    return RenderedFace(renderer.path, avatar_id, asset, LITE)


async def test_sessions_share_it_and_keep_apart(renderer: RenderKeeper) -> None:
    """One speaks, one is silent; both get their own frames, in order, with the promised lookahead."""
    speech = sound.read(SPEECH)
    one, other = face_of(renderer), face_of(renderer, "av_stock_001")
    await asyncio.gather(one.open(), other.open())
    assert one.lookahead == 1
    spoken, quiet = [], []
    for k in range(60):
        pcm = speech[k * TICK_SAMPLES : (k + 1) * TICK_SAMPLES]
        a, b = await asyncio.gather(one.show(pcm), other.show(SILENCE))
        spoken.append(measure.gap(np.frombuffer(a, np.uint8), 256, stock("av_demo").landmarks))
        quiet.append(measure.gap(np.frombuffer(b, np.uint8), 256, stock("av_stock_001").landmarks))
    assert max(spoken) > 0.15
    assert max(quiet) < 0.02
    one.clear()
    assert measure.gap(np.frombuffer(await one.show(SILENCE), np.uint8), 256, stock("av_demo").landmarks) < 0.02
    one.close()
    other.close()


async def test_a_built_face_comes_from_the_assets(renderer: RenderKeeper, assets: Path) -> None:
    built = fit(np.asarray(portraits.drawn("av_demo", 400)))
    name = Assets(assets).put(built.to_bytes("av_1"))
    face = face_of(renderer, "av_1", name)
    await face.open()
    assert len(await face.show(SILENCE)) == 256 * 256 * 3 // 2
    face.close()


async def test_a_face_of_another_shape_has_its_frames_and_no_others(renderer: RenderKeeper, assets: Path) -> None:
    built = fit(np.asarray(portraits.hopper()), shape="portrait")
    name = Assets(assets).put(built.to_bytes("av_4"))
    frame = PORTRAIT["lite"]
    face = RenderedFace(renderer.path, "av_4", name, frame)
    await face.open()
    assert len(await face.show(SILENCE)) == frame.width * frame.height * 3 // 2
    face.close()
    with pytest.raises(FaceUnloadable, match="256 × 256"):
        await face_of(renderer, "av_4", name).open()
    with pytest.raises(FaceUnloadable, match="288 × 512"):
        await RenderedFace(renderer.path, "av_demo", None, frame).open()


@pytest.mark.parametrize("asset", ["0" * 64, "../../etc/passwd", None], ids=["missing", "no name", "no such stock"])
async def test_a_face_that_is_not_there_is_told(renderer: RenderKeeper, asset: str | None) -> None:
    with pytest.raises(FaceUnloadable):
        await face_of(renderer, "av_unknown", asset).open()


async def test_a_damaged_asset_is_told(renderer: RenderKeeper, assets: Path) -> None:
    name = Assets(assets).put(b"not a face")
    with pytest.raises(FaceUnloadable):
        await face_of(renderer, "av_2", name).open()
    path = assets / name[:2] / name
    path.write_bytes(b"changed")
    with pytest.raises(FaceUnloadable, match="damaged"):
        await face_of(renderer, "av_2", name).open()


async def test_a_face_that_cannot_be_drawn_is_told_at_once(renderer: RenderKeeper, assets: Path) -> None:
    """It is a face file, and opening it fails: an answer, not a session that asks again every 0.2 s."""
    name = Assets(assets).put(portraits.undrawable().to_bytes("av_3"))
    good = face_of(renderer)
    await good.open()
    with pytest.raises(FaceUnloadable, match="cannot be drawn"):
        await face_of(renderer, "av_3", name).open()
    assert len(await good.show(SILENCE)) == 256 * 256 * 3 // 2
    good.close()


async def test_a_broken_connection_harms_nobody_else(renderer: RenderKeeper) -> None:
    good = face_of(renderer)
    await good.open()
    for junk in (b"", b"garbage without a handle", b"\xff" * 5000):
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end.connect(str(renderer.path))
        if junk:
            end.send(junk)
        end.close()
    for _ in range(5):
        assert len(await good.show(SILENCE)) == 256 * 256 * 3 // 2
    assert not good.lost
    good.close()


async def test_the_socket_is_its_owners_alone(renderer: RenderKeeper) -> None:
    assert renderer.path.parent.stat().st_mode & 0o077 == 0


async def test_killed_it_is_started_again_and_the_face_comes_back(
    renderer: RenderKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.face.RENDERER_LOST_S", 90.0)
    face = face_of(renderer)
    await face.open()
    await face.show(SILENCE)
    assert renderer.pid is not None
    os.kill(renderer.pid, signal.SIGKILL)
    lost = False
    deadline = time.monotonic() + 90
    while not lost or face.lost:
        began = time.monotonic()
        assert len(await face.show(SILENCE)) == 256 * 256 * 3 // 2
        assert time.monotonic() - began < 5  # never holds the session up for long
        lost = lost or face.lost
        assert time.monotonic() < deadline
        await asyncio.sleep(0.04)
    assert len(await face.show(SILENCE)) == 256 * 256 * 3 // 2
    face.close()


async def test_hanging_it_is_killed_and_started_again(renderer: RenderKeeper) -> None:
    stopped = renderer.pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)

    async def replaced() -> bool:
        return renderer.pid != stopped and not psutil.pid_exists(stopped)

    await eventually(replaced)
    face = face_of(renderer)
    await face.open()
    assert len(await face.show(SILENCE)) == 256 * 256 * 3 // 2
    face.close()


async def answers(face: RenderedFace, until: int) -> list[Drawn]:
    """What the renderer says up to the answer to push `until`, however late."""
    assert face._pipe is not None
    said: list[Drawn] = []
    async with asyncio.timeout(10):
        while not said or said[-1].number < until:
            answer = await face._pipe.receive()
            assert isinstance(answer, Drawn)
            said.append(answer)
    return said


def frame_of(face: RenderedFace, answer: Drawn) -> bytes:
    assert face._ring is not None
    assert answer.slot is not None
    return face._ring.read(answer.slot)


async def test_who_is_behind_gets_the_latest_frame(renderer: RenderKeeper) -> None:
    """Thirty ticks at once: all are heard, few are drawn, and the last shows the mouth of the last."""
    speech = sound.read(SPEECH)[20 * TICK_SAMPLES :]
    pushes = [Push(k + 1, speech[k * TICK_SAMPLES : (k + 1) * TICK_SAMPLES].tobytes()) for k in range(30)]
    steady, bursts = face_of(renderer), face_of(renderer)
    bursts._wanted = steady._wanted  # one seed: a head that nods otherwise shows another gap
    await asyncio.gather(steady.open(), bursts.open())
    assert steady._pipe is not None
    assert bursts._pipe is not None
    for push in pushes:
        steady._pipe.send(push)
        (answer,) = await answers(steady, push.number)
    last = frame_of(steady, answer)
    for push in pushes:
        bursts._pipe.send(push)
    said = await answers(bursts, 30)
    assert len(said) < 15
    frame = frame_of(bursts, said[-1])
    marks = stock("av_demo").landmarks
    one, other = (measure.gap(np.frombuffer(f, np.uint8), 256, marks) for f in (last, frame))
    assert one == pytest.approx(other, abs=0.06)
    steady.close()
    bursts.close()


async def test_a_face_looks_as_it_is_cued(renderer: RenderKeeper) -> None:
    """One seed, silence, three moods: the corners of the mouth are what differs. Told before it is open, too."""
    seen = {}
    moods: tuple[Mood, ...] = ("neutral", "cheerful", "concerned")
    for mood in moods:
        face = RenderedFace(renderer.path, "av_demo", None, LITE, seed=5)
        face.cue(mood, listening=False)
        await face.open()
        for _ in range(60):
            seen[mood] = np.frombuffer(await face.show(SILENCE), np.uint8)[: 256 * 256].reshape(256, 256)
        face.close()
    marks = stock("av_demo").landmarks
    row, columns = round(marks.mouth_centre.y * 256), (marks.mouth_left.x * 256, marks.mouth_right.x * 256)
    mouth = np.s_[row - 14 : row + 14, round(columns[0]) - 8 : round(columns[1]) + 8]
    for one, other in combinations(moods, 2):
        assert np.abs(seen[one][mouth].astype(int) - seen[other][mouth]).max() > 40


async def test_a_cleared_push_leaves_nothing_to_do(renderer: RenderKeeper) -> None:
    face = face_of(renderer)
    await face.open()
    assert face._pipe is not None
    assert renderer.pid is not None
    process = psutil.Process(renderer.pid)
    face._pipe.send(Push(1, SILENCE.tobytes()))
    face._pipe.send(Clear())  # read in one go with the push

    async def at_rest() -> bool:
        """Opening the face takes its time of the CPU, too; a loop without an end would never come to rest."""
        before, until = sum(process.cpu_times()[:2]), time.monotonic() + 1
        while time.monotonic() < until:
            await asyncio.sleep(0.1)
        return bool(sum(process.cpu_times()[:2]) - before < 0.05)

    await eventually(at_rest)
    assert len(await face.show(SILENCE)) == 256 * 256 * 3 // 2
    face.close()


async def test_gone_for_good_it_ends_the_session_in_time(assets: Path) -> None:
    process = RenderKeeper("neural", 0, assets)
    await process.start()
    pid = process.pid
    assert pid is not None
    face = face_of(process)
    await face.open()
    await process.close()
    assert not psutil.pid_exists(pid)
    assert not process.path.parent.exists()
    began = time.monotonic()

    async def go_on() -> None:
        while time.monotonic() < began + 20:
            await face.show(SILENCE)
            await asyncio.sleep(0.04)

    with pytest.raises(RendererLost):
        await go_on()
    assert time.monotonic() - began > 4.5
    face.close()


async def test_a_face_gone_while_the_renderer_restarts_is_asked_for_once(
    assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal is no reason to ask again every 0.2 s: the session ends as it does without a renderer."""
    monkeypatch.setenv("GREENROOM_ASSETS", str(assets))
    process = RenderKeeper("neural", 0, assets)
    await process.start()
    name = Assets(assets).put(fit(np.asarray(portraits.drawn("av_demo", 400))).to_bytes("av_4"))
    face = face_of(process, "av_4", name)
    await face.open()
    Assets(assets).remove(name)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    while not face.lost:
        await face.show(SILENCE)

    async def refused() -> bool:
        return face._reopening is not None and face._reopening.done()

    await eventually(refused, timeout_s=90, what="the one refusal")
    assert face.lost
    face.close()
    await process.close()
