"""Positions in the log, stored in the transaction of the work itself. Rules: docs/decisions/0009."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from events.consumer import Batches, Recoverable
from store.database import Connection, Pool

log = structlog.get_logger()

PATIENCE_S = 10.0
_MOST_PATIENCE_S = 320.0
_TELL_EVERY_S = 60.0
_LOOK_EVERY_S = 1.0


class Fenced(Exception):
    """Somebody else owns one of these (projection, partition) by now: nothing of the batch may be stored."""

    def __init__(self, places: set[tuple[str, int]]) -> None:
        super().__init__(f"{sorted(places)} have another owner")
        self.places = places


@dataclass(frozen=True)
class Bound:
    """What a batch is bound to when it is fetched."""

    generation: int
    next_offset: int


@dataclass(frozen=True)
class Step:
    name: str
    partition: int
    generation: int
    from_offset: int
    to_offset: int


@dataclass
class Lost:
    """A partition that another process works on: how it stood at `since`, when it was last seen to change.

    `behind_since`: from when on it has stood still with more to read.
    """

    stood: Bound
    since: float
    behind_since: float | None = None


class Claim:
    """One projection's hold on the partitions of a topic, and its fence. Whoever bound a partition last owns it.

    Who was fenced stands by, and says so. It takes a partition back when its owner has not moved for a while although
    there is more to read: that owner has died, or hangs. Each time it waits twice as long, so two processes that are
    merely slow do not take turns for ever. Other projections of the process never notice.
    """

    def __init__(self, name: str, topic: str, owner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.bound: dict[int, Bound] = {}
        self.lost: dict[int, Lost] = {}
        self._topic = topic
        self._owner = owner
        self._clock = clock
        self._generations: dict[int, int] = {}
        """Those under which we own."""
        self._patience_s = PATIENCE_S
        self._told_at: float | None = None

    def renew(self) -> None:
        """The partitions are assigned anew: whoever had them, all are to be bound."""
        self._generations.clear()
        self.lost.clear()
        self._patience_s, self._told_at = PATIENCE_S, None

    def let_go(self) -> None:
        """What was ours is to be bound anew: another version has taken its place. What others own stays theirs."""
        self._generations.clear()

    async def bind(self, connection: Connection, partitions: frozenset[int]) -> dict[int, Bound]:
        """Bind what was never ours, and look at what was: that is never taken from somebody else here.

        Returns how all of them stand; `take` makes it ours once it is committed.
        """
        known = partitions & (self._generations.keys() | self.lost.keys())
        cursor = await connection.execute(
            "SELECT partition, generation, next_offset FROM checkpoints"
            " WHERE name = %s AND topic = %s AND partition = ANY(%s)",
            [self.name, self._topic, sorted(known)],
        )
        found = {partition: Bound(generation, offset) for partition, generation, offset in await cursor.fetchall()}
        mine = await bind(connection, self.name, self._topic, partitions - found.keys(), self._owner)
        return {**found, **mine}

    def take(self, found: Mapping[int, Bound]) -> None:
        """Of what `bind` returned, that under another generation than ours is somebody else's by now."""
        theirs = {
            p: b for p, b in found.items() if p in self.lost or b.generation != self._generations.get(p, b.generation)
        }
        self.lost = {p: self.lost.get(p) or Lost(bound, self._clock()) for p, bound in theirs.items()}
        self.bound = {p: bound for p, bound in found.items() if p not in theirs}
        self._generations = {p: bound.generation for p, bound in self.bound.items()}

    async def idle_owners(self, connection: Connection, seen: Mapping[int, int]) -> bool:
        """Whether some owner is idle: no more standing by for it, `bind` takes back all that it had.

        `seen`: how far the log is known to reach.
        """
        cursor = await connection.execute(
            """
            SELECT partition, generation, next_offset, owner FROM checkpoints
            WHERE name = %s AND topic = %s AND partition = ANY(%s)
            """,
            [self.name, self._topic, sorted(self.lost)],
        )
        rows = {p: (Bound(generation, offset), owner) for p, generation, offset, owner in await cursor.fetchall()}
        owners = {partition: owner for partition, (_, owner) in rows.items()}
        idle = {owners[p] for p, (bound, owner) in rows.items() if self.stands(p, bound, seen.get(p, 0))}
        free = {
            p for p, owner in owners.items() if owner in idle and self._clock() - self.lost[p].since > self._patience_s
        }
        for partition in free:
            del self.lost[partition]
        if free:
            self._patience_s = min(2 * self._patience_s, _MOST_PATIENCE_S)
            log.warning(
                "taken over from an idle process", projection=self.name, partitions=sorted(free), owners=sorted(idle)
            )
        self._tell(owners)
        return bool(free)

    def stands(self, partition: int, now: Bound, seen: int) -> bool:
        """Whether its owner has stood still for longer than our patience, with more to read."""
        at, lost = self._clock(), self.lost[partition]
        if now != lost.stood:
            lost = self.lost[partition] = Lost(now, at)
        if now.next_offset < seen and lost.behind_since is None:
            lost.behind_since = at
        return lost.behind_since is not None and at - lost.behind_since > self._patience_s

    def _tell(self, owners: Mapping[int, str]) -> None:
        """At once and then each minute: nobody stands by in silence."""
        now = self._clock()
        if not self.lost or (self._told_at is not None and now - self._told_at < _TELL_EVERY_S):
            return
        self._told_at = now
        log.warning(
            "another process runs this projection; standing by",
            projection=self.name,
            partitions=sorted(self.lost),
            owners=sorted({owners.get(partition, "") for partition in self.lost}),
        )


