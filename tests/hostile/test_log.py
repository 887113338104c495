"""A log that somebody else writes to, on real servers: every process goes on, and what cannot be read is told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from events import topics
from events.codec import encode, new_event
from events.topics import AVATARS, DEAD_LETTERS, SESSIONS, Topic, partition_of
from projections import audit, names
from schemas.bounds import MOST, MOST_SMALL
from schemas.events import (
    AvatarCreated,
    Meter,
    SessionEvent,
    SessionFailed,
    SessionFirstFrame,
    SessionStarting,
    UsageAdjusted,
)
from stack.ports import free_ports
from store.database import pool
from tests.builders import HIDDEN, beat, created, event, life, session_id
from tests.world import World, delete_topic, eventually

pytestmark = pytest.mark.servers

MARK = b"bytes-that-are-in-no-log-line"
Raw = tuple[bytes | None, bytes | None, list[tuple[str, Any]], int | None]
"""Key, value, headers, partition."""


def changed(item: SessionEvent, value: dict[str, Any] | None = None, **headers: bytes | None) -> Raw:
    told = event(item)
    content, fields = encode(told)
    content = msgspec.json.encode({**msgspec.json.decode(content), **(value or {})})
    return told.subject.encode(), content, [(k, headers.get(k, v)) for k, v in fields], None


def malformed() -> list[Raw]:
    """None of these is an event, for anybody."""
    sid = session_id()
    key = sid.encode()
    good, fields = encode(event(created(sid)))
    meter = {"billable_ms": 1, "frames": 1, "audio_ms": 1}
    return [
        (None, MARK, [], 3),
        (b"", b"", [], None),
        (key, MARK, [("ce_id", None), ("ce_id", b"\xff"), ("", b"")], None),
        (key, None, fields, None),
        (key, MARK, fields, None),
        (key, b"{" * 5000, fields, None),
        (key, good[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", fields, None),
        (key, b"\x00" * 900_000, fields, None),
        (b"k" * 400_000, b"v" * 400_000, [("h", b"h" * 200_000)], None),
        (b"k" * 4000, good, fields, None),
        (session_id().encode(), good, fields, None),
        (key, good, fields, (partition_of(key) + 1) % SESSIONS.partitions),
        (b"\x00", good, [(k, b"\x00" if k == "ce_subject" else v) for k, v in fields], None),
        changed(created(sid), ce_account=None, ce_source=b"\xff"),
        changed(created(sid), ce_time=b"0001-01-01T00:00:00Z"),
        changed(created(sid), ce_time=b"9999-12-31T23:59:59Z"),
        changed(created(sid), ce_dataschema="urn:greenroom:session.created:²".encode()),
        changed(created(sid), ce_type=b"session.starting"),
        changed(created(sid), {"account_id": "acct\0"}),
        changed(created(sid), {"account_id": "a" * 5000}),
        changed(created(sid), {"rate": {"card": "c", "billed_as": "pro", "multiplier_milli": 2**40}}),
        changed(created(sid), {"attempt": 2**31}),
        changed(beat(sid, 1, 1), {"n": 2**63}),
        changed(beat(sid, 1, 1), {"meter": {**meter, "frames": 2**63}}),
        changed(beat(sid, 1, 1), {"meter": {**meter, "billable_ms": 2**64}}),
        changed(beat(sid, 1, 1), {"meter": {**meter, "billable_ms": -1}}),
        changed(UsageAdjusted(sid, 1, "r", "a"), {"credit_us": 10**30}),
    ]


def accepted(account: str) -> list[list[Raw]]:
    """Readable and as extreme as the schema allows: sessions that everybody folds, with fields that do not open."""
    stories = []
    for enc in ("AAAA", "nicht base64 ü", ""):
        sid = session_id()
        hidden = {"enc": enc, "key_id": "dk_0"}
        transport = {
            "type": "livekit",
            **dict.fromkeys(("url", "room_name", "worker_identity", "subscribe_to_identity"), hidden),
            "audio_source": "data_stream",
            "synthetic_audio_if_no_input": False,
        }
        stories.append(
            [
                changed(created(sid, account=account), {"transport": transport, "metadata": hidden}),
                changed(SessionStarting(sid, 1, "wrk_1")),
                changed(SessionFirstFrame(sid, 1, "wrk_1", {"x": -MOST})),
                changed(
                    beat(sid, MOST_SMALL, 0), {"meter": {"billable_ms": MOST, "frames": MOST_SMALL, "audio_ms": MOST}}
                ),
                changed(UsageAdjusted(sid, -MOST, "r", "a")),
                changed(SessionFailed(sid, 1, "worker_lost", "\0\n" * 100, "wrk_1", 1, Meter(0, 0, 0))),
            ]
        )
    return stories


async def write(world: World, topic: Topic, records: list[Raw]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=world.servers.kafka_bootstrap)
    await producer.start()
    try:
        for key, value, headers, partition in records:
            await producer.send_and_wait(world.prefix + topic.name, value, key, partition, headers=headers)
    finally:
        await producer.stop()


async def normal(world: World) -> None:
    """A session of the usual kind, in sessions, ledger and the webhooks' fold."""
    sid = session_id()
    await world.admit(sid)
    await world.append(*life(sid))

    async def arrived() -> bool:
        done = await world.sql(
            "SELECT (SELECT count(*) FROM r.sessions WHERE session_id = %s AND status = 'ended'),"
            " (SELECT count(*) FROM r.usage_events WHERE session_id = %s),"
            " (SELECT count(*) FROM fold_states WHERE consumer IN ('webhooks', 'roster') AND session_id = %s)",
            *[sid] * 3,
        )
        return done == [(1, 4, 2)]

    await eventually(arrived, 90, "a normal session")


