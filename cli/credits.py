"""`greenroom credits`: grants, and what became of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.accounts import Account, account_id
from cli.console import fail, out, with_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store.credits import Entry, Grant
    from store.database import Connection

credits_app = typer.Typer(help="Credits: one is a minute of standard quality.", no_args_is_help=True)

_LATEST = 20


@credits_app.command("grant")
def grant(
    account: Account,
    credits: Annotated[int, typer.Argument(min=1, max=1_000_000_000)],
    expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="In UTC. Default: never.")
    ] = None,
    note: Annotated[str, typer.Option(help="Shown in the history.")] = "",
) -> None:
    """Give an account credits. What expires first pays first; what was used before the first grant is not charged."""
    from store import credits as store_credits

    until = None if expires is None else expires.replace(tzinfo=UTC)
    if until is not None and until <= datetime.now(UTC):
        raise fail(f"{expires} is over already (UTC).")

    async def give(connection: Connection) -> str:
        found = await account_id(connection, account)
        return await store_credits.grant(connection, found, credits, until, note)

    out.print(with_database(give), markup=False, highlight=False)


@credits_app.command("show")
def show(account: Account) -> None:
    """The balance of an account, the grants that are left, and the latest changes."""
    from schemas.rates import CREDIT_US
    from store import credits as store_credits

    async def look(connection: Connection) -> tuple[int, Sequence[Grant], Sequence[Entry]]:
        found = await account_id(connection, account)
        return (
            await store_credits.balance_us(connection, found),
            await store_credits.grants(connection, found),
            await store_credits.entries(connection, found, None, _LATEST),
        )

    balance, grants, entries = with_database(look)
    out.print(f"Balance: {balance / CREDIT_US:.3f} credits")
    table = Table("grant", "left", "of", "expires", "note")
    for each in grants:
        expires = "never" if each.expires_at is None else f"{each.expires_at:%Y-%m-%d %H:%M}"
        table.add_row(
            each.id, f"{each.left_us / CREDIT_US:.3f}", f"{each.granted_us / CREDIT_US:.3f}", expires, each.note
        )
    out.print(table)
    table = Table("n", "at", "kind", "amount", "balance", "note")
    for entry in entries:
        table.add_row(
            str(entry.n),
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            entry.kind,
            f"{entry.amount_us / CREDIT_US:+.3f}",
            f"{entry.balance_us / CREDIT_US:.3f}",
            entry.note,
        )
    out.print(table)
