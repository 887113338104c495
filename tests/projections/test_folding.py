"""Projections on real servers: killed at any moment they lose and double nothing; a replay restores the same rows."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from events.codec import Event, new_event
from events.fold import Evolved
from events.producer import EventProducer
from events.session_state import State
from events.sessions import evolve
from events.topics import SESSIONS
from projections import audit
from projections.checkpoints import Fenced, Step, advance, bind
from schemas.events import SessionEvent
from schemas.usage import UsageEntry
from store.database import pool
from tests.builders import life, session_id
from tests.world import World, eventually

pytestmark = pytest.mark.servers


async def produce(world: World, sessions: list[list[SessionEvent]], pause_s: float = 0.0) -> None:
    """All sessions interleaved, each in its own order."""
    queues = [list(events) for events in sessions]
    pick = random.Random(7)
    async with EventProducer(world.settings, linger_ms=2) as producer:
        pending = []
        while queues:
            queue = pick.choice(queues)
            data = queue.pop(0)
            pending.append(await producer.enqueue(SESSIONS, new_event(data, source="tests", subject=data.session_id)))
            if not queue:
                queues.remove(queue)
            if pause_s and len(pending) % 50 == 0:
                await asyncio.sleep(pause_s)
        await asyncio.gather(*pending)


async def truth(world: World) -> tuple[dict[str, State], list[UsageEntry]]:
    """What the log says, by the fold alone."""
    states: dict[str, State] = {}
    usage = []
    for event, append_ms in await world.log():
        outcome = evolve(states.get(event.subject), event, append_ms)
        if isinstance(outcome, Evolved):
            states[event.subject] = outcome.state
            usage += [outcome.usage] if outcome.usage else []
    return states, usage


async def caught_up(world: World, name: str) -> None:
    total = len(await world.records(SESSIONS))

    async def probe() -> bool:
        rows = await world.sql("SELECT coalesce(sum(next_offset), 0) FROM checkpoints WHERE name = %s", name)
        return bool(rows[0][0] >= total)

    await eventually(probe, 90, f"{name} at the end of the log")


async def rows(world: World) -> tuple[list[Any], list[Any], list[Any]]:
    sessions = await world.sql("SELECT * FROM r.sessions ORDER BY session_id")
    usage = await world.sql('SELECT * FROM r.usage_events ORDER BY partition, "offset"')
    history = await world.sql("SELECT * FROM r.session_events ORDER BY session_id, seq")
    history += await world.sql("SELECT * FROM r.attempts ORDER BY session_id, attempt")
    return sessions, usage, history


async def check(world: World) -> tuple[list[Any], list[Any], list[Any]]:
    """Rows are exactly what the fold makes of the log (I2), and the audit says so."""
    states, usage = await truth(world)
    found_sessions, found_usage, history = await rows(world)
    shown = {sid: s for sid, s in states.items() if not s.hidden}
    assert {r[0] for r in found_sessions} == set(shown)
    status = await world.sql("SELECT session_id, status, seq, billed_ms, credit_us FROM r.sessions")
    for sid, *values in status:
        state = shown[sid]
        assert values == [state.status, state.seq, state.billed_ms, state.credit_us]
    hashes = await world.sql("SELECT hash FROM r.usage_events")
    assert sorted(h[0] for h in hashes) == sorted(u.hash for u in usage)
    async with pool(world.database_url, 1) as connections:
        verdict = await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)
    assert verdict.equal
    assert verdict.entries == len(usage)
    return found_sessions, found_usage, history


async def test_killed_at_any_moment_they_lose_and_double_nothing(world: World) -> None:
    await world.start("sessions", "usage", "history")
    lives = [life(session_id(), beats=20) for _ in range(120)]
    producing = asyncio.create_task(produce(world, lives, pause_s=0.08))
    for name in ("usage", "sessions", "history", "usage", "history", "sessions"):
        await asyncio.sleep(0.8)  # kill -9 at some moment of the load; which one does not matter
        await world.kill(name)
        await world.restart(name)
    await producing
    await caught_up(world, "usage")
    await caught_up(world, "sessions")
    await caught_up(world, "history")
    sessions, usage, history = await check(world)
    assert len(sessions) == 120
    assert len(usage) == 120 * 21
    assert len(history) == 120 * (6 + 1)


async def test_a_replay_restores_the_same_rows(world: World) -> None:
    """I6: wipe, replay, compare; together in one process this time."""
    before = await rows(world)
    await world.stop_all()
    await world.wipe()
    await world.start("all")
    await caught_up(world, "usage")
    await caught_up(world, "sessions")
    await caught_up(world, "history")
    assert await rows(world) == before


async def test_the_ledger_refuses_every_change(world: World) -> None:
    import psycopg

    for statement in (
        "UPDATE usage_v1.usage_events SET billable_ms = 0",
        "DELETE FROM usage_v1.usage_events",
        "TRUNCATE usage_v1.usage_events",
    ):
        with pytest.raises(psycopg.Error, match="append-only"):
            await world.sql(statement)


@pytest.mark.parametrize(
    ("tampering", "kind"),
    [
        ("UPDATE usage_v1.usage_events SET billable_ms = billable_ms + 1 WHERE n = 3", "changed"),
        ("DELETE FROM usage_v1.usage_events WHERE n = 5", "missing"),
        ("SELECT 1", None),
    ],
    ids=["changed", "missing", "untouched"],
)
async def test_the_audit_names_what_was_tampered_with(world: World, tampering: str, kind: str | None) -> None:
    await world.sql("ALTER TABLE usage_v1.usage_events DISABLE TRIGGER append_only")
    backup = "CREATE TABLE backup AS SELECT * FROM usage_v1.usage_events"
    await world.sql(backup)
    try:
        await world.sql(tampering)
        async with pool(world.database_url, 1) as connections:
            verdict = await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)
        assert verdict.equal == (kind is None)
        assert ({d.kind for d in verdict.differences} >= {kind}) or kind is None
    finally:
        await world.sql("DELETE FROM usage_v1.usage_events; INSERT INTO usage_v1.usage_events SELECT * FROM backup")
        await world.sql("DROP TABLE backup; ALTER TABLE usage_v1.usage_events ENABLE TRIGGER append_only")


async def test_unreadable_and_unknown_records(world: World) -> None:
    """Malformed bytes change nothing for anybody; an unknown type parks its session, and everything else moves on."""
    from aiokafka import AIOKafkaProducer

    from events.codec import encode

    parked, fine = session_id(), session_id()
    producer = AIOKafkaProducer(bootstrap_servers=world.servers.kafka_bootstrap)
    await producer.start()
    topic = world.prefix + SESSIONS.name

    async def put(event: Event, **replace: bytes) -> None:
        value, headers = encode(event)
        headers = [(k, replace.get(k, v)) for k, v in headers]
        await producer.send_and_wait(topic, value, key=event.subject.encode(), headers=headers)

    lives = {sid: [new_event(d, source="tests", subject=sid) for d in life(sid)] for sid in (parked, fine)}
    await producer.send_and_wait(topic, b"{", key=fine.encode(), headers=[])
    await producer.send_and_wait(topic, b"not json", key=fine.encode(), headers=encode(lives[fine][0])[1])
    for sid in (parked, fine):
        await world.admit(sid)
        await put(lives[sid][0])
    await put(lives[parked][1], ce_type=b"session.teleported", ce_dataschema=b"urn:greenroom:session.teleported:1")
    for sid in (parked, fine):
        for event in lives[sid][1:]:
            await put(event)
    await producer.stop()

    async def done() -> list[Any]:
        return await world.sql("SELECT 1 FROM r.sessions WHERE session_id = %s AND status = 'ended'", fine)

    await eventually(done)
    await caught_up(world, "usage")
    assert await world.sql("SELECT status FROM r.sessions WHERE session_id = %s", parked) == [("queued",)]
    consumers = await world.sql("SELECT consumer FROM parked WHERE session_id = %s ORDER BY 1", parked)
    assert [c[0] for c in consumers] == ["history", "roster", "sessions", "usage", "webhooks"]
    async with pool(world.database_url, 1) as connections:
        verdict = await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)
    assert verdict.found == 0
    assert [left.subject for left in verdict.unread] == [parked]


async def test_only_the_latest_owner_commits(world: World) -> None:
    """A stale owner is fenced, and an owner that missed a batch is too."""
    async with pool(world.database_url, 2) as connections, connections.connection() as connection:
        old = (await bind(connection, "fencing", "t", frozenset({0})))[0]
        new = (await bind(connection, "fencing", "t", frozenset({0})))[0]
        assert new.generation == old.generation + 1
        with pytest.raises(Fenced):
            async with connection.transaction():
                await advance(connection, "t", [Step("fencing", 0, old.generation, 0, 10)])
        await advance(connection, "t", [Step("fencing", 0, new.generation, 0, 10)])
        with pytest.raises(Fenced):
            await advance(connection, "t", [Step("fencing", 0, new.generation, 0, 20)])
        assert (await bind(connection, "fencing", "t", frozenset({0})))[0].next_offset == 10