async def at_the_end(world: World, name: str, topic: Topic) -> None:
    total = len(await world.records(topic))

    async def probe() -> bool:
        rows = await world.sql(
            "SELECT coalesce(sum(next_offset), 0) FROM checkpoints WHERE name = %s AND topic = %s", name, topic.name
        )
        return bool(rows[0][0] >= total)

    await eventually(probe, 90, f"{name} at the end of {topic.name}")


async def test_hostile_records_between_normal_sessions(world: World) -> None:
    (port,) = free_ports(1)
    async with pool(world.database_url, 1) as connections, connections.connection() as connection:
        from store import endpoints

        await endpoints.create(connection, world.account, "http://127.0.0.1:9/", ["*"], "", True, world.keyring)
    await world.start("all", GREENROOM_METRICS_PORT=str(port))
    await normal(world)
    broken = malformed()
    await write(world, SESSIONS, broken)
    for story in accepted(world.account):
        await world.admit(story[0][0].decode() if story[0][0] else "")
        await write(world, SESSIONS, story)
    avatar = new_event(AvatarCreated("av_1", "acct\0", HIDDEN, "avtr1", "a" * 64, None), source="t", subject="av_1")
    value, headers = encode(avatar)
    await write(
        world,
        AVATARS,
        [(b"av_1", value, headers, None), (b"av_2", value, headers, None), (None, MARK, [("ce_id", None)], 0)],
    )
    await normal(world)
    for name in ("sessions", "usage", "history", "webhooks", "roster"):
        await at_the_end(world, name, SESSIONS)
    await at_the_end(world, "avatars", AVATARS)
    log = world.processes["all"].log_path.read_text()
    assert world.processes["all"].running, log
    assert "Traceback" not in log
    assert MARK.decode() not in log
    told = [json.loads(line) for line in log.splitlines() if "record malformed" in line]
    assert {t["consumer"] for t in told} == set(names.ALL)
    assert all(t["topic"] and t["partition"] >= 0 and t["offset"] >= 0 and t["reason"] for t in told)
    async with httpx.AsyncClient(trust_env=False) as client:
        metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    assert f'greenroom_malformed_records_total{{consumer="usage"}} {len(broken)}.0' in metrics
    assert 'greenroom_malformed_records_total{consumer="avatars"} 3.0' in metrics


