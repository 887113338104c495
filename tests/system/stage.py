"""A session that plays in a room, for the tests of whole sessions."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest_asyncio

from cli.customer import Agent, Watcher
from projections import audit
from schemas.events import SessionEnded
from store.database import pool
from tests.world import World

FINISHED, STARTED = "lk.playback_finished", "lk.playback_started"


@dataclass
class Stage:
    """A session that plays, and who is in its room."""

    world: World
    client: httpx.AsyncClient
    room: str
    session: dict[str, Any]
    agent: Agent
    watcher: Watcher

    @property
    def id(self) -> str:
        return str(self.session["id"])

    async def ended(self, *statuses: str, timeout_s: float = 90) -> dict[str, Any]:
        return await self.world.until(self.client, self.id, *(statuses or ("ended",)), timeout_s=timeout_s)

    async def end_reason(self) -> str:
        ends = [x.data for x, _ in await self.world.log(self.id) if isinstance(x.data, SessionEnded)]
        assert len(ends) == 1
        return ends[0].reason


@pytest_asyncio.fixture
async def stage(running: World) -> AsyncIterator[Any]:
    opened: list[Stage] = []

    async def begin(**changes: Any) -> Stage:
        room = f"room-{secrets.token_hex(4)}"
        client = running.client(changes.pop("key", None))
        grants = {"can_update_own_metadata": True} if changes.pop("granted", False) else {}
        token = running.livekit.token(room, "avatar", behalf=changes.pop("behalf", "agent"), **grants)
        changes["transport"] = {"worker_token": token, **changes.get("transport", {})}
        agent, watcher = Agent(), Watcher(keep=changes.pop("keep", False))
        await asyncio.gather(agent.join(running.livekit, room), watcher.join(running.livekit, room))
        session = await running.create(client, room, **changes)
        made = Stage(running, client, room, session, agent, watcher)
        opened.append(made)
        async with asyncio.timeout(90):
            await watcher.first_frame.wait()
        await running.until(client, made.id, "running", "ending")
        return made

    yield begin
    for made in opened:
        await made.client.post(f"/v1/sessions/{made.id}/end")
        await running.until(made.client, made.id, "ended", "failed", "canceled")
        await asyncio.gather(made.agent.leave(), made.watcher.leave())
        await made.client.aclose()


async def audit_holds(world: World) -> None:
    async with pool(world.database_url, 1) as connections:
        verdict = await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)
    assert verdict.equal, verdict.differences
