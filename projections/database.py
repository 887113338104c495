"""Connections to Postgres, and the migrations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[Connection]

STATEMENT_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 3
POOL_TIMEOUT_S = 3.0

Unavailable = (psycopg.OperationalError, PoolTimeout, psycopg.InterfaceError, TimeoutError, OSError)
"""What a driver raises when the database cannot be reached or does not answer in time."""


def new_pool(url: str, size: int) -> Pool:
    """A pool whose every statement ends within STATEMENT_TIMEOUT_S. Connections are in autocommit mode."""
    return AsyncConnectionPool(
        url,
        min_size=1,
        max_size=size,
        open=False,
        timeout=POOL_TIMEOUT_S,
        reconnect_timeout=30,
        kwargs={
            "autocommit": True,
            "prepare_threshold": 0,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": f"-c statement_timeout={int(STATEMENT_TIMEOUT_S * 1000)} -c timezone=UTC",
        },
    )


@asynccontextmanager
async def pool(url: str, size: int, wait_s: float = 30) -> AsyncIterator[Pool]:
    """Raises PoolTimeout when no connection can be had within `wait_s`."""
    opened = new_pool(url, size)
    await opened.open(wait=True, timeout=wait_s)
    try:
        yield opened
    finally:
        await opened.close(timeout=5)


def migrate(url: str) -> None:
    """Bring the schema up to date. Concurrent calls wait for each other on an advisory lock."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7237901)")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


async def listen(url: str, channel: str, wake: asyncio.Event) -> None:
    """Set `wake` at every NOTIFY on `channel`, for ever; reconnects by itself, waking once each time.

    A lost notification only costs the caller its own polling interval, never correctness.
    """
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
            async with connection:
                await connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
                wake.set()
                async for _ in connection.notifies():
                    wake.set()
        except Unavailable:
            await asyncio.sleep(0.5)