async def test_the_audit_has_a_verdict(world: World) -> None:
    async with pool(world.database_url, 1) as connections:
        verdict = await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)
    assert verdict.equal
    assert verdict.malformed == len(malformed())


async def test_each_malformed_record_is_copied_with_its_place_and_reason(world: World) -> None:
    originals = {(r.partition, r.offset): r for r in await world.records(SESSIONS)}
    copies = {}
    for copy in await world.records(DEAD_LETTERS):
        about = dict(copy.headers)
        assert about["dead_letter_topic"] == (world.prefix + SESSIONS.name).encode()
        assert about["dead_letter_reason"]
        copies[int(about["dead_letter_partition"]), int(about["dead_letter_offset"])] = copy
    assert len(copies) == len(malformed())
    cut = 0
    for place, copy in copies.items():
        if dict(copy.headers).get("dead_letter_cut"):
            cut += 1
            assert (copy.key, copy.value) == (None, b"")
            continue
        original = originals[place]
        assert (copy.key, copy.value) == (original.key, original.value)
        assert list(copy.headers)[:-4] == list(original.headers)
    assert cut == 2


async def test_a_process_that_starts_again_reads_all_of_it_once_more(world: World) -> None:
    before = await world.sql('SELECT * FROM r.usage_events ORDER BY partition, "offset"')
    await world.stop_all()
    await world.wipe()
    await world.start("sessions", "usage", "history", "webhooks")
    await at_the_end(world, "usage", SESSIONS)
    assert await world.sql('SELECT * FROM r.usage_events ORDER BY partition, "offset"') == before


async def test_what_clients_of_another_make_write(world: World) -> None:
    """Header names that are not UTF-8, a codec that we lack, transactions: nobody stops, and the audit ends."""
    await world.stop_all()
    sid = session_id()
    place = partition_of(sid.encode())
    story = life(sid)
    await world.append(*story[:5])
    await world.start("sessions", "usage")
    for _ in range(2):
        args = [sys.executable, "-m", "tests.hostile.foreign_producer", world.servers.kafka_bootstrap]
        done = await asyncio.to_thread(
            subprocess.run, [*args, world.prefix + SESSIONS.name, str(place)], capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
    await world.append(*story[5:])

    async def arrived() -> bool:
        return await world.sql("SELECT count(*) FROM r.usage_events WHERE session_id = %s", sid) == [(4,)]

    await eventually(arrived, 90, "the session around it")
    offsets = [r.offset for r in await world.records(SESSIONS) if r.partition == place]
    assert offsets == list(range(len(offsets)))  # one record for each offset, the markers of transactions too
    names = [name for r in await world.records(SESSIONS) for name, _ in r.headers]
    assert "\\xff\\xfe" in names
    async with pool(world.database_url, 1) as connections:
        verdict = await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)
    assert verdict.equal
    assert all(world.processes[name].running for name in ("sessions", "usage"))


@pytest.mark.parametrize("running", [False, True], ids=["while nobody reads", "while it is read"])
async def test_a_log_that_lost_its_tail_is_told_in_a_sentence(world: World, running: bool) -> None:
    """Deleted and made again: without a look at its end, new events at reused offsets would be skipped in silence."""
    await world.stop_all()
    await topics.apply(world.servers.kafka_bootstrap, world.prefix)
    await world.sql("DELETE FROM checkpoints; DELETE FROM fold_states")
    await world.start("sessions")
    sids = [session_id() for _ in range(3)]
    for sid in sids:
        await world.append(*life(sid, beats=10))
    await at_the_end(world, "sessions", SESSIONS)
    if not running:
        await world.stop("sessions")
    await delete_topic(world, SESSIONS)
    await topics.apply(world.servers.kafka_bootstrap, world.prefix)
    await world.append(*life(sids[0])[:2])
    if not running:
        await world.restart("sessions")
    process = world.processes["sessions"]

    async def exited() -> bool:
        return not process.running

    await eventually(exited, 120, "its end")
    assert await process.wait() == 1
    log = process.log_path.read_text()
    assert "was read up to" in log
    assert "Restore the log" in " ".join(log.split())
    assert "Traceback" not in log
