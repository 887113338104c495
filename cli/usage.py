"""`greenroom usage`: what finance reads. Bills in the columns of FOCUS, and as Stripe meter events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.progress import Progress

from cli.archive import need_archive
from cli.console import WAIT_S, err, fail, moment, out, run_to_the_end
from cli.shown import plain

if TYPE_CHECKING:
    from projections.focus import Written
    from projections.period import Entries, Period, StoredEntries
    from reactors.meter_events import Named, Report
    from reactors.settings import FinanceSettings
    from schemas.focus import Price
    from store.database import Pool

T = TypeVar("T")
_MOST_S = 24 * 3600.0
_NAMED = 20

usage_app = typer.Typer(help="What was used, for finance: FOCUS and Stripe.", no_args_is_help=True)

Since = Annotated[str, typer.Option("--from", help="Recorded at or after this time, such as 2026-11-01.")]
Until = Annotated[str, typer.Option("--to", help="Recorded before this time, which has passed.")]
Account = Annotated[str | None, typer.Option(metavar="ID", help="Of this account alone.")]
Archive = Annotated[
    Path | None,
    typer.Option("--from-archive", metavar="DIR", help="Of `greenroom export`: needs neither Kafka nor PostgreSQL."),
]


@usage_app.command("focus")
def focus(
    to: Annotated[Path, typer.Option("--out", metavar="FILE", help="Ends in .csv or .parquet.", dir_okay=False)],
    since: Since,
    until: Until,
    account: Account = None,
    price: Annotated[
        str | None, typer.Option(metavar="MONEY", help="Of one credit. Default: GREENROOM_PRICE_PER_CREDIT.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="CODE", help="Of the price, such as USD. Default: GREENROOM_CURRENCY.")
    ] = None,
    from_archive: Archive = None,
) -> None:
    """Write the ledger of a period in the columns of FOCUS 1.2: a row for each entry.

    Exit 1: nothing was written. 2: not all of it can be read; the sessions that lack entries are named.
    """
    settings, period = _settings(), _period(since, until, account)
    if to.suffix not in (".csv", ".parquet"):
        raise fail(f"--out ends in .csv or .parquet: {to} does not.")
    if to.suffix == ".parquet" or from_archive is not None:
        need_archive()
    money = _price(settings, price, currency)
    if money is None:
        err.print(
            "Without --price and --currency all that is money is null, and FOCUS asks for it: the file has usage alone."
        )
    written, left = _run(_focus(settings, period, to, money, from_archive))
    said = f"{written.entries} entries, {written.billable_ms / 1000:.3f} s, {_credits(written.credit_us)} credits: {to}"
    out.print(said, markup=False, highlight=False, soft_wrap=True)
    _tell_left(left)


@usage_app.command("stripe")
def stripe(
    since: Since,
    until: Until,
    customers: Annotated[
        Path,
        typer.Option(metavar="FILE", help="CSV: account_id,stripe_customer_id. No customer: left out.", dir_okay=False),
    ],
    to: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write them here, one JSON a line.", dir_okay=False)
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="Send them, with GREENROOM_STRIPE_API_KEY.")] = False,
    event_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the meter. Default: greenroom_credit_us.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Sent in a second, at most.")] = 20,
    unknown: Annotated[
        Literal["sent", "lost"] | None, typer.Option(help="What became of events that nobody but Stripe knows about.")
    ] = None,
    account: Account = None,
    from_archive: Archive = None,
) -> None:
    """The ledger of a period as Stripe meter events, an event for each entry that costs something: to a file, or sent.

    What was sent is remembered: asked again, it goes on. Exit 1: some were not taken, and are named.
    """
    from schemas.meter_events import EVENT_NAME

    settings, period = _settings(), _period(since, until, account)
    if send is (to is not None):
        raise fail("Say either --out FILE or --send.")
    if send and from_archive is not None:
        raise fail("--send does not go with --from-archive: what was sent is remembered in PostgreSQL.")
    if from_archive is not None:
        need_archive()
    known, name = _customers(customers), event_name or EVENT_NAME
    if to is not None:
        events, credit_us, left = _run(_stripe_file(settings, period, to, known, name, from_archive))
        out.print(f"{events} meter events, {_credits(credit_us)} credits: {to}", highlight=False, soft_wrap=True)
        _tell_left(left)
        return
    report, left = _run(_stripe_send(settings, period, known, name, rate, unknown))
    _tell_report(report)
    _tell_left(left)


# What was typed


def _settings() -> FinanceSettings:
    from pydantic import ValidationError

    from reactors.settings import FinanceSettings

    try:
        return FinanceSettings()
    except ValidationError as wrong:
        [first, *_] = wrong.errors()
        name = "GREENROOM_" + "_".join(str(part) for part in first["loc"]).upper()
        raise fail(f"{name} cannot be used: {first['msg']}.") from None


def _period(since: str, until: str, account: str | None) -> Period:
    from projections.period import Period
    from schemas.times import now_ms

    start_ms, end_ms = moment("--from", since), moment("--to", until)
    if start_ms >= end_ms:
        raise fail("--from must be before --to.")
    if end_ms > now_ms():
        raise fail("--to is not over yet: what is recorded until then would be missing.")
    return Period(start_ms, end_ms, account)


def _price(settings: FinanceSettings, price: str | None, currency: str | None) -> Price | None:
    from schemas.focus import Price

    try:
        amount = Decimal(price) if price is not None else settings.price_per_credit
    except InvalidOperation:
        raise fail(f"--price is a number such as 0.12, not {price}.") from None
    code = currency or settings.currency
    if amount is None and code is None:
        return None
    if amount is None or code is None:
        raise fail("A price needs a currency, and a currency a price: say both, --price 0.12 --currency USD.")
    if not (amount.is_finite() and 0 < amount < 1_000_000):
        raise fail(f"--price is a number such as 0.12, not {price}.")
    if not (code.isascii() and code.isalpha() and code.isupper() and len(code) == 3):
        raise fail(f"--currency is a code of ISO 4217 such as USD, not {code}.")
    return Price(amount, code)


def _customers(path: Path) -> dict[str, str | None]:
    from schemas.meter_events import BadCustomers, customers

    try:
        with path.open(newline="", encoding="utf-8") as file:
            return customers(file)
    except BadCustomers as wrong:
        raise fail(f"{path} cannot be used: {wrong}") from None
    except UnicodeDecodeError:
        raise fail(f"{path} is no text in UTF-8.") from None
    except OSError as wrong:
        raise fail(f"{path} cannot be read: {wrong.strerror}.") from None


# What is done


def _run(work: Coroutine[Any, Any, T]) -> T:
    from events.whole import CannotRead
    from reactors.meter_events import Stopped

    try:
        return run_to_the_end(work)
    except CannotRead as failed:
        raise fail(f"Not exported: {failed}", 2) from None
    except Stopped as stopped:
        raise fail(f"Stopped: {plain(str(stopped))}") from None


@asynccontextmanager
async def _entries(
    settings: FinanceSettings, period: Period, archive: Path | None
) -> AsyncIterator[tuple[Entries, dict[str, str]]]:
    """And the names of accounts, by id: of an archive none."""
    if archive is not None:
        from projections.archive import ArchivedEntries

        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("verify", total=None)
            archived = ArchivedEntries(
                archive, period, lambda done, total: bar.update(task, completed=done, total=total)
            )
        yield archived, {}
        return
    async with _stored(settings, period) as (pool, entries):
        from store import accounts

        async with pool.connection() as connection:
            yield entries, {each.id: each.name for each in await accounts.every_account(connection)}


@asynccontextmanager
async def _stored(settings: FinanceSettings, period: Period) -> AsyncIterator[tuple[Pool, StoredEntries]]:
    from projections.period import StoredEntries
    from store.database import pool

    async with pool(settings.database_url, 3, WAIT_S) as connections:
        yield connections, await StoredEntries.of(settings, connections, period)


async def _focus(
    settings: FinanceSettings, period: Period, to: Path, price: Price | None, archive: Path | None
) -> tuple[Written, list[str]]:
    from projections.focus import write
    from schemas.focus import Charges

    async with _entries(settings, period, archive) as (entries, names):
        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("usage", total=None)
            charges = Charges(settings.provider_name, names, price)
            written = await write(to, entries.batches(), charges, lambda done: bar.update(task, completed=done))
        return written, list(entries.left)


async def _stripe_file(
    settings: FinanceSettings,
    period: Period,
    to: Path,
    customers: dict[str, str | None],
    event_name: str,
    archive: Path | None,
) -> tuple[int, int, list[str]]:
    from events.files import whole
    from schemas.meter_events import meter_event, unnamed

    events = 0
    amounts: dict[str, int] = {}
    async with _entries(settings, period, archive) as (entries, _):
        with whole(to) as unfinished, unfinished.open("wb") as file:
            async for batch in entries.batches():
                for entry in batch:
                    facts = entry.facts
                    customer = customers.get(facts.account_id)
                    if facts.credit_us == 0 and facts.account_id in customers:
                        continue
                    amounts[facts.account_id] = amounts.get(facts.account_id, 0) + facts.credit_us
                    if customer is not None:
                        file.write(meter_event(entry, customer, event_name).line())
                        events += 1
            _refuse_unnamed(unnamed(amounts, customers))
    _warn_negative(amounts, customers)
    return events, sum(amount for account, amount in amounts.items() if customers[account]), list(entries.left)


async def _stripe_send(
    settings: FinanceSettings,
    period: Period,
    customers: dict[str, str | None],
    event_name: str,
    rate: float,
    unknown: Literal["sent", "lost"] | None,
) -> tuple[Report, list[str]]:
    from reactors import meter_events
    from schemas.meter_events import unnamed

    key = settings.stripe_api_key.get_secret_value()
    async with meter_events.opened(settings.stripe_url, key, event_name, rate) as endpoint:
        async with _stored(settings, period) as (pool, entries):
            totals = await entries.totals()
            _refuse_unnamed(unnamed(totals, customers))
            _warn_negative({account: total.credit_us for account, total in totals.items()}, customers)
            async with pool.connection(within_s=_MOST_S) as connection:
                sender = meter_events.Sender(connection, endpoint, customers, unknown)
                with Progress(console=err, transient=True) as bar:
                    task = bar.add_task("stripe", total=sum(total.entries for total in totals.values()))
                    await sender.run(entries.batches(), lambda more: bar.update(task, advance=more))
            return sender.report, list(entries.left)


# What is told


def _refuse_unnamed(accounts: list[str]) -> None:
    if accounts:
        more = f" and {len(accounts) - _NAMED} more" if len(accounts) > _NAMED else ""
        raise fail(
            f"No line of --customers names {', '.join(accounts[:_NAMED])}{more}. Nothing was written or sent:"
            " give each a customer, or an empty one to leave it out."
        )


def _warn_negative(amounts: dict[str, int], customers: dict[str, str | None]) -> None:
    for account, amount in amounts.items():
        if amount < 0 and customers[account] is not None:
            err.print(
                f"{account} got back {_credits(-amount)} credits more than it used: Stripe bills no less than 0 in its"
                " period, and forgets the rest. Give it a credit note.",
                markup=False,
            )


def _tell_report(report: Report) -> None:
    out.print(
        f"{report.sent} sent, {report.before} before; {report.nothing} cost nothing, {report.left_out} left out.",
        highlight=False,
    )
    why: dict[str, Named] = {
        "refused by Stripe": report.refused,
        "older than the 35 days that Stripe takes": report.late,
        "perhaps sent, over 23 hours ago: look at the meter, then say --unknown sent or lost": report.unknown,
    }
    for what, named in why.items():
        if named.count:
            err.print(plain(f"{named.count} {what}: {', '.join(named.first)}"), markup=False, style="red")
    if any(named.count for named in why.values()):
        raise typer.Exit(1)


def _tell_left(left: list[str]) -> None:
    if left:
        names = ", ".join(left[:_NAMED])
        raise fail(f"Not all there, since a newer version made their events: {plain(names)}.", 2)


def _credits(credit_us: int) -> str:
    from schemas.rates import CREDIT_US

    return f"{Decimal(credit_us) / CREDIT_US:.6f}"
