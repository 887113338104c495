"""Fold states of sessions in the table `fold_states`: for consumers whose own rows are not the state."""

from __future__ import annotations

from collections.abc import Sequence

from events.session_state import State, dump_state, load_state
from projections.folding import Projection, SessionsFolded
from store.database import Connection, Pool, delete_by_batches


def stored(folded: SessionsFolded, session_id: str) -> bytes:
    """The stored form of a final state."""
    if session_id not in folded.stored:
        folded.stored[session_id] = dump_state(folded.states[session_id])
    return folded.stored[session_id]


class StoredStates(Projection[State]):
    async def load(self, connection: Connection, subjects: Sequence[str]) -> dict[str, State]:
        cursor = await connection.execute(
            "SELECT session_id, state FROM fold_states WHERE consumer = %s AND session_id = ANY(%s)",
            [self.name, list(subjects)],
            binary=True,
        )
        return {session_id: load_state(state) for session_id, state in await cursor.fetchall()}

    async def live(self, connection: Connection, partitions: frozenset[int]) -> dict[str, State]:
        """Session → state of all that have not ended."""
        cursor = await connection.execute(
            "SELECT session_id, state FROM fold_states WHERE consumer = %s AND partition = ANY(%s) AND live",
            [self.name, list(partitions)],
            binary=True,
        )
        return {session_id: load_state(state) for session_id, state in await cursor.fetchall()}

    async def save(self, connection: Connection, folded: SessionsFolded) -> None:
        ids = list(folded.states)
        if not ids:
            return
        await connection.execute(
            """
            INSERT INTO fold_states (consumer, session_id, partition, live, state, over_since)
            SELECT %s, x.*, CASE WHEN x.live THEN NULL ELSE now() END
            FROM unnest(%s::text[], %s::int[], %s::bool[], %b::bytea[]) AS x (id, partition, live, state)
            ON CONFLICT (consumer, session_id) DO UPDATE
                SET state = excluded.state, live = excluded.live, over_since = excluded.over_since
            """,
            [
                self.name,
                ids,
                [folded.partition_of[session_id] for session_id in ids],
                [not folded.states[session_id].terminal for session_id in ids],
                [stored(folded, session_id) for session_id in ids],
            ],
        )


ENDS_WITHIN_S = 600.0


async def ended_lately(connection: Connection, consumer: str) -> int:
    """How many sessions this consumer has seen end within the last ENDS_WITHIN_S."""
    cursor = await connection.execute(
        """
        SELECT count(*) FROM fold_states WHERE consumer = %s AND over_since > now() - make_interval(secs => %s)
        """,
        [consumer, ENDS_WITHIN_S],
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def prune(pool: Pool, consumers: Sequence[str], older_s: float) -> int:
    """Delete what these know of sessions that ended so long ago and hold nothing; returns how many."""
    names = ", ".join(f"'{name}'" for name in consumers)
    condition = f"""
        consumer IN ({names}) AND over_since < now() - make_interval(secs => %(older_s)s)
        AND NOT EXISTS (SELECT 1 FROM admissions a WHERE a.session_id = t.session_id AND a.state <> 'over')
    """  # noqa: S608 - names of ours
    return await delete_by_batches(pool, "fold_states", "consumer, session_id", condition, older_s)
