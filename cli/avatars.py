"""`greenroom avatars`: an account's custom avatars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from cli.accounts import Account, account_id
from cli.console import WAIT_S, fail, out, run_to_the_end, with_database

if TYPE_CHECKING:
    from events.sealing import Keyring
    from schemas.avatars import AvatarResource
    from store.database import Connection

avatars_app = typer.Typer(help="Custom avatars of an account.", no_args_is_help=True)

_AT_ONCE = 100


@avatars_app.command("list")
def list_avatars(account: Account) -> None:
    """List them, the newest first, with what those that failed failed of."""
    from events.sealing import Keyring
    from store.settings import KeyringSettings

    keyring = Keyring(KeyringSettings().master_keys.get_secret_value())
    table = Table(Column("id", no_wrap=True, min_width=29), "name", "status", "runtime", "created", "why")
    for each in run_to_the_end(_every(account, keyring)):
        table.add_row(
            each.id, each.name, each.status, each.runtime_type, each.created_at[:16], each.failure_reason or ""
        )
    out.print(table)


async def _every(account: str, keyring: Keyring) -> list[AvatarResource]:
    from projections import avatars
    from store.data_keys import DataKeys
    from store.database import pool
    from store.settings import DatabaseSettings

    shown: list[AvatarResource] = []
    async with pool(DatabaseSettings().database_url, 2, WAIT_S) as connections, connections.connection() as connection:
        of = await account_id(connection, account)
        keys = await DataKeys(connections, keyring).of_account(of)
        while found := await avatars.page(connection, of, shown[-1].id if shown else None, _AT_ONCE):
            shown += [each.shown(keys) for each in found]
    return shown


@avatars_app.command("delete")
def delete(account: Account, avatar: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Delete one: its portrait and face are removed from the asset store. Sessions that run with it go on."""
    from projections import avatars

    async def known(connection: Connection) -> str:
        of = await account_id(connection, account)
        if not await avatars.find(connection, of, avatar):
            raise fail(f"{account} has no avatar {avatar}; see `greenroom avatars list {account}`.")
        return of

    run_to_the_end(_delete(with_database(known), avatar))
    out.print(f"{avatar} is deleted.")


async def _delete(of: str, avatar: str) -> None:
    from api.uploads import say_deleted
    from events.producer import EventProducer, UnknownOutcome
    from events.settings import LogSettings
    from schemas.ids import REQUEST, new_id
    from store.database import pool
    from store.settings import DatabaseSettings

    async with (
        pool(DatabaseSettings().database_url, 1, WAIT_S) as connections,
        EventProducer(LogSettings()) as producer,
    ):
        try:
            await say_deleted(producer, connections, of, avatar, new_id(REQUEST))
        except UnknownOutcome:
            raise fail("Kafka did not acknowledge in time: it may be deleted, or not. Asking again is safe.") from None
