"""`greenroom keys`: API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from cli.accounts import known_plan
from cli.console import err, fail, out, with_database

if TYPE_CHECKING:
    from store.database import Connection

keys_app = typer.Typer(help="API keys.", no_args_is_help=True)


@keys_app.command("create")
def create_key(
    account: Annotated[str, typer.Option(help="Name of the account; made when there is none.")] = "default",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    plan: Annotated[str, typer.Option(help="Plan of a new account.")] = "self_hosted",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may do, such as sessions:read; repeatable. Default: everything of its account."),
    ] = None,
    creates_per_minute: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Default: the plan's.")] = None,
    max_concurrency: Annotated[int | None, typer.Option(min=0, help="Live sessions of this key.")] = None,
) -> None:
    """Make an API key. The secret is shown once."""
    from events.sealing import Keyring
    from store import accounts
    from store.data_keys import Erased
    from store.settings import KeySettings

    settings = KeySettings()
    keyring = Keyring(settings.master_keys.get_secret_value())
    try:
        accounts.check_pepper(settings.key_pepper.get_secret_value())
    except accounts.PepperMissing as missing:
        raise fail(str(missing)) from None
    for each in scope or ():
        if each not in accounts.SCOPES:
            raise fail(f"{each} is no scope. There are {', '.join(accounts.SCOPES)}.")
    limits = accounts.KeyLimits(tuple(scope or ("*",)), creates_per_minute, max_concurrency)

    async def make(connection: Connection) -> tuple[str, str]:
        found = await accounts.find_account(connection, account)
        if found is None:
            await known_plan(connection, plan)
            found = await accounts.create_account(connection, account, plan, keyring)
        return await accounts.create_key(connection, found, name, settings.key_pepper.get_secret_value(), limits)

    try:
        key_id, secret = with_database(make)
    except Erased:
        raise fail(f"{account} is erased, or about to be: it gets no keys any more.") from None
    err.print(f"Key {key_id} of account {account}. Keep the secret; it is not shown again.")
    out.print(secret, markup=False, highlight=False)


@keys_app.command("list")
def list_keys() -> None:
    """List the keys."""
    from store import accounts

    # ids are copied from here: never cut
    whole = (Column(name, no_wrap=True, min_width=31) for name in ("id", "account"))
    table = Table(*whole, "name", "key", "scopes", "a minute", "sessions", "created", "revoked")
    for key in with_database(accounts.keys):
        table.add_row(
            key.id,
            key.account_id,
            key.name,
            key.shown,
            " ".join(key.scopes),
            or_plan(key.creates_per_minute),
            or_plan(key.max_concurrency),
            f"{key.created_at:%Y-%m-%d %H:%M}",
            f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "",
        )
    out.print(table)


def or_plan(limit: int | None) -> str:
    return "plan" if limit is None else str(limit)


@keys_app.command("revoke")
def revoke_key(key_id: str) -> None:
    """Revoke a key: at once for creates, within a second for reads."""
    from store import accounts

    if not with_database(lambda connection: accounts.revoke_key(connection, key_id)):
        raise fail(f"There is no key {key_id} that could be revoked; see `greenroom keys list`.")
    out.print(f"{key_id} is revoked.")
