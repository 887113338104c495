"""A database that is away, in every way that it can be."""

from __future__ import annotations

import asyncio
import os
import signal

import psycopg
import pytest

from store.database import DatabaseUnreachable, pool
from tests.world import World

pytestmark = pytest.mark.servers


async def test_a_stopped_server_is_told_in_time_and_its_connection_replaced(world: World) -> None:
    """SIGSTOP: the server neither answers nor cancels. Without an end of our own the statement would wait for ever."""
    async with pool(world.database_url, 1, answer_within_s=0.5) as connections:
        async with connections.connection() as connection:
            row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
            assert row is not None
            os.kill(row[0], signal.SIGSTOP)
        try:
            async with asyncio.timeout(5):
                with pytest.raises(DatabaseUnreachable):
                    async with connections.connection() as connection:
                        await connection.execute("SELECT 1")
                async with connections.connection() as connection:
                    other = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
            assert other != row
        finally:
            os.kill(row[0], signal.SIGCONT)


async def test_a_server_that_is_not_there() -> None:
    with pytest.raises(DatabaseUnreachable):
        async with pool("postgresql://nobody@127.0.0.1:1/none", 1, wait_s=0.5):
            pass


async def test_what_the_caller_does_wrong_is_not_the_databases_fault(world: World) -> None:
    """A full disk of ours used to read as a database that cannot be reached."""
    async with pool(world.database_url, 1) as connections:
        with pytest.raises(OSError, match="disk full"):
            async with connections.connection():
                raise OSError(28, "disk full")
        with pytest.raises(psycopg.errors.UndefinedTable):
            async with connections.connection() as connection:
                await connection.execute("SELECT * FROM nothing")


async def test_a_process_stopped_amidst_a_transaction_holds_no_lock_for_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.database.IDLE_IN_TRANSACTION_S", 0.3)
    async with pool(world.database_url, 1) as stopped, pool(world.database_url, 1) as other:

        async def holds() -> None:
            async with stopped.connection() as connection, connection.transaction():
                await connection.execute("SELECT 1 FROM accounts WHERE id = %s FOR UPDATE", [world.account])
                async with asyncio.timeout(8), other.connection() as free:  # waits for the lock, and gets it
                    await free.execute("UPDATE accounts SET name = name WHERE id = %s", [world.account])
                await connection.execute("SELECT 1")

        with pytest.raises(DatabaseUnreachable):
            await holds()
