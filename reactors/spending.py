"""Spending: credits are settled, thresholds told of once, and whoever has nothing left is known to the roster."""

from __future__ import annotations

import asyncio

import structlog

from reactors.telling import Told, tell
from schemas import webhooks
from schemas.events import THRESHOLD_REACHED
from schemas.ids import EVENT, derived_id
from schemas.jsons import JsonObject
from schemas.rates import CREDIT_US
from schemas.times import now_ms
from store import credits, spending
from store.database import DatabaseUnreachable, Pool
from store.spending import Reached

log = structlog.get_logger()

_EVERY_S = 1.0


class Spending:
    """Any number of these may look at once: each account is settled, and each threshold told of, by one of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._exhausted: frozenset[str] = frozenset()

    def exhausted(self, account_id: str, key_id: str) -> bool:
        """Whether the account or the key had nothing left at the last look."""
        return account_id in self._exhausted or key_id in self._exhausted

    async def run(self) -> None:
        """Look for ever, once a second. Beside the roster's clock: however long it takes, nobody waits for it."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.look()
            except DatabaseUnreachable as failed:
                log.warning("spending not looked at", error=str(failed))
            except Exception:  # one account's trouble is not everybody's: the next look goes on
                log.exception("spending not looked at")

    async def look(self) -> None:
        """Raises DatabaseUnreachable. If the process dies in here, the next look does what is left."""
        async with self._pool.connection() as connection:
            await credits.settle(connection)
            async with connection.transaction():
                at_ms = now_ms()
                await tell(connection, [_told(each, at_ms) for each in await spending.newly_reached(connection)])
            self._exhausted = await spending.exhausted(connection)


def _told(reached: Reached, at_ms: int) -> Told:
    parts = (reached.account_id, reached.key_id, str(reached.month), str(reached.threshold_us))
    event_id = derived_id(EVENT, at_ms, *parts)
    body = webhooks.body(THRESHOLD_REACHED, at_ms, _data(reached))
    return Told(reached.account_id, event_id, THRESHOLD_REACHED, body)


def _data(reached: Reached) -> JsonObject:
    return {
        "object": "usage_threshold",
        "account_id": reached.account_id,
        "key_id": reached.key_id or None,
        "period_start": f"{reached.month}T00:00:00.000Z",
        "threshold_credits": reached.threshold_us / CREDIT_US,
        "used_credits": reached.spent_us / CREDIT_US,
    }
