"""The history of a session: each accepted lifecycle event, and what the session was from then on.

Heartbeats are not copied: each has its entry in the ledger, and is read from there. Both are functions of one
partition's order, so what is shown of the two together ends where the slower one of them is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import structs

from events.session_state import State, dump_state, load_state
from projections import names
from projections.folding import SessionChange, SessionsFolded
from projections.notices import tell
from projections.states import SessionStates
from projections.versions import FIRST, Version
from schemas.events import PUBLIC, SessionCreated, SessionHeartbeat
from store.database import Connection

CHANNEL = "session_events"
"""NOTIFY: ids of sessions whose history has grown, a line each: an id has no control character."""

_COLUMNS = (
    ("session_id", "text"),
    ("seq", "int4"),
    ("account_id", "text"),
    ("type", "text"),
    ("public", "bool"),
    ("event_id", "text"),
    ("attempt", "int4"),
    ("occurred_ms", "int8"),
    ("recorded_ms", "int8"),
    ("partition", "int4"),
    ("offset", "int8"),
    ("detail", "bytea"),
    ("state", "bytea"),
)
_encode = msgspec.json.Encoder(order="sorted").encode
_created = msgspec.json.Decoder(SessionCreated)


class HistoryProjection(SessionStates):
    name = names.HISTORY

    def __init__(self, told: bool = True) -> None:
        """`told`: whoever waits for news of a session is woken; nobody waits for those of a version being filled."""
        self._told = told
        self.use(FIRST[self.name])

    def use(self, version: Version) -> None:
        super().use(version)
        schema = version.schema
        columns = ", ".join(f'"{name}"' for name, _ in _COLUMNS)
        self._copy = f"COPY {schema}.session_events ({columns}) FROM STDIN (FORMAT binary)"
        self._upsert = f"""
            INSERT INTO {schema}.attempts
            SELECT * FROM unnest(%s::text[], %s::int[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[])
            ON CONFLICT (session_id, attempt) DO UPDATE SET n = excluded.n, late_frames = excluded.late_frames,
                dropped_frames = excluded.dropped_frames, skew_ms = excluded.skew_ms
        """  # noqa: S608 - the schema's name

    async def apply(self, connection: Connection, folded: SessionsFolded) -> None:
        happened = [
            c for c in folded.changes if c.evolved.transition is not None and c.evolved.state.created is not None
        ]
        if happened:
            async with connection.cursor() as cursor, cursor.copy(self._copy) as copy:
                copy.set_types([kind for _, kind in _COLUMNS])
                for change in happened:
                    await copy.write_row(_row(change))
        if beats := _last_heartbeats(folded.changes):
            await connection.execute(self._upsert, [list(column) for column in zip(*beats, strict=True)])
        await self.save(connection, folded)
        if self._told:
            await tell(connection, CHANNEL, dict.fromkeys(change.event.subject for change in happened))


def _row(change: SessionChange) -> tuple[object, ...]:
    event, state, kind = change.event, change.evolved.state, change.evolved.transition
    assert state.created is not None
    return (
        state.session_id,
        state.seq,
        state.created.account_id,
        kind,
        kind in PUBLIC,
        event.id,
        state.attempt,
        state.last_ms,
        change.append_ms,
        change.partition,
        change.offset,
        _encode(event.data),
        dump_state(structs.replace(state, created=None, seen=())),
    )


def _last_heartbeats(changes: list[SessionChange]) -> list[tuple[object, ...]]:
    last: dict[tuple[str, int], tuple[object, ...]] = {}
    for change in changes:
        beat = change.event.data
        if isinstance(beat, SessionHeartbeat):
            said = (beat.n, beat.late_frames, beat.dropped_frames, beat.skew_ms)
            last[beat.session_id, beat.attempt] = (beat.session_id, beat.attempt, *said)
    return list(last.values())


# Reading. Whoever asks has made sure that the session is the caller's, and not hidden.


@dataclass(frozen=True, order=True)
class Position:
    """A place in a session's history: after its event `seq`, and after heartbeat `n` that followed it."""

    seq: int = 0
    n: int = 0

    def __str__(self) -> str:
        return f"{self.seq}.{self.n}" if self.n else str(self.seq)


@dataclass(frozen=True)
class Happened:
    """An event, and the session as of it."""

    at: Position
    type: str
    occurred_ms: int
    attempt: int
    detail: bytes
    state: State


@dataclass(frozen=True)
class Beat:
    """A heartbeat, as the ledger has it: `billable_ms` and `frames` since the one before."""

    at: Position
    occurred_ms: int
    attempt: int
    billable_ms: int
    frames: int


async def created(connection: Connection, session_id: str) -> SessionCreated | None:
    """What every state of the session begins with; None while nothing of it is here."""
    cursor = await connection.execute(
        "SELECT detail FROM r.session_events WHERE session_id = %s AND seq = 1", [session_id], binary=True
    )
    row = await cursor.fetchone()
    return _created.decode(row[0]) if row else None


async def events(
    connection: Connection,
    session_id: str,
    after: Position,
    limit: int,
    *,
    public: bool = True,
    without: Sequence[str] = (),
) -> list[Happened]:
    """In order, from `after` on (exclusive). `without`: types that are left out."""
    first = await created(connection, session_id)
    if first is None:
        return []
    cursor = await connection.execute(
        """
        SELECT seq, type, occurred_ms, attempt, detail, state FROM r.session_events
        WHERE session_id = %s AND seq > %s AND (public OR NOT %s) AND type <> ALL (%s) ORDER BY seq LIMIT %s
        """,
        [session_id, after.seq, public, list(without), limit],
        binary=True,
    )
    return [_happened(row, first) for row in await cursor.fetchall()]


async def with_heartbeats(
    connection: Connection, session_id: str, after: Position, limit: int
) -> list[Happened | Beat]:
    """In order, events and heartbeats, from `after` on (exclusive), as far as both projections are."""
    first = await created(connection, session_id)
    if first is None:
        return []
    cursor = await connection.execute(
        """
        WITH known AS MATERIALIZED (
            SELECT * FROM r.session_events WHERE session_id = %(session)s
        ), place AS (
            SELECT partition FROM known LIMIT 1
        ), until AS (
            SELECT min(coalesce(c.next_offset, 0)) AS "offset" FROM (VALUES ('usage'), ('history')) AS reader (name)
            LEFT JOIN checkpoints c ON c.name = reader.name AND c.topic = 'sessions.v1'
                AND c.partition = (SELECT partition FROM place)
        ), merged AS (
            SELECT k.seq, 0 AS n, k."offset", k.type, k.occurred_ms, k.attempt, k.detail, k.state, k.public,
                NULL::bigint AS billable_ms, NULL::bigint AS frames
            FROM known k
            UNION ALL
            SELECT (SELECT max(k.seq) FROM known k WHERE k."offset" < u."offset"), u.n, u."offset", NULL, u.to_ms,
                u.attempt, NULL, NULL, true, u.billable_ms, u.frames
            FROM r.usage_events u
            WHERE u.session_id = %(session)s AND u.kind = 'interval'
              AND NOT EXISTS (SELECT 1 FROM known k WHERE k.event_id = u.event_id)  -- a final meter is the end's
        )
        SELECT seq, n, type, occurred_ms, attempt, detail, state, billable_ms, frames FROM merged
        WHERE public AND (seq, n) > (%(seq)s, %(n)s) AND "offset" < (SELECT "offset" FROM until)
        ORDER BY seq, n LIMIT %(limit)s
        """,
        {"session": session_id, "seq": after.seq, "n": after.n, "limit": limit},
        binary=True,
    )
    found: list[Happened | Beat] = []
    for seq, n, kind, occurred_ms, attempt, detail, state, billable_ms, frames in await cursor.fetchall():
        if kind is None:
            found.append(Beat(Position(seq, n), occurred_ms, attempt, billable_ms, frames))
        else:
            found.append(_happened((seq, kind, occurred_ms, attempt, detail, state), first))
    return found


async def over_since(connection: Connection, session_id: str) -> int | None:
    """The seq of its terminal event, after which nothing comes."""
    cursor = await connection.execute(
        "SELECT seq, state FROM r.session_events WHERE session_id = %s ORDER BY seq DESC LIMIT 1",
        [session_id],
        binary=True,
    )
    row = await cursor.fetchone()
    return row[0] if row and load_state(row[1]).terminal else None


async def as_of_seq(connection: Connection, session_id: str, seq: int) -> State | None:
    """The session after its event `seq`; None when it has no such event, or not here yet."""
    return await _as_of(connection, session_id, "seq = %s", seq)


async def as_of_time(connection: Connection, session_id: str, time_ms: int) -> State | None:
    """The session at that time: after the last event until then, with what the log had billed by then.

    None before its create.
    """
    state = await _as_of(connection, session_id, "occurred_ms <= %s ORDER BY seq DESC LIMIT 1", time_ms)
    if state is None:
        return None
    cursor = await connection.execute(
        """
        SELECT coalesce(sum(billable_ms), 0)::bigint, coalesce(sum(frames), 0)::bigint FROM r.usage_events
        WHERE session_id = %s AND recorded_ms <= %s
        """,
        [session_id, time_ms],
    )
    row = await cursor.fetchone()
    assert row is not None
    state.billed_ms, state.frames = max(state.billed_ms, row[0]), max(state.frames, row[1])
    return state


async def _as_of(connection: Connection, session_id: str, condition: str, value: int) -> State | None:
    first = await created(connection, session_id)
    cursor = await connection.execute(
        f"SELECT state FROM r.session_events WHERE session_id = %s AND {condition}",  # noqa: S608 - of ours
        [session_id, value],
        binary=True,
    )
    row = await cursor.fetchone()
    return _state(row[0], first) if row and first is not None else None


@dataclass(frozen=True)
class AttemptFrames:
    """What the last heartbeat of an attempt said of its frames."""

    late: int
    dropped: int
    skew_ms: int | None


async def attempts(connection: Connection, session_id: str) -> dict[int, AttemptFrames]:
    cursor = await connection.execute(
        "SELECT attempt, late_frames, dropped_frames, skew_ms FROM r.attempts WHERE session_id = %s", [session_id]
    )
    return {row[0]: AttemptFrames(*row[1:]) for row in await cursor.fetchall()}


def _happened(row: tuple[Any, ...], first: SessionCreated) -> Happened:
    seq, kind, occurred_ms, attempt, detail, state = row
    return Happened(Position(seq), kind, occurred_ms, attempt, detail, _state(state, first))


def _state(dump: bytes, first: SessionCreated) -> State:
    state = load_state(dump)
    state.created = first
    return state
