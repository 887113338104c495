"""`greenroom accounts` and `greenroom plans`: who may take how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from cli.console import fail, out, with_database
from schemas.labels import Corner

if TYPE_CHECKING:
    from store.database import Connection

accounts_app = typer.Typer(help="Accounts.", no_args_is_help=True)
plans_app = typer.Typer(help="Plans: what an account may take.", no_args_is_help=True)

Account = Annotated[str, typer.Argument(help="Its id or name.")]


async def known_plan(connection: Connection, key: str) -> None:
    """Raises typer.Exit with the plans that there are."""
    from store import plans

    keys = [plan.key for plan in await plans.every(connection)]
    if key not in keys:
        raise fail(f"There is no plan {key}. There are {', '.join(keys)}; `greenroom plans set` makes one.")


@accounts_app.command("create")
def create_account(
    name: str, plan: Annotated[str, typer.Option(help="See `greenroom plans list`.")] = "self_hosted"
) -> None:
    """Make an account, and print its id."""
    from events.sealing import Keyring
    from store import accounts
    from store.settings import KeyringSettings

    keyring = Keyring(KeyringSettings().master_keys.get_secret_value())

    async def make(connection: Connection) -> str:
        if await accounts.find_account(connection, name) is not None:
            raise fail(f"There is an account {name} already; see `greenroom accounts list`.")
        await known_plan(connection, plan)
        return await accounts.create_account(connection, name, plan, keyring)

    out.print(with_database(make), markup=False, highlight=False)


@accounts_app.command("list")
def list_accounts() -> None:
    """List the accounts, with their live sessions."""
    from store import accounts

    table = Table(
        Column("id", no_wrap=True, min_width=31),
        "name",
        "plan",
        "idle time-out, s",
        "live",
        "label",
        "created",
        "erased",
    )
    for found in with_database(accounts.every_account):
        table.add_row(
            found.id,
            found.name,
            found.plan,
            str(found.idle_timeout_seconds),
            str(found.live_sessions),
            escape(f"{found.label} ({found.label_corner})") if found.label else "",
            f"{found.created_at:%Y-%m-%d %H:%M}",
            f"{found.erased_at:%Y-%m-%d %H:%M}" if found.erased_at else "",
        )
    out.print(table)


@accounts_app.command("set")
def set_account(
    account: Account,
    plan: Annotated[str | None, typer.Option(help="See `greenroom plans list`.")] = None,
    idle_timeout_seconds: Annotated[int | None, typer.Option(min=1, max=600, help="Of sessions that say none.")] = None,
    credit_gated: Annotated[
        bool | None, typer.Option("--credit-gated/--no-credit-gated", help="Without credits nothing begins.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Words drawn on each frame, such as AI-generated; '' for none. At most 32 letters."),
    ] = None,
    label_corner: Annotated[Corner | None, typer.Option(help="Where the label lies.")] = None,
) -> None:
    """Change an account. Sessions that run keep what they were created with."""
    from faces.label import clean, problem
    from store import accounts

    label = clean(label) if label is not None else None
    if label and (wrong := problem(label)) is not None:
        raise fail(wrong)

    async def change(connection: Connection) -> None:
        if plan is not None:
            await known_plan(connection, plan)
        found = await account_id(connection, account)
        await accounts.change_account(
            connection,
            found,
            plan=plan,
            idle_timeout_seconds=idle_timeout_seconds,
            credit_gated=credit_gated,
            label=label,
            label_corner=label_corner,
        )

    with_database(change)
    out.print(f"{account} is changed. A key's own limits win over its plan's.")


async def account_id(connection: Connection, wanted: str) -> str:
    """Of an id or a name. Raises typer.Exit."""
    from store import accounts

    known = await accounts.account(connection, wanted)
    found = known.id if known else await accounts.find_account(connection, wanted)
    if found is None:
        raise fail(f"There is no account {wanted}; see `greenroom accounts list`.")
    return found


@plans_app.command("list")
def list_plans() -> None:
    """List the plans."""
    from store import plans

    table = Table(Column("key", no_wrap=True), "name", *(name.replace("_", " ") for name in plans.LIMITS))
    for plan in with_database(plans.every):
        table.add_row(plan.key, plan.name, *(str(getattr(plan, name)) for name in plans.LIMITS))
    out.print(table)


_Limit = Annotated[int | None, typer.Option(min=0)]


@plans_app.command("set")
def set_plan(
    key: str,
    name: Annotated[str | None, typer.Option(help="As customers see it.")] = None,
    monthly_price_cents: _Limit = None,
    included_credits: _Limit = None,
    extra_credit_unit_micros: _Limit = None,
    max_concurrency: Annotated[int | None, typer.Option(min=0, help="Live sessions at once.")] = None,
    custom_avatar_slots: _Limit = None,
    extra_avatar_slot_cents: _Limit = None,
    session_time_limit_seconds: Annotated[int | None, typer.Option(min=1, max=3600)] = None,
    creates_per_minute: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Of each key.")] = None,
) -> None:
    """Change a plan, or make it. What is not given stays, or is as in `trial`."""
    from store import plans

    said = locals()
    given = {field: said[field] for field in plans.FIELDS[1:] if said[field] is not None}

    was_there = with_database(lambda connection: plans.put(connection, key, given))
    out.print(f"Plan {key} is {'changed' if was_there else 'made'}.")
