"""Versions of a projection's tables: one is written and read, another may be filled beside it and take its place.

A version has a schema of its own and states of its own. The active one has the projection's name for its checkpoints
and for what it has parked, which is how everybody finds them; one that is being filled has a name of its own, and gets
the projection's in the transaction in which it takes its place. Rules: docs/decisions/0031.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from psycopg import sql

from projections import names
from store.database import Connection, Pool

REBUILT: tuple[str, ...] = (names.SESSIONS, names.USAGE, names.HISTORY, names.AVATARS)
"""What can be filled beside itself."""


class Version(NamedTuple):
    """The `number`th set of tables of the projection `name`."""

    name: str
    number: int

    @property
    def schema(self) -> str:
        """Where its tables are while it is active, or being filled."""
        return f"{self.name}_v{self.number}"

    @property
    def retired_schema(self) -> str:
        """Where they are until they are dropped: whoever has not heard of it yet writes into nothing."""
        return f"{self.schema}_old"

    @property
    def consumer(self) -> str:
        """Whose its states are, for ever; and its checkpoints and parked, while it is being filled."""
        return self.name if self.number == 1 else f"{self.name}@{self.number}"


class Writer(Protocol):
    """A projection (projections/folding.py). Its name is its version's while it is being filled."""

    name: str
    version: Version | None

    def use(self, version: Version) -> None: ...


FIRST = {name: Version(name, 1) for name in REBUILT}


class Superseded(Exception):
    """A version that was being filled is so no more: it is active, or was abandoned."""

    def __init__(self, version: Version) -> None:
        super().__init__(f"{version.schema} is not being filled any more.")
        self.version = version


@dataclass(frozen=True)
class Standing:
    """Which versions of a projection there are. `leftover`: replaced or abandoned, and still to be dropped."""

    active: Version
    building: Version | None
    leftover: tuple[Version, ...]
    began_at: datetime | None
    swapped_at: datetime | None


_COLUMNS = "name, active, building, leftover, began_at, swapped_at"


def _standing(
    name: str, active: int, building: int | None, leftover: Iterable[int], began: datetime, swapped: datetime
) -> Standing:
    filled = Version(name, building) if building is not None else None
    return Standing(Version(name, active), filled, tuple(Version(name, n) for n in leftover), began, swapped)


async def everything(connection: Connection) -> list[Standing]:
    """In the order of REBUILT."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM projections ORDER BY array_position(%s::text[], name)",  # noqa: S608 - names of ours
        [list(REBUILT)],
    )
    return [_standing(*row) for row in await cursor.fetchall()]


async def of(connection: Connection, name: str, lock: str = "") -> Standing:
    """`lock`: FOR SHARE or FOR UPDATE, until the transaction ends."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM projections WHERE name = %s {lock}",  # noqa: S608 - names of ours
        [name],
    )
    row = await cursor.fetchone()
    assert row is not None, name
    return _standing(*row)


# Whoever writes


async def changed(connection: Connection, projection: Writer) -> bool:
    """Whether another version is active by now; then the projection uses it. That stays so until the transaction ends.

    Raises Superseded for one that is being filled, and is not any more.
    """
    using = projection.version
    assert using is not None
    standing = await of(connection, using.name, "FOR SHARE")
    if projection.name != using.name:  # it is being filled
        if standing.building != using:
            raise Superseded(using)
        return False
    if standing.active != using:
        projection.use(standing.active)
        return True
    return False


async def replaced(pool: Pool, projections: Sequence[Writer]) -> bool:
    """Whether some of these write tables that are not their version's any more."""
    async with pool.connection() as connection:
        for projection in projections:
            if (using := projection.version) is not None:
                standing = await of(connection, using.name)
                if using not in (standing.active, standing.building):
                    return True
    return False


# Whoever fills another one. Each is a step of a transaction of the caller's.


async def begin(connection: Connection, name: str) -> tuple[Version, bool]:
    """The version that is being filled, and whether it was begun right now: with tables as the active one's are."""
    standing = await of(connection, name, "FOR UPDATE")
    if standing.building is not None:
        return standing.building, False
    cursor = await connection.execute(
        """
        UPDATE projections SET last = last + 1, building = last + 1, began_at = now() WHERE name = %s
        RETURNING building
        """,
        [name],
    )
    row = await cursor.fetchone()
    assert row is not None
    version = Version(name, row[0])
    await connection.execute("SELECT clone_schema(%s, %s)", [standing.active.schema, version.schema])
    return version, True


async def take_place(connection: Connection, old: Version, new: Version) -> None:
    """Readers read the new one from now on, and the old one's name is gone. Views are locked until the end."""
    await connection.execute("SELECT point_views(%s, %s)", [old.schema, new.schema])
    await connection.execute(
        """
        UPDATE projections SET active = building, building = NULL, leftover = leftover || active, swapped_at = now()
        WHERE name = %s AND active = %s AND building = %s
        """,
        [old.name, old.number, new.number],
    )
    await _retire(connection, old)


async def abandon(connection: Connection, version: Version) -> None:
    """It is being filled no more."""
    await connection.execute(
        "UPDATE projections SET building = NULL, leftover = leftover || building WHERE name = %s AND building = %s",
        [version.name, version.number],
    )
    await _retire(connection, version)


async def _retire(connection: Connection, version: Version) -> None:
    both = (sql.Identifier(schema) for schema in (version.schema, version.retired_schema))
    await connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(*both))


async def drop(connection: Connection, version: Version) -> None:
    """The tables of what is left over."""
    schema = sql.Identifier(version.retired_schema)
    await connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))


async def dropped(connection: Connection, version: Version) -> None:
    """Nothing is left of it."""
    await connection.execute(
        "UPDATE projections SET leftover = array_remove(leftover, %s) WHERE name = %s", [version.number, version.name]
    )


async def size(connection: Connection, schema: str) -> int:
    """Bytes of all tables of a schema with their indexes; 0 where there is none."""
    cursor = await connection.execute(
        """
        SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'
        """,
        [schema],
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def analyse(connection: Connection, version: Version) -> None:
    """So that its first readers are planned for what it holds, not for an empty table."""
    cursor = await connection.execute(
        """
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        """,
        [version.schema],
    )
    for (table,) in await cursor.fetchall():
        await connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(version.schema, table)))