class Claims:
    """The claims of all projections that one handler runs on a topic."""

    def __init__(self, names: Sequence[str], topic: str) -> None:
        owner = f"{' '.join(names)} (pid {os.getpid()} on {socket.gethostname()})"
        self.of = {name: Claim(name, topic, owner) for name in names}
        self._seen: dict[int, int] = {}
        self._looked_at = time.monotonic()

    def positions(self) -> dict[int, int]:
        """The slowest projection's position in each partition that at least one of them works on."""
        slowest: dict[int, int] = {}
        for claim in self.of.values():
            for partition, bound in claim.bound.items():
                slowest[partition] = min(bound.next_offset, slowest.get(partition, bound.next_offset))
        return slowest

    async def bind(
        self, connection: Connection, partitions: frozenset[int], fresh: bool
    ) -> Mapping[str, Mapping[int, Bound]]:
        """How all of them stand; `take` makes it ours once it is committed.

        If the transaction fails nothing is ours that was not before, and the next call binds again.
        """
        if fresh:
            for claim in self.of.values():
                claim.renew()
        return {name: await claim.bind(connection, partitions) for name, claim in self.of.items()}

    def take(self, found: Mapping[str, Mapping[int, Bound]]) -> dict[int, int]:
        """Returns where to read on in each, those included that are left to another process: so we see it work."""
        for name, bounds in found.items():
            self.of[name].take(bounds)
        lost = {p: lost.stood.next_offset for claim in self.of.values() for p, lost in claim.lost.items()}
        return {**lost, **self.positions()}

    async def stand_by(self, pool: Pool, batches: Batches) -> None:
        """Where another process runs one of the projections: see that it does. Raises Recoverable to take over."""
        self._seen.update((partition, records[-1].offset + 1) for partition, records in batches.items())
        lost = [claim for claim in self.of.values() if claim.lost]
        if not lost or time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        async with pool.connection() as connection:
            idle = [claim.name for claim in lost if await claim.idle_owners(connection, self._seen)]
        if idle:
            raise Recoverable(f"taking over {', '.join(idle)}")


async def bind(
    connection: Connection, name: str, topic: str, partitions: frozenset[int], owner: str = ""
) -> dict[int, Bound]:
    """Become the owner: raises the generation, so that whoever owned these before cannot commit any more."""
    cursor = await connection.execute(
        """
        INSERT INTO checkpoints (name, topic, partition, generation, owner)
        SELECT %(name)s, %(topic)s, p, 1, %(owner)s FROM unnest(%(partitions)s::int[]) p ORDER BY p
        ON CONFLICT (name, topic, partition) DO UPDATE
            SET generation = checkpoints.generation + 1, owner = excluded.owner
        RETURNING partition, generation, next_offset
        """,
        {"name": name, "topic": topic, "owner": owner, "partitions": sorted(partitions)},
    )
    return {partition: Bound(generation, offset) for partition, generation, offset in await cursor.fetchall()}


