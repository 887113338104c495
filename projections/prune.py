"""What nobody needs any more: deleted by age, a batch at a time, so that no lock is held for long.

The ledger, the sessions and the log stay for ever. So does the usage projection's knowledge of ended sessions: an
adjustment may come years later, and its hash follows from it.
"""

from __future__ import annotations

from projections.database import Pool
from projections.settings import RetentionSettings

BATCH = 2000
_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S

_RULES = {
    # While its admission stays, a key may not be answered yet.
    "idempotency_keys": (
        "account_id, key",
        """
        created_at < now() - make_interval(secs => %(idempotency_keys_s)s) AND NOT EXISTS (
            SELECT 1 FROM admissions a WHERE a.session_id = t.session_id AND a.state <> 'over')
        """,
    ),
    "deliveries": ("id", "state <> 'pending' AND finished_at < now() - make_interval(secs => %(deliveries_s)s)"),
    "fold_states": (
        "consumer, session_id",
        """
        consumer IN ('roster', 'webhooks') AND over_since < now() - make_interval(secs => %(fold_states_s)s)
        AND NOT EXISTS (SELECT 1 FROM admissions a WHERE a.session_id = t.session_id AND a.state <> 'over')
        """,
    ),
    "abandoned": ("session_id", "at < now() - make_interval(secs => %(abandoned_s)s)"),
    "slots": (
        "worker_id, slot",
        """
        session_id IS NULL AND NOT open
        AND EXISTS (SELECT 1 FROM workers w WHERE w.worker_id = t.worker_id AND w.phase = 'gone')
        """,
    ),
    "workers": (
        "worker_id",
        """
        phase = 'gone' AND gone_at < now() - make_interval(secs => %(workers_s)s)
        AND NOT EXISTS (SELECT 1 FROM slots s WHERE s.worker_id = t.worker_id)
        """,
    ),
}
"""Table → (primary key, which rows `t` go)."""


async def prune(pool: Pool, settings: RetentionSettings) -> dict[str, int]:
    """Returns table → rows deleted. Several at once, and a crash anywhere, do no harm. Raises DatabaseUnreachable."""
    ages = {
        "idempotency_keys_s": settings.keep_idempotency_keys_hours * _HOUR_S,
        "deliveries_s": settings.keep_deliveries_days * _DAY_S,
        "fold_states_s": settings.keep_fold_states_days * _DAY_S,
        "abandoned_s": settings.keep_abandoned_days * _DAY_S,
        "workers_s": settings.keep_workers_days * _DAY_S,
    }
    return {table: await _prune(pool, table, ages) for table in _RULES}


async def _prune(pool: Pool, table: str, ages: dict[str, float]) -> int:
    key, condition = _RULES[table]
    statement = f"""
        DELETE FROM {table} WHERE ({key}) IN (
            SELECT {key} FROM {table} t WHERE {condition} LIMIT {BATCH} FOR UPDATE SKIP LOCKED)
    """  # noqa: S608 - constants of this module
    deleted = 0
    while True:
        async with pool.connection() as connection:
            cursor = await connection.execute(statement, ages)
        deleted += cursor.rowcount
        if cursor.rowcount < BATCH:
            return deleted
