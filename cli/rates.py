"""`greenroom rates`: rate cards, and what another one would have cost."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.progress import Progress
from rich.table import Table

from cli.console import err, fail, moment, out, run_to_the_end, with_database

if TYPE_CHECKING:
    from projections.preview import Billed, Preview
    from schemas.rates import RateCard
    from store.database import Connection
    from store.rates import Published

rates_app = typer.Typer(help="Rate cards: what a minute of each quality costs.", no_args_is_help=True)

Milli = Annotated[int, typer.Option(min=0, max=100_000, help="In thousandths of a standard minute.")]
OtherMilli = Annotated[int | None, typer.Option(min=0, max=100_000, help="As if the card had this. In thousandths.")]
_VERSION = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FIELDS = ("account_id", "account", "sessions", "billable_ms", "credit_us", "other_us", "difference_us")


@rates_app.command("show")
def show() -> None:
    """The published cards, and which is in force."""
    from schemas.times import now_ms
    from store import rates

    cards = with_database(rates.every)
    current = rates.in_force(cards, now_ms())
    table = Table("card", "lite", "standard", "pro", "from (UTC)", "published", "")
    for each in cards:
        card = each.card
        numbers = (str(card.lite), str(card.standard), str(card.pro))
        mark = "in force" if card == current else ""
        table.add_row(
            card.version, *numbers, f"{each.effective_from:%Y-%m-%d %H:%M:%S}", f"{each.published_at:%F}", mark
        )
    out.print(table)


@rates_app.command("publish")
def publish(
    card: Annotated[str, typer.Argument(help="Its name, such as 2027-01.")],
    lite: Milli,
    standard: Milli,
    pro: Milli,
    since: Annotated[str | None, typer.Option("--from", help="When it takes effect. Default: in a minute.")] = None,
) -> None:
    """Publish a card for sessions that are created from then on. It is never changed: another one takes its place."""
    from schemas.rates import RateCard
    from store import rates

    if not _VERSION.fullmatch(card):
        raise fail("A card's name has up to 64 letters, digits, dots, hyphens and underscores.")
    begin = None if since is None else datetime.fromtimestamp(moment("--from", since) / 1000, UTC)

    async def write(connection: Connection) -> Published:
        try:
            return await rates.publish(connection, RateCard(card, lite, standard, pro), begin)
        except rates.NotPublished as refused:
            raise fail(str(refused)) from None

    found = with_database(write)
    out.print(f"{card} is in force from {found.effective_from:%Y-%m-%dT%H:%M:%S}Z on.", highlight=False)


@rates_app.command("preview")
def preview(
    card: Annotated[str, typer.Argument(help="A published card; see `greenroom rates show`.")],
    since: Annotated[str, typer.Option("--from", help="Recorded at or after this time.")],
    until: Annotated[str, typer.Option("--to", help="Recorded before this time.")],
    lite: OtherMilli = None,
    standard: OtherMilli = None,
    pro: OtherMilli = None,
    report: Annotated[Path | None, typer.Option(help="Also write it here: .json or .csv, in credit_us.")] = None,
) -> None:
    """What a past period would have cost under this card, by account: every session is billed anew from the log.

    Reads only. Exit 2: the log could not be read, or not all of it.
    """
    from events.whole import CannotRead

    from_ms, to_ms = moment("--from", since), moment("--to", until)
    if from_ms >= to_ms:
        raise fail("--from must be before --to.")
    if report is not None and report.suffix not in (".json", ".csv"):
        raise fail(f"--report ends in .json or .csv: {report} does not.")
    other, names = with_database(lambda connection: _known(connection, card))
    other = _changed(other, {"lite": lite, "standard": standard, "pro": pro})
    try:
        found = run_to_the_end(_preview(other, from_ms, to_ms), code=2)
    except CannotRead as failed:
        raise fail(f"No preview: {failed}", 2) from None
    rows = sorted(found.accounts.items(), key=lambda each: (-abs(each[1].difference_us), each[0]))
    out.print(_table(rows, names))
    if report is not None:
        _write(report, [_row(account, billed, names) for account, billed in rows])
    if found.unread:
        raise fail(f"Left out, since a newer version made their events: {', '.join(found.unread[:20])}.", 2)


async def _preview(card: RateCard, from_ms: int, to_ms: int) -> Preview:
    from events.settings import LogSettings
    from projections import preview as previewing

    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("replay", total=None)
        return await previewing.preview(
            LogSettings(), card, from_ms, to_ms, lambda done, total: bar.update(task, completed=done, total=total)
        )


async def _known(connection: Connection, version: str) -> tuple[RateCard, dict[str, str]]:
    """The card, and the names of all accounts by id. Raises typer.Exit."""
    from store import accounts, rates

    cards = {each.card.version: each.card for each in await rates.every(connection)}
    if version not in cards:
        raise fail(f"There is no card {version}. There are {', '.join(cards)}; `greenroom rates publish` makes one.")
    return cards[version], {each.id: each.name for each in await accounts.every_account(connection)}


def _changed(card: RateCard, changes: Mapping[str, int | None]) -> RateCard:
    from msgspec import structs

    return structs.replace(card, **{name: value for name, value in changes.items() if value is not None})


def _table(rows: Sequence[tuple[str, Billed]], names: Mapping[str, str]) -> Table:
    from schemas.rates import CREDIT_US

    table = Table("account", "sessions", "seconds", "billed", "other card", "difference")
    for account, billed in rows:
        amounts = (billed.credit_us, billed.other_us, billed.difference_us)
        shown = [f"{amount / CREDIT_US:{sign}.3f}" for amount, sign in zip(amounts, ("", "", "+"), strict=True)]
        table.add_row(names.get(account, account), str(billed.sessions), f"{billed.billable_ms / 1000:.3f}", *shown)
    old, new = sum(billed.credit_us for _, billed in rows), sum(billed.other_us for _, billed in rows)
    table.add_section()
    table.add_row(
        "all", "", "", *(f"{old / CREDIT_US:.3f}", f"{new / CREDIT_US:.3f}", f"{(new - old) / CREDIT_US:+.3f}")
    )
    return table


def _row(account: str, billed: Billed, names: Mapping[str, str]) -> dict[str, str | int]:
    amounts = (billed.billable_ms, billed.credit_us, billed.other_us, billed.difference_us)
    return dict(zip(_FIELDS, (account, names.get(account, ""), billed.sessions, *amounts), strict=True))


def _write(report: Path, rows: Sequence[Mapping[str, str | int]]) -> None:
    try:
        if report.suffix == ".json":
            report.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2) + b"\n")
            return
        with report.open("w", newline="") as file:
            table = csv.DictWriter(file, _FIELDS)
            table.writeheader()
            table.writerows(rows)
    except OSError as failed:
        raise fail(f"{report} could not be written: {failed.strerror}") from None
