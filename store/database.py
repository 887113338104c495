"""Connections to Postgres."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from store import metrics

Row = tuple[Any, ...]
Connection = psycopg.AsyncConnection[Row]

STATEMENT_TIMEOUT_S = 10.0
IDLE_IN_TRANSACTION_S = 15.0
"""A process that is stopped amidst a transaction holds its locks, an account's among them, no longer than this."""
CONNECT_TIMEOUT_S = 3
POOL_TIMEOUT_S = 3.0
ANSWER_WITHIN_S = 30.0
BATCH = 2000
_READY_WITHIN_S = 2.0
_KEEP_ALIVE: dict[str, Any] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""Of a connection that only listens: a server that is gone without a word would never be noticed."""

_DRIVER = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,  # the old primary, after a failover
    PoolTimeout,
)


class DatabaseUnreachable(Exception):
    """The database cannot be reached or did not answer in time. What was under way may have been stored or not."""


@contextmanager
def translated() -> Iterator[None]:
    """The one place where the driver's words for it become ours."""
    try:
        yield
    except _DRIVER as failed:
        raise DatabaseUnreachable(f"{type(failed).__name__}: {failed}") from failed


class Pool(AsyncConnectionPool[Connection]):
    """Connections to one database. All that goes wrong between it and us is DatabaseUnreachable."""

    def __init__(self, url: str, answer_within_s: float, **options: Any) -> None:
        super().__init__(url, connection_class=psycopg.AsyncConnection, **options)
        self._answer_within_s = answer_within_s

    @asynccontextmanager
    async def connection(
        self, timeout: float | None = None, *, within_s: float | None = None
    ) -> AsyncIterator[Connection]:
        """A connection for at most `within_s` seconds (default: the pool's `answer_within_s`).

        When the time is over its socket is shut: the server's own time-out is of no use when the server is stopped or
        the network gone, and psycopg waits for the server's answer even when it is cancelled.
        """
        with translated():
            async with super().connection(timeout) as connection:
                over = asyncio.get_running_loop().call_later(
                    self._answer_within_s if within_s is None else within_s, _hang_up, connection
                )
                try:
                    yield connection
                finally:
                    over.cancel()


def _hang_up(connection: Connection) -> None:
    """Whoever waits on this connection gets an OperationalError at once, and the pool replaces it."""
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as end:
        end.shutdown(socket.SHUT_RDWR)


def new_pool(
    url: str, size: int, *, connect_within_s: float = POOL_TIMEOUT_S, answer_within_s: float = ANSWER_WITHIN_S
) -> Pool:
    """A pool whose every statement ends within STATEMENT_TIMEOUT_S. Connections are in autocommit mode."""
    return Pool(
        url,
        answer_within_s,
        min_size=1,
        max_size=size,
        open=False,
        timeout=connect_within_s,
        reconnect_timeout=30,
        kwargs={
            "autocommit": True,
            "prepare_threshold": 0,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": f"-c statement_timeout={int(STATEMENT_TIMEOUT_S * 1000)}"
            f" -c idle_in_transaction_session_timeout={int(IDLE_IN_TRANSACTION_S * 1000)} -c timezone=UTC",
        },
    )


@asynccontextmanager
async def pool(
    url: str,
    size: int,
    wait_s: float = 30,
    *,
    connect_within_s: float = POOL_TIMEOUT_S,
    answer_within_s: float = ANSWER_WITHIN_S,
) -> AsyncIterator[Pool]:
    """`wait_s`: for the first connection of all; `connect_within_s`: for one of the pool, later.

    Raises DatabaseUnreachable.
    """
    opened = new_pool(url, size, connect_within_s=connect_within_s, answer_within_s=answer_within_s)
    with translated():
        await opened.open(wait=True, timeout=wait_s)
    try:
        with metrics.of_pool(opened):
            yield opened
    finally:
        await opened.close(timeout=5)


async def missing(pool: Pool) -> Sequence[str]:
    """For a process' readiness: nothing when the database answers."""
    try:
        async with pool.connection(_READY_WITHIN_S, within_s=_READY_WITHIN_S) as connection:
            await connection.execute("SELECT 1")
    except DatabaseUnreachable:
        return ["the database does not answer"]
    return []


async def delete_by_batches(
    pool: Pool, table: str, key: str, condition: str, older_s: float = 0, **values: object
) -> int:
    """Delete the rows `t` that meet `condition`, a batch at a time, so that no lock is held for long.

    `key`: of the primary key's columns. `condition` may name `%(older_s)s`, and other `values`. Returns how many went.
    Several at once, and a crash anywhere, do no harm. Raises DatabaseUnreachable.
    """
    statement = f"""
        DELETE FROM {table} WHERE ({key}) IN (
            SELECT {key} FROM {table} t WHERE {condition} LIMIT {BATCH} FOR UPDATE SKIP LOCKED)
    """  # noqa: S608 - constants of our modules
    deleted = 0
    while True:
        async with pool.connection() as connection:
            cursor = await connection.execute(statement, {"older_s": older_s, **values})
        deleted += cursor.rowcount
        if cursor.rowcount < BATCH:
            return deleted


async def listen(url: str, told: Mapping[str, Callable[[str], None]]) -> None:
    """Call `told[channel]` with the payload of every NOTIFY, for ever.

    It reconnects by itself and calls each with an empty payload then: anything may have been missed.
    """
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(
                url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, **_KEEP_ALIVE
            )
            async with connection:
                for channel in told:
                    await connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
                for tell in told.values():
                    tell("")
                async for notified in connection.notifies():
                    told[notified.channel](notified.payload)
        except (*_DRIVER, OSError):
            await asyncio.sleep(0.5)
