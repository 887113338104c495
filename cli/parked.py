"""`greenroom parked`: what only a newer version can read, and its way back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.console import err, fail, out, run_to_the_end, with_database
from cli.shown import cell, plain, shown_record

if TYPE_CHECKING:
    from events.codec import Record
    from projections.parked import Parked
    from store.database import Connection

parked_app = typer.Typer(help="Sessions and avatars that a consumer could not read.", no_args_is_help=True)

_WAIT_S = 30.0

Subject = Annotated[str, typer.Argument(help="A session or an avatar.")]


@parked_app.command("list")
def list_parked() -> None:
    """Sessions and avatars with an event that a consumer could not read yet."""
    from projections import parked

    table = Table("consumer", "subject", "topic", "partition", "offset", "reason")
    for row in with_database(parked.everything):
        place = row.parking
        said = (row.consumer, place.subject, row.topic, place.partition, place.offset, place.reason)
        table.add_row(*map(cell, said))
    out.print(table)


@parked_app.command("show")
def show(subject: Subject) -> None:
    """Who has left it alone, where and why, and the record that it stands at."""
    found = _parked(subject)
    for row in found:
        place = row.parking
        at = f"partition {place.partition}, offset {place.offset}"
        out.print(f"{row.consumer}: {row.topic}, {at}: {plain(place.reason)}", markup=False)
    for topic, partition, offset in dict.fromkeys((r.topic, r.parking.partition, r.parking.offset) for r in found):
        shown_record(run_to_the_end(_record(topic, partition, offset)))


def _parked(subject: str) -> list[Parked]:
    from projections import parked

    found = with_database(lambda connection: parked.everything(connection, subject))
    if not found:
        raise fail(f"Nothing is parked of {subject}: see `greenroom parked list`.")
    return found


async def _record(topic: str, partition: int, offset: int) -> Record:
    from events import topics
    from events.reader import LogReader
    from events.settings import LogSettings

    (known,) = (each for each in topics.ALL if each.name == topic)
    async with LogReader(LogSettings(), known) as log:
        return await log.record(partition, offset)


@parked_app.command("retry")
def retry(
    subject: Annotated[str | None, typer.Argument(help="A session or an avatar.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is parked.")] = False,
    consumer: Annotated[str | None, typer.Option(help="Of this consumer alone, and those that share its fold.")] = None,
) -> None:
    """Have it read again from where it was parked, by the processes that own it, and wait for them.

    Exit 0: all of it is read. 1: some of it still cannot be read, or nobody has answered yet.
    """
    from projections import names, parked

    if (subject is None) is not everything:
        raise fail("Say which session or avatar, or --all.")
    known = (*names.ALL, names.LIVE)
    if consumer is not None and consumer not in known:
        raise fail(f"There is no consumer {consumer}. There are {', '.join(known)}.")
    asked = with_database(lambda connection: parked.ask(connection, subject, consumer))
    if not asked:
        out.print("Nothing is parked." if everything else f"Nothing is parked of {subject}.", markup=False)
        return
    rest = with_database(lambda connection: _until_answered(connection, subject, consumer, asked))
    for name, each in asked:
        if (name, each) not in rest:
            out.print(f"{plain(each)}: read again by {name}", markup=False)
    for row in rest.values():
        _tell_left(row)
    if rest:
        raise typer.Exit(1)


async def _until_answered(
    connection: Connection, subject: str | None, consumer: str | None, asked: list[tuple[str, str]]
) -> dict[tuple[str, str], Parked]:
    """What of it is still parked, once nobody's answer is waited for any more, or after _WAIT_S."""
    import asyncio

    from projections import parked

    deadline = time.monotonic() + _WAIT_S
    while await parked.waiting(connection, subject, consumer) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    rows = {(row.consumer, row.parking.subject): row for row in await parked.everything(connection, subject)}
    return {key: rows[key] for key in asked if key in rows}


def _tell_left(row: Parked) -> None:
    from projections import names

    place = row.parking
    if row.asked:
        owner = "greenroom live" if row.consumer == names.LIVE else f"greenroom project {row.consumer}"
        told = f"not answered yet; it is done as soon as `{owner}` runs and has the time"
    else:
        told = f"still parked, at offset {place.offset}: {place.reason}"
    err.print(plain(f"{place.subject}: {row.consumer}: {told}"), style="red", markup=False)
