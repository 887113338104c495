"""What all commands share: where they print, how they fail, and how they run what needs Kafka or the database."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console

if TYPE_CHECKING:  # a command imports what it needs when it runs: `--help` is there at once
    from events.codec import Event
    from events.topics import Topic
    from store.database import Connection

T = TypeVar("T")
WAIT_S = 5.0
"""For the database."""

SOURCE = "greenroom/cli"
"""Of events that a command appends."""

_OF_A_FILE = 200
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _OF_A_FILE)
err = Console(stderr=True)


def fail(message: str, code: int = 1) -> typer.Exit:
    err.print(message, style="red", markup=False)
    return typer.Exit(code)


def with_database(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Call `work(connection)` on the database of the settings."""
    from store.database import pool
    from store.settings import DatabaseSettings

    async def run() -> T:
        async with (
            pool(DatabaseSettings().database_url, 1, WAIT_S) as connections,
            connections.connection() as connection,
        ):
            return await work(connection)

    return run_to_the_end(run())


def moment(option: str, text: str, code: int = 1) -> int:
    """A time with a zone, or a day in UTC. What is neither exits with `code`."""
    from schemas.times import from_wire

    try:
        return from_wire(f"{text}T00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text)
    except ValueError:
        raise fail(f"{option} is a day such as 2026-11-01, or a time with a zone, not {text}.", code) from None


async def append(topic: Topic, event: Event) -> None:
    """What an operator says, into the log: exits with a sentence where it may not have got there."""
    from events.producer import EventProducer, UnknownOutcome
    from events.settings import LogSettings

    async with EventProducer(LogSettings()) as producer:
        try:
            await producer.send(topic, event)
        except UnknownOutcome:
            raise fail("Kafka has not acknowledged it; it may still happen. Say it again.") from None


@contextmanager
def leaving_threads() -> Iterator[None]:
    """Ends the process with the code that it would have, and waits for no thread of a library.

    faust's reads from Kafka, and while Kafka does not answer it neither stops nor lets the interpreter end.
    """
    code = 1
    try:
        yield
        code = 0
    except typer.Exit as told:
        code = told.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def run_to_the_end(
    work: Coroutine[Any, Any, T], code: int = 1, run: Callable[[Coroutine[Any, Any, T]], T] = asyncio.run
) -> T:
    """Run, and say in a sentence when Kafka or Postgres cannot be reached or lost events; that exits with `code`."""
    from aiokafka.errors import KafkaError

    from events.consumer import LogGap, Stuck
    from store.database import DatabaseUnreachable

    try:
        return run(work)
    except (LogGap, Stuck) as failed:
        raise fail(str(failed), code) from None
    except KafkaError as failed:
        raise fail(
            f"Kafka cannot be reached: is GREENROOM_KAFKA_BOOTSTRAP right? ({type(failed).__name__})", code
        ) from None
    except DatabaseUnreachable:
        raise fail("The database cannot be reached: is GREENROOM_DATABASE_URL right?", code) from None
    except TimeoutError:
        raise fail("Kafka did not answer in time: is GREENROOM_KAFKA_BOOTSTRAP right?", code) from None
    except OSError as failed:  # a full disk, a taken port, a folder that may not be read
        raise fail(f"{failed.strerror or failed}: {failed.filename or 'see the log'}", code) from None


def run_folding(work: Coroutine[Any, Any, T]) -> T:
    """As a projection runs: on uvloop, and without looking for cycles among events, which have none."""
    import gc

    import uvloop

    gc.set_threshold(500_000, 20, 100)
    return uvloop.run(work)
