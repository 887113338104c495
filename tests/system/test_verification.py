"""A session as somebody else has it: seen by another participant, encoded again, cut. `greenroom verify` names it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cli.customer import speech
from tests.cli.test_admin import greenroom
from tests.world import World, eventually

pytestmark = pytest.mark.media

SEEN_S = 16.0
FROM_S, SECONDS = 2.5, 12.0
"""Of what was seen, what the clip has."""


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "all")
    await world.start("worker")
    return world


async def test_what_a_participant_has_recorded_is_known_again(stage: Any, running: World, tmp_path: Path) -> None:
    playing = await stage(keep=True)
    pcm, rate, _ = speech()
    await playing.agent.say(pcm, rate)
    first = playing.watcher.frames[0].at

    async def seen() -> bool:
        return bool(time.monotonic() - first > SEEN_S)

    await eventually(seen, what="some seconds of it")
    await playing.client.post(f"/v1/sessions/{playing.id}/end")
    await playing.ended()
    clip, report = tmp_path / "clip.mp4", tmp_path / "report.json"
    playing.watcher.save_clip(clip, first + FROM_S, SECONDS)
    code, said, complained = await greenroom(running, "verify", str(clip), "--report", str(report))
    assert code == 0, said + complained
    assert said.startswith("ours\n")
    told = json.loads(report.read_bytes())
    (session,) = told["sessions"]
    assert (session["id"], session["account_id"]) == (playing.id, running.account)
    (span,) = session["spans"]
    assert span["session_from"] - span["from"] == pytest.approx(FROM_S, abs=1)
    assert span["to"] - span["from"] > SECONDS - 1
    assert span["ledger"] == "billed"
    assert told["unknown"] == told["breaks"] == []
