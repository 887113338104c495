"""Positions in the log, stored in the transaction of the work itself. Rules: docs/architecture.md, "Checkpoints"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from projections.database import Connection


class Fenced(Exception):
    """Somebody else owns one of these partitions by now: nothing of the batch may be stored."""

    def __init__(self, partitions: set[int]) -> None:
        super().__init__(f"partitions {sorted(partitions)} have another owner")
        self.partitions = partitions


@dataclass(frozen=True)
class Bound:
    """What a batch is bound to when it is fetched."""

    generation: int
    next_offset: int


@dataclass(frozen=True)
class Move:
    name: str
    partition: int
    generation: int
    from_offset: int
    to_offset: int


async def bind(connection: Connection, name: str, topic: str, partitions: frozenset[int]) -> dict[int, Bound]:
    """Become the owner: raises the generation, so that whoever owned these before cannot commit any more."""
    cursor = await connection.execute(
        """
        INSERT INTO checkpoints (name, topic, partition, generation)
        SELECT %s, %s, p, 1 FROM unnest(%s::int[]) p ORDER BY p
        ON CONFLICT (name, topic, partition) DO UPDATE SET generation = checkpoints.generation + 1
        RETURNING partition, generation, next_offset
        """,
        [name, topic, sorted(partitions)],
    )
    return {partition: Bound(generation, offset) for partition, generation, offset in await cursor.fetchall()}


async def positions(connection: Connection, name: str, topic: str) -> dict[int, int]:
    """Partition → the offset that comes next, as stored."""
    cursor = await connection.execute(
        "SELECT partition, next_offset FROM checkpoints WHERE name = %s AND topic = %s", [name, topic]
    )
    return dict(await cursor.fetchall())


async def advance(connection: Connection, topic: str, moves: Sequence[Move]) -> None:
    """The last statement of a batch's transaction. Raises Fenced; the caller must roll back."""
    cursor = await connection.execute(
        """
        UPDATE checkpoints c SET next_offset = m.to_offset
        FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[])
            AS m (name, partition, generation, from_offset, to_offset)
        WHERE c.name = m.name AND c.topic = %s AND c.partition = m.partition
          AND c.generation = m.generation AND c.next_offset = m.from_offset
        RETURNING c.name, c.partition
        """,
        [
            [m.name for m in moves],
            [m.partition for m in moves],
            [m.generation for m in moves],
            [m.from_offset for m in moves],
            [m.to_offset for m in moves],
            topic,
        ],
    )
    done = set(await cursor.fetchall())
    fenced = {m.partition for m in moves if (m.name, m.partition) not in done}
    if fenced:
        raise Fenced(fenced)
