"""livekit-plugins-protoface as it is on PyPI, with only its base URL changed: an agent of livekit-agents speaks through
its avatar in a real room, where somebody else sees and hears it."""

from __future__ import annotations

import asyncio
import re
import secrets
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from cli.customer import AGENT, Watcher, speech
from tests.clients.drive import Drive, started
from tests.world import World, eventually

pytestmark = pytest.mark.media

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "fall-back-to-plain-audio.md"
SAID_S = 2.0
LOUD = 3000


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "all")
    await world.start("worker", GREENROOM_WORKER_RENDERER="neural")  # the plugin asks for no quality: `standard`
    return world


@pytest.fixture
def sentence(tmp_path: Path) -> Path:
    pcm, rate, _ = speech()
    path = tmp_path / "speech.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", ""))
        sound.writeframes(pcm[: int(rate * SAID_S) * 2])
    return path


@pytest_asyncio.fixture
async def room(running: World) -> AsyncIterator[tuple[str, Watcher]]:
    name, watcher = f"room-{secrets.token_hex(4)}", Watcher()
    await watcher.join(running.livekit, name)
    yield name, watcher
    await watcher.leave()


@pytest_asyncio.fixture
async def agent(python: Path, running: World, room: tuple[str, Watcher]) -> AsyncIterator[Drive]:
    project, (name, _) = running.livekit, room
    async with started(
        python,
        "agent.py",
        api_url=running.api_url,
        api_key=running.key,
        livekit_url=project.url,
        livekit_api_key=project.key,
        livekit_api_secret=project.secret,
        token=project.token(name, AGENT),
    ) as drive:
        yield drive


def loudest(watcher: Watcher, since: int = 0) -> int:
    return max((int(np.abs(pcm.astype(np.int32)).max()) for _, pcm in watcher.sound[since:]), default=0)


async def test_an_agent_speaks_through_its_avatar(
    running: World, room: tuple[str, Watcher], agent: Drive, sentence: Path
) -> None:
    _, watcher = room
    joined = await agent.call("start")
    async with asyncio.timeout(60):
        await watcher.first_frame.wait()

    spoken = await agent.call("say", path=str(sentence))
    assert (round(spoken["position_s"], 1), spoken["interrupted"]) == (SAID_S, False)
    assert "speaking" in spoken["states"]
    assert loudest(watcher) > LOUD

    broken_off = await agent.call("say", path=str(sentence), interrupt_after_s=0.8)
    assert broken_off["interrupted"]
    assert 0.1 < broken_off["position_s"] < SAID_S

    async with running.client() as client:
        assert (await running.status(client, joined["session_id"]))["status"] == "running"
        await agent.call("close")
        ended = await running.until(client, joined["session_id"], "ended")
    assert ended["transport"]["worker_identity"] == joined["avatar"]
    assert ended["avatar_id"] == "av_stock_001"
    assert ended["usage"]["frames"] > 25 * SAID_S


async def test_an_agent_speaks_on_without_its_face(
    running: World, room: tuple[str, Watcher], agent: Drive, sentence: Path, tmp_path: Path
) -> None:
    """The page's program: through a track of its own once the avatar has left, which has told how far it came."""
    _, watcher = room
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert program is not None
    (file := tmp_path / "keep_speaking.py").write_text(program[1])
    joined = await agent.call("start")
    await agent.call("keep_speaking", path=str(file))

    speaking = asyncio.create_task(agent.call("say", path=str(sentence)))

    async def heard() -> bool:
        return loudest(watcher) > LOUD

    await eventually(heard)
    async with running.client() as client:
        await client.post(f"/v1/sessions/{joined['session_id']}/end")
        cut_off = await speaking
        await running.until(client, joined["session_id"], "ended")
    assert cut_off["interrupted"]
    assert 0 < cut_off["position_s"] < SAID_S

    async def gone() -> bool:
        return joined["avatar"] not in watcher.room.remote_participants

    await eventually(gone)
    before = len(watcher.sound)
    plain = await agent.call("say", path=str(sentence))
    assert (round(plain["position_s"], 1), plain["interrupted"]) == (SAID_S, False)
    assert loudest(watcher, before) > LOUD
    broken_off = await agent.call("say", path=str(sentence), interrupt_after_s=0.8)
    assert broken_off["interrupted"]
    assert 0.1 < broken_off["position_s"] < SAID_S
