"""What is pruned, and what stays."""

from __future__ import annotations

from typing import Any

import pytest

from events.sealing import Keyring
from events.session_state import State
from events.sessions import FOLD
from projections.folding import Projection
from projections.handling import FoldingHandler
from projections.usage import UsageProjection
from reactors.fanout import FanOut
from reactors.prune import prune
from reactors.settings import RetentionSettings
from schemas.events import UsageAdjusted
from store.data_keys import DataKeys
from store.database import pool
from tests.builders import event, life, record, session_id
from tests.world import World

pytestmark = pytest.mark.servers

TABLES = (
    "idempotency_keys",
    "deliveries",
    "delivery_attempts",
    "feed_events",
    "fold_states",
    "abandoned",
    "slots",
    "workers",
)


async def counts(world: World) -> dict[str, int]:
    rows: dict[str, int] = {}
    for table in TABLES:
        found: list[tuple[Any, ...]] = await world.sql(f"SELECT count(*) FROM {table}")
        rows[table] = found[0][0]
    return rows


_FILL = (
    """INSERT INTO idempotency_keys (account_id, key, body_hmac, session_id, response, created_at)
       SELECT '{account}', '{tag}' || n, '', 'sess_{tag}' || n, '{{"room": "secret"}}', now() - interval '{age}'""",
    """INSERT INTO deliveries (id, endpoint_id, account_id, session_id, event_id, type, seq, body, state, finished_at)
       SELECT 'whd_{tag}' || n, 'we_1', '{account}', 'sess_{tag}' || n, 'evt_{tag}' || n, 'session.ended', 1, '',
              'delivered', now() - interval '{age}'""",
    "INSERT INTO delivery_attempts SELECT 'whd_{tag}' || n, 1, now(), 200, 1",
    *(
        f"""INSERT INTO fold_states (consumer, session_id, partition, live, state, over_since)
            SELECT '{consumer}', 'sess_{{tag}}' || n, 0, false, '', now() - interval '{{age}}'"""
        for consumer in ("roster", "webhooks", "usage")
    ),
    "INSERT INTO feed_events SELECT 'acct_{tag}', n, 'evt', 'session.ended', '', now() - interval '{age}'",
    "INSERT INTO abandoned SELECT 'sess_{tag}' || n, now() - interval '{age}'",
    """INSERT INTO workers
       SELECT 'wrk_{tag}' || n, 0, '', '{{mock}}', 'gone', now(), now() - interval '{age}'""",
    "INSERT INTO slots (worker_id, slot, qualities, open) SELECT 'wrk_{tag}' || n, 0, '{{mock}}', false",
)


async def fill(world: World, tag: str, age: str, n: int) -> None:
    """`n` rows in each table, `age` old, of sessions that are over."""
    for statement in _FILL:
        values = statement.format(account=world.account, tag=tag, age=age)
        await world.sql(f"{values} FROM generate_series(1, {n}) n")


async def test_what_is_old_goes_and_what_is_young_or_needed_stays(world: World) -> None:
    await world.sql(
        "INSERT INTO webhook_endpoints VALUES ('we_1', %s, 'https://example.com', '{*}', '', true)",
        world.account,
    )
    await fill(world, "old", "90 days", 4500)  # more than two batches
    await fill(world, "young", "1 hour", 7)
    live = "sess_old1"  # an admission stands behind it: its end is still on its way
    await world.sql(
        """
        INSERT INTO admissions
            (session_id, account_id, event_id, worker_id, target_hash, body_hmac, created_ms, resource)
        VALUES (%s, %s, 'evt', 'wrk', '', '', 0, '{}')
        """,
        live,
        world.account,
    )
    await world.sql("UPDATE deliveries SET state = 'pending', finished_at = NULL WHERE id = 'whd_old1'")
    async with pool(world.database_url, 1) as connections:
        deleted = await prune(connections, RetentionSettings())
        assert (await prune(connections, RetentionSettings())) == dict.fromkeys(deleted, 0)
    assert deleted["idempotency_keys"] == 4499
    assert deleted["deliveries"] == 4499
    assert deleted["fold_states"] == 4499
    assert await counts(world) == {
        "idempotency_keys": 7 + 1,
        "deliveries": 7 + 1,
        "delivery_attempts": 7 + 1,
        "feed_events": 7,
        # what ledger and fan-out know stays: an adjustment or an erasure goes on from it, and is told
        "fold_states": 7 + 1 + 2 * 4507,
        "abandoned": 7,
        "slots": 0,
        "workers": 7,
    }
    assert await world.sql("SELECT 1 FROM idempotency_keys WHERE session_id = %s", live)


async def test_an_adjustment_of_an_old_session_counts_and_is_told(world: World) -> None:
    """Also where the fan-out is behind the ledger, with which it shares a fold: both go on from its states."""
    sid = session_id()
    told = [record(event(data), n) for n, data in enumerate(life(sid, account=world.account))]
    late = record(event(life(sid)[4]), len(told))
    adjusted = record(event(UsageAdjusted(sid, 60, "late", "tests")), len(told) + 1)
    place = frozenset({told[0].partition})
    async with pool(world.database_url, 3) as connections:
        keys = DataKeys(connections, Keyring(world.env["GREENROOM_MASTER_KEYS"]))

        async def read(records: list[Any], *projections: Projection[State]) -> None:
            handler = FoldingHandler(connections, FOLD, projections, topic="pruned")
            await handler.assigned(place, True)
            await handler.handle({told[0].partition: records})
            await handler.drain()

        await read(told, UsageProjection(), FanOut(keys))
        await world.sql("UPDATE fold_states SET over_since = now() - interval '90 days' WHERE session_id = %s", sid)
        await prune(connections, RetentionSettings())
        await read([late], UsageProjection())
        await read([late, adjusted], UsageProjection(), FanOut(keys))
    assert await world.sql("SELECT credit_us FROM r.usage_events WHERE session_id = %s AND n = 0", sid) == [(60,)]
    assert (
        await world.sql("SELECT next_offset FROM checkpoints WHERE topic = 'pruned' AND name IN ('usage', 'webhooks')")
        == [(len(told) + 2,)] * 2
    )
