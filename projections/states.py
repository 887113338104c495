"""Fold states in the table `fold_states`: for consumers whose own rows are not the state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from events.session_state import State, dump_state, load_state
from projections.folding import Folded, Projection, SessionsFolded
from store.database import Connection, Pool, delete_by_batches

S = TypeVar("S")


@dataclass(frozen=True)
class Form(Generic[S]):
    """How states of one kind are stored. `over`: nothing more is expected of it, so it can be pruned some day."""

    dump: Callable[[S], bytes]
    load: Callable[[bytes], S]
    over: Callable[[S], bool]


def stored(folded: SessionsFolded, session_id: str) -> bytes:
    """The stored form of a session's final state."""
    return _stored(folded, session_id, dump_state)


def _stored(folded: Folded[S], subject: str, dump: Callable[[S], bytes]) -> bytes:
    if subject not in folded.stored:
        folded.stored[subject] = dump(folded.states[subject])
    return folded.stored[subject]


class StoredStates(Projection[S]):
    """In the column `session_id` stands what the states are of, which may be an avatar, too."""

    form: ClassVar[Form]  # type: ignore[type-arg]  # a class variable cannot name S

    @property
    def _consumer(self) -> str:
        """Whose states they are: a version's, whatever the name of its checkpoints is by now."""
        return self.name if self.version is None else self.version.consumer

    async def load(self, connection: Connection, subjects: Sequence[str]) -> dict[str, S]:
        cursor = await connection.execute(
            "SELECT session_id, state FROM fold_states WHERE consumer = %s AND session_id = ANY(%s)",
            [self._consumer, list(subjects)],
            binary=True,
        )
        return {subject: self.form.load(state) for subject, state in await cursor.fetchall()}

    async def live(self, connection: Connection, partitions: frozenset[int]) -> dict[str, S]:
        """Subject → state of all that are not over."""
        cursor = await connection.execute(
            "SELECT session_id, state FROM fold_states WHERE consumer = %s AND partition = ANY(%s) AND live",
            [self._consumer, list(partitions)],
            binary=True,
        )
        return {subject: self.form.load(state) for subject, state in await cursor.fetchall()}

    async def save(self, connection: Connection, folded: Folded[S]) -> None:
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
                self._consumer,
                ids,
                [folded.partition_of[subject] for subject in ids],
                [not self.form.over(folded.states[subject]) for subject in ids],
                [_stored(folded, subject, self.form.dump) for subject in ids],
            ],
        )


class SessionStates(StoredStates[State]):
    form = Form(dump_state, load_state, lambda state: state.terminal)


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


async def forget(connection: Connection, consumer: str) -> None:
    """All that this consumer knows."""
    await connection.execute("DELETE FROM fold_states WHERE consumer = %s", [consumer])


async def forget_by_batches(pool: Pool, consumer: str) -> None:
    """All that this consumer knew, however much it is. `consumer`: a name of ours."""
    await delete_by_batches(pool, "fold_states", "consumer, session_id", f"consumer = '{consumer}'")


async def prune(pool: Pool, consumers: Sequence[str], older_s: float) -> int:
    """Delete what these know of sessions that ended so long ago and hold nothing; returns how many."""
    names = ", ".join(f"'{name}'" for name in consumers)
    condition = f"""
        consumer IN ({names}) AND over_since < now() - make_interval(secs => %(older_s)s)
        AND NOT EXISTS (SELECT 1 FROM admissions a WHERE a.session_id = t.session_id AND a.state <> 'over')
    """  # noqa: S608 - names of ours
    return await delete_by_batches(pool, "fold_states", "consumer, session_id", condition, older_s)
