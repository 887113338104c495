"""Fifty ways to change a ledger behind everybody's back, each in a session of its own, and what must be named."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from projections.usage import STORED
from tests.projections.test_tampering import FAR, MOVES, NUMBERS

Place = tuple[int, int]
WAYS = 50
_OTHER_MONTH_MS = 1_764_000_000_000


class Tamper(NamedTuple):
    """`changed`: (partition, offset) → what the audit must name there, and nowhere else for it."""

    way: str
    changed: list[Place]


class Tamperer:
    """As a superuser whom no trigger stops. `table`: the ledger's."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], table: str, seed: int) -> None:
        self._connection = connection
        self._table = table
        self._random = random.Random(seed)

    async def all(self) -> list[Tamper]:
        """Fifty, of fifty and more sessions that have entries enough."""
        cursor = await self._connection.execute(
            f"SELECT session_id FROM {self._table} GROUP BY session_id HAVING count(*) > 4 ORDER BY session_id"
        )
        sids = [sid for (sid,) in await cursor.fetchall()]
        self._random.shuffle(sids)
        found = [await self._column(sids.pop(), column) for column in STORED if column not in MOVES]
        for which in (["first"], ["last"], ["any"], ["first", "any"], ["all"]):
            found.append(await self._deleted(sids.pop(), which[0], len(which)))
        for change in (
            {"offset": FAR}, {"offset": -1}, {"partition": 99}, {"partition": -1},
            {"recorded_ms": _OTHER_MONTH_MS}, {"recorded_ms": _OTHER_MONTH_MS, "id": "use_0"},
        ):  # fmt: skip
            found.append(await self._inserted(sids.pop(), change))
        for change in ({"offset": FAR + 1}, {"partition": 98}):
            found.append(await self._moved(sids.pop(), change))
        found.append(await self._swapped(sids.pop()))
        found.append(await self._given_away(sids.pop()))
        while len(found) < WAYS:
            n = len(found)
            way = (self._sum_kept, self._given_away, self._swapped, self._zeroed)[n % 4]
            found.append(await way(sids.pop()))
        return found

    async def _places(self, sid: str) -> list[Place]:
        cursor = await self._connection.execute(
            f'SELECT partition, "offset" FROM {self._table} WHERE session_id = %s ORDER BY "offset"', [sid]
        )
        return await cursor.fetchall()

    async def _update(self, assignments: str, place: Place) -> None:
        await self._connection.execute(
            f'UPDATE {self._table} SET {assignments} WHERE partition = %s AND "offset" = %s', list(place)
        )

    async def _one(self, sid: str) -> Place:
        return self._random.choice((await self._places(sid))[1:-1])

    async def _column(self, sid: str, column: str) -> Tamper:
        place = await self._one(sid)
        new = f'"{column}" + 1' if column in NUMBERS else f"""'x' || "{column}" """
        await self._update(f'"{column}" = {new}', place)
        return Tamper(f"`{column}` of a row changed", [place])

    async def _deleted(self, sid: str, which: str, count: int) -> Tamper:
        places = await self._places(sid)
        gone = {"first": places[:count], "last": places[-1:], "any": [await self._one(sid)], "all": places}[which]
        for place in gone:
            await self._connection.execute(
                f'DELETE FROM {self._table} WHERE partition = %s AND "offset" = %s', list(place)
            )
        return Tamper(f"{which} {count if count > 1 else ''} deleted".replace("  ", " "), list(gone))

    async def _inserted(self, sid: str, change: dict[str, Any]) -> Tamper:
        place = await self._one(sid)
        await self._connection.execute(
            f"INSERT INTO {self._table} SELECT (jsonb_populate_record(u, %s)).* FROM {self._table} u"
            ' WHERE partition = %s AND "offset" = %s',
            [psycopg.types.json.Jsonb(change), *place],
        )
        at = (change.get("partition", place[0]), change.get("offset", place[1]))
        return Tamper(f"a row inserted, {', '.join(f'{k} {v}' for k, v in change.items())}", [at])

    async def _moved(self, sid: str, change: dict[str, int]) -> Tamper:
        place = await self._one(sid)
        ((column, value),) = change.items()
        await self._update(f'"{column}" = {value}', place)
        moved = (change.get("partition", place[0]), change.get("offset", place[1]))
        return Tamper(f"a row moved to {column} {value}", [place, moved])

    async def _swapped(self, sid: str) -> Tamper:
        (partition, first), (_, second) = self._random.sample((await self._places(sid))[1:-1], 2)
        spare = FAR + 100 + first
        for old, new in ((first, spare), (second, first), (spare, second)):
            await self._update(f'"offset" = {new}', (partition, old))
        return Tamper("two rows changed places", [(partition, first), (partition, second)])

    async def _given_away(self, sid: str) -> Tamper:
        places = await self._places(sid)
        await self._connection.execute(f"UPDATE {self._table} SET account_id = 'acct_x' WHERE session_id = %s", [sid])
        return Tamper("a session given to another account", places)

    async def _sum_kept(self, sid: str) -> Tamper:
        first, second = self._random.sample((await self._places(sid))[1:-1], 2)
        await self._update("billable_ms = billable_ms + 7, credit_us = credit_us + 7", first)
        await self._update("billable_ms = billable_ms - 7, credit_us = credit_us - 7", second)
        return Tamper("two rows changed that add up to the same", [first, second])

    async def _zeroed(self, sid: str) -> Tamper:
        places = (await self._places(sid))[-2:]
        for place in places:
            await self._update("billable_ms = billable_ms + 60000, credit_us = credit_us + 60000000", place)
        return Tamper("the last two rows billed a minute more", places)


def unnamed(tampers: Sequence[Tamper], named: set[Place]) -> tuple[list[Tamper], set[Place]]:
    """(those of which a place was not named, places that were named for nothing)."""
    wanted = {place for tamper in tampers for place in tamper.changed}
    return [tamper for tamper in tampers if not named.issuperset(tamper.changed)], named - wanted
