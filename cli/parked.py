"""`greenroom parked`: what only a newer version can read."""

from __future__ import annotations

import typer
from rich.table import Table

from cli.console import out, with_database

parked_app = typer.Typer(help="Sessions and avatars that a consumer could not read.", no_args_is_help=True)


@parked_app.command("list")
def list_parked() -> None:
    """Sessions and avatars with an event that a consumer could not read yet."""

    from projections import parked

    table = Table("consumer", "subject", "partition", "offset", "reason")
    for consumer, found in with_database(parked.everything):
        table.add_row(consumer, found.subject, str(found.partition), str(found.offset), found.reason)
    out.print(table)
