"""The session resource as the log tells it: one row per session, made of its fold state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from events.session_state import State, load_state
from projections import names
from projections.folding import Projection, SessionsFolded
from projections.states import stored
from projections.versions import FIRST, Version
from store.database import Connection, Row

_UPSERT = """
    INSERT INTO {schema}.sessions AS s (
        session_id, partition, hidden, account_id, avatar_id, quality, status, seq, attempt, worker_id, created_ms,
        started_ms, first_frame_ms, ended_ms, end_reason, failure_code, billed_ms, frames, credit_us, state)
    SELECT * FROM unnest(
        %s::text[], %s::int[], %s::bool[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::int[],
        %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::bigint[],
        %s::bigint[], %s::bigint[], %b::bytea[])
    ON CONFLICT (session_id) DO UPDATE SET
        hidden = excluded.hidden, status = excluded.status, seq = excluded.seq, attempt = excluded.attempt,
        worker_id = excluded.worker_id, started_ms = excluded.started_ms, first_frame_ms = excluded.first_frame_ms,
        ended_ms = excluded.ended_ms, end_reason = excluded.end_reason, failure_code = excluded.failure_code,
        billed_ms = excluded.billed_ms, frames = excluded.frames, credit_us = excluded.credit_us, state = excluded.state
"""


class SessionsProjection(Projection[State]):
    name = names.SESSIONS

    def __init__(self) -> None:
        self.use(FIRST[self.name])

    def use(self, version: Version) -> None:
        """Its table is there; readers use the views in `r`."""
        super().use(version)
        self._upsert = _UPSERT.format(schema=version.schema)
        self._select = f"SELECT session_id, state FROM {version.schema}.sessions WHERE session_id = ANY(%s)"  # noqa: S608

    async def load(self, connection: Connection, subjects: Sequence[str]) -> dict[str, State]:
        cursor = await connection.execute(self._select, [list(subjects)], binary=True)
        return {session_id: load_state(state) for session_id, state in await cursor.fetchall()}

    async def apply(self, connection: Connection, folded: SessionsFolded) -> None:
        if folded.states:
            rows = [_row(state, folded.partition_of[sid], stored(folded, sid)) for sid, state in folded.states.items()]
            await connection.execute(self._upsert, [list(column) for column in zip(*rows, strict=True)])


def _row(state: State, partition: int, dump: bytes) -> tuple[object, ...]:
    created = state.created
    return (
        state.session_id,
        partition,
        state.hidden,
        created.account_id if created else None,
        created.avatar_id if created else None,
        created.quality if created else None,
        state.status,
        state.seq,
        state.attempt,
        state.worker_id,
        state.created_ms,
        state.started_ms,
        state.first_frame_ms,
        state.ended_ms,
        state.end_reason,
        state.failure_code,
        state.billed_ms,
        state.frames,
        state.credit_us,
        dump,
    )


# Reading: the projection where it has the session, the admission until then

_EFFECTIVE = """
    CASE WHEN a.state IN ('ending', 'over') AND s.status IN ('queued', 'starting', 'running')
         THEN 'ending' ELSE s.status END
"""
_KEY = "(SELECT coalesce(k.key, ''::bytea) FROM session_keys k WHERE k.session_id = {}.session_id)"
_PROMISED = "NOT EXISTS (SELECT 1 FROM abandoned b WHERE b.session_id = {}.session_id)"
"""Abandoned creates are nobody's, even while the end that hides them is on its way."""


class StoredSession(Struct, frozen=True):
    """A session as it must be shown. Either the log's `state`, or the stored `resource` of its admission.

    `status` overrides either: once an end was acknowledged no answer goes back to an earlier status. `key`: of its
    data, wrapped; empty once it is erased, None where it has none of its own.
    """

    session_id: str
    status: str
    state: State | None
    resource: str | None
    key: bytes | None


async def find(connection: Connection, account_id: str, session_id: str) -> StoredSession | None:
    """The session, if it is this account's."""
    cursor = await connection.execute(
        f"""
        SELECT s.session_id, {_EFFECTIVE}, s.state, NULL, {_KEY.format("s")}
        FROM r.sessions s LEFT JOIN admissions a USING (session_id)
        WHERE s.session_id = %(session)s AND s.account_id = %(account)s AND {_PROMISED.format("s")}
        UNION ALL
        SELECT a.session_id, CASE WHEN a.state IN ('ending', 'over') THEN 'ending' ELSE 'queued' END, NULL, a.resource,
            NULL
        FROM admissions a
        WHERE a.session_id = %(session)s AND a.account_id = %(account)s AND {_PROMISED.format("a")}
        LIMIT 1
        """,  # noqa: S608 - no value in it
        {"session": session_id, "account": account_id},
        binary=True,
    )
    row = await cursor.fetchone()
    return _found(row) if row else None


@dataclass(frozen=True)
class Filter:
    """What a list is limited to. `created_after_ms` is inclusive, `created_before_ms` exclusive."""

    statuses: Sequence[str] = ()
    avatar_id: str | None = None
    created_after_ms: int | None = None
    created_before_ms: int | None = None
    before_id: str | None = None

    def conditions(self) -> str:
        """On the columns of a branch of `page`. Only what is asked for: each combination has a plan of its own."""
        wanted = {
            "status = ANY (%(statuses)s)": self.statuses,
            "avatar_id = %(avatar)s": self.avatar_id is not None,
            "created_ms >= %(after)s": self.created_after_ms is not None,
            "created_ms < %(before)s": self.created_before_ms is not None,
            "session_id < %(before_id)s": self.before_id is not None,
        }
        return " AND ".join(condition for condition, asked in wanted.items() if asked) or "true"

    def stored(self) -> str:
        """On the projection's own status, where no admission has the last word: what may be shown as wanted."""
        if not self.statuses or not _ACTIVE.issuperset(self.statuses):
            return "true"
        return "s.status IN ({})".format(", ".join(f"'{status}'" for status in sorted(_ACTIVE)))  # sessions_active


_ACTIVE = frozenset({"queued", "starting", "running", "ending"})


async def page(connection: Connection, account_id: str, only: Filter, limit: int) -> list[StoredSession]:
    """Newest first. However many sessions the account has, live or over, it reads as many as it shows.

    A full page of the projection ends the search for what it does not have yet: older promises are of later pages.
    """
    cursor = await connection.execute(
        f"""
        WITH known AS MATERIALIZED (
            SELECT session_id, status, state, NULL AS resource FROM (
                SELECT s.session_id, {_EFFECTIVE} AS status, s.state, s.avatar_id, s.created_ms
                FROM r.sessions s LEFT JOIN admissions a USING (session_id)
                WHERE s.account_id = %(account)s AND {_PROMISED.format("s")} AND {only.stored()}
            ) shown WHERE {only.conditions()} ORDER BY session_id DESC LIMIT %(limit)s
        ), full_page AS (
            SELECT min(session_id) AS last FROM known HAVING count(*) = %(limit)s
        ), promised AS (
            SELECT session_id, status, NULL::bytea AS state, resource FROM (
                SELECT a.session_id, CASE WHEN a.state IN ('ending', 'over') THEN 'ending' ELSE 'queued' END AS status,
                    a.resource, a.resource::json ->> 'avatar_id' AS avatar_id, a.created_ms
                FROM admissions a
                WHERE a.account_id = %(account)s AND a.session_id > coalesce((SELECT last FROM full_page), '')
                  AND {_PROMISED.format("a")}
                  AND (SELECT s.session_id FROM r.all_sessions s WHERE s.session_id = a.session_id) IS NULL
            ) shown WHERE {only.conditions()} ORDER BY session_id DESC LIMIT %(limit)s
        )
        SELECT session_id, status, state, resource, {_KEY.format("known")} FROM known
        UNION ALL
        SELECT session_id, status, state, resource, NULL FROM promised
        ORDER BY session_id DESC LIMIT %(limit)s
        """,  # noqa: S608 - no value in it
        {
            "account": account_id,
            "statuses": list(only.statuses),
            "avatar": only.avatar_id,
            "after": only.created_after_ms,
            "before": only.created_before_ms,
            "before_id": only.before_id,
            "limit": limit,
        },
        binary=True,
    )
    return [_found(row) for row in await cursor.fetchall()]


async def latest(connection: Connection, account_id: str | None, live: bool, limit: int) -> list[State]:
    """For operators: as the projection has them, newest first. `account_id` None: of all; `live`: not over yet."""
    only = "s.status IN ({})".format(", ".join(f"'{status}'" for status in sorted(_ACTIVE))) if live else "true"
    cursor = await connection.execute(
        f"""
        SELECT s.state FROM r.sessions s
        WHERE {only} AND (%(account)s::text IS NULL OR s.account_id = %(account)s)
        ORDER BY s.session_id DESC LIMIT %(limit)s
        """,  # noqa: S608 - no value in it
        {"account": account_id, "limit": limit},
        binary=True,
    )
    return [load_state(state) for (state,) in await cursor.fetchall()]


async def state(connection: Connection, session_id: str) -> State | None:
    """For operators: of any account's session, as the projection has it."""
    cursor = await connection.execute("SELECT state FROM r.sessions WHERE session_id = %s", [session_id], binary=True)
    row = await cursor.fetchone()
    return load_state(row[0]) if row else None


def _found(row: Row) -> StoredSession:
    session_id, status, state, stored, key = row
    return StoredSession(session_id, status, load_state(state) if state is not None else None, stored, key)