async def owned(connection: Connection, name: str, topic: str, owner: str) -> dict[int, Bound]:
    """How those stand that `owner` has bound last."""
    cursor = await connection.execute(
        "SELECT partition, generation, next_offset FROM checkpoints WHERE name = %s AND topic = %s AND owner = %s",
        [name, topic, owner],
    )
    return {partition: Bound(generation, offset) for partition, generation, offset in await cursor.fetchall()}


async def go_back(connection: Connection, name: str, topic: str, offsets: Mapping[int, int]) -> None:
    """To these offsets, partition by partition, if it stands beyond. What is under way there is fenced."""
    await connection.execute(
        """
        UPDATE checkpoints c SET generation = c.generation + 1, next_offset = least(c.next_offset, b."offset")
        FROM unnest(%s::int[], %s::bigint[]) AS b (partition, "offset")
        WHERE c.name = %s AND c.topic = %s AND c.partition = b.partition
        """,
        [list(offsets), list(offsets.values()), name, topic],
    )


async def place(
    connection: Connection, name: str, topic: str, offsets: Mapping[int, int], *, anew: bool = False
) -> None:
    """Begin no earlier than at these offsets; `anew`: exactly there. Whoever is at work where that moves is fenced."""
    await connection.execute(
        """
        INSERT INTO checkpoints AS c (name, topic, partition, generation, next_offset)
        SELECT %(name)s, %(topic)s, p, 0, o FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[]) AS x (p, o)
        ORDER BY p
        ON CONFLICT (name, topic, partition) DO UPDATE
            SET next_offset = excluded.next_offset, generation = c.generation + 1
            WHERE %(anew)s OR c.next_offset < excluded.next_offset
        """,
        {
            "name": name,
            "topic": topic,
            "partitions": sorted(offsets),
            "offsets": [offsets[partition] for partition in sorted(offsets)],
            "anew": anew,
        },
    )


async def positions(connection: Connection, name: str, topic: str) -> dict[int, int]:
    """Partition → the offset that comes next, as stored."""
    cursor = await connection.execute(
        "SELECT partition, next_offset FROM checkpoints WHERE name = %s AND topic = %s", [name, topic]
    )
    return dict(await cursor.fetchall())


async def locked(connection: Connection, name: str) -> dict[tuple[str, int], Bound]:
    """(topic, partition) → how it stands. Until the transaction ends nobody moves any of them."""
    cursor = await connection.execute(
        """
        SELECT topic, partition, generation, next_offset FROM checkpoints WHERE name = %s
        ORDER BY topic, partition FOR UPDATE
        """,
        [name],
    )
    rows = await cursor.fetchall()
    return {(topic, partition): Bound(generation, offset) for topic, partition, generation, offset in rows}


async def succeed(connection: Connection, name: str, by: str, generation: int) -> None:
    """The positions of `by` are those of `name` from now on. Whoever was at work on either of them is fenced.

    `generation`: the highest that `name` has had.
    """
    await forget(connection, name)
    await connection.execute(
        """
        UPDATE checkpoints SET name = %(name)s, owner = '', generation = greatest(generation, %(generation)s) + 1
        WHERE name = %(by)s
        """,
        {"name": name, "by": by, "generation": generation},
    )


async def forget(connection: Connection, name: str) -> None:
    """All positions of it."""
    await connection.execute("DELETE FROM checkpoints WHERE name = %s", [name])


async def foremost(connection: Connection, topic: str, partition: int) -> int:
    """How far anybody has read: the log has had all that is before it."""
    cursor = await connection.execute(
        "SELECT coalesce(max(next_offset), 0) FROM checkpoints WHERE topic = %s AND partition = %s", [topic, partition]
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def advance(connection: Connection, topic: str, steps: Sequence[Step]) -> None:
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
            [m.name for m in steps],
            [m.partition for m in steps],
            [m.generation for m in steps],
            [m.from_offset for m in steps],
            [m.to_offset for m in steps],
            topic,
        ],
    )
    done = set(await cursor.fetchall())
    fenced = {(m.name, m.partition) for m in steps} - done
    if fenced:
        raise Fenced(fenced)
