"""`greenroom dead-letters`: copies of what can never be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.console import err, out, run_to_the_end
from cli.shown import cell, shown_record

if TYPE_CHECKING:
    from events.codec import Record
    from events.dead_letters import Letter

dead_letters_app = typer.Typer(help="Records of the log that can never be read.", no_args_is_help=True)

_MOST = 1000


@dead_letters_app.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="The latest so many.")] = 100,
) -> None:
    """The latest copies, with the place of each original and the reason. Its number is for `show`."""
    from schemas.times import to_wire

    found, total = run_to_the_end(_latest(limit))
    table = Table("number", "copied", "topic", "partition", "offset", "reason")
    for letter in found:
        reason = letter.reason + (" (its bytes were too many to copy)" if letter.cut else "")
        said = map(cell, (letter.topic, letter.partition, letter.offset, reason))
        table.add_row(str(letter.copy.offset), to_wire(letter.copy.timestamp), *said)
    out.print(table)
    if total > len(found):
        err.print(f"{total - len(found)} older ones are not shown.")


@dead_letters_app.command("show")
def show(number: Annotated[int, typer.Argument(min=0, help="As in `list`.")]) -> None:
    """One of them, whole: key, headers and value as text where they are some, else as a dump."""
    shown_record(run_to_the_end(_one(number)))


async def _latest(limit: int) -> tuple[list[Letter], int]:
    from events.dead_letters import letter_of
    from events.reader import LogReader
    from events.settings import LogSettings
    from events.topics import DEAD_LETTERS

    async with LogReader(LogSettings(), DEAD_LETTERS) as log:
        begin, end = (await log.begins())[0], (await log.ends())[0]
        found = [letter_of(r) async for records in log.read(0, max(begin, end - limit), end) for r in records]
    return found, end - begin


async def _one(number: int) -> Record:
    from events.reader import LogReader
    from events.settings import LogSettings
    from events.topics import DEAD_LETTERS

    async with LogReader(LogSettings(), DEAD_LETTERS) as log:
        return await log.record(0, number)
