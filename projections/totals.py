"""The totals that the ledger keeps of itself, made again from its entries, and compared. It reads only.

Usage as customers are shown it, caps and credits are read from them; nobody else would notice that one is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

from store.database import Pool

_MOST_S = 24 * 3600.0
_MOST_NAMED = 1000


@dataclass(frozen=True)
class WrongTotal:
    """`of`: a session's day, or a month of an account and a key. What it says and what the entries add up to."""

    account_id: str
    of: str
    detail: str


_SAID = "coalesce({}.billable_ms || ' ms, ' || {}.credit_us || ' credit_us', 'nothing')"
_WRONG = f"""
    SELECT wrong.*, count(*) OVER () FROM (
    SELECT account_id, 'session ' || session_id || ', day ' || (date '1970-01-01' + day),
        'it says ' || {_SAID.format("t", "t")} || ', the entries add up to ' || {_SAID.format("u", "u")}
    FROM r.session_days t FULL JOIN (
        SELECT account_id, (recorded_ms / 86400000)::integer AS day, session_id, sum(billable_ms) AS billable_ms,
            sum(frames) AS frames, sum(credit_us) AS credit_us
        FROM r.usage_events GROUP BY 1, 2, 3) u USING (account_id, day, session_id)
    WHERE (t.billable_ms, t.frames, t.credit_us) IS DISTINCT FROM (u.billable_ms, u.frames, u.credit_us)
    UNION ALL
    SELECT account_id, 'key ' || key_id || ', month ' || month,
        'it says ' || {_SAID.format("t", "t")} || ', the entries add up to ' || {_SAID.format("u", "u")}
    FROM r.usage_months t FULL JOIN (
        SELECT account_id, date_trunc('month', to_timestamp(recorded_ms / 1000) AT TIME ZONE 'UTC')::date AS month,
            coalesce(key_id, '') AS key_id, sum(billable_ms) AS billable_ms, sum(credit_us) AS credit_us
        FROM r.usage_events GROUP BY 1, 2, 3) u USING (account_id, month, key_id)
    WHERE (t.billable_ms, t.credit_us) IS DISTINCT FROM (u.billable_ms, u.credit_us)
    ) wrong ORDER BY 1, 2 LIMIT %s
"""  # noqa: S608 - constants of ours


async def wrong(pool: Pool) -> tuple[int, list[WrongTotal]]:
    """How many are not what the entries add up to, at one moment, and the first of them. Raises DatabaseUnreachable."""
    async with pool.connection(within_s=_MOST_S) as connection, connection.transaction():
        await connection.execute("SET TRANSACTION READ ONLY")
        await connection.execute("SELECT set_config('statement_timeout', %s, true)", [f"{_MOST_S:.0f}s"])
        rows = await (await connection.execute(_WRONG, [_MOST_NAMED])).fetchall()
        return rows[0][-1] if rows else 0, [WrongTotal(*row[:-1]) for row in rows]
