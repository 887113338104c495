"""`greenroom audit`: bills, recomputed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.progress import Progress

from cli.console import WAIT_S, err, fail, out, run_to_the_end
from schemas.times import from_wire

if TYPE_CHECKING:
    from events.settings import LogSettings
    from store.database import Pool
    from store.sealed import DayDifference

    DaysFound = tuple[int, list[DayDifference]]


def audit(
    account: Annotated[str | None, typer.Option(help="Only this account's entries.")] = None,
    session: Annotated[str | None, typer.Option(help="Only this session's entries.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Recorded at or after this time.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Recorded before this time.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the verdict here, as JSON.")] = None,
) -> None:
    """Recompute every usage event from the log and compare it with the ledger.

    Exit 0: equal. 1: differs, each difference is named. 2: could not be read.
    """
    from events.whole import CannotRead
    from projections import audit as auditing
    from store.database import pool
    from store.settings import StoreSettings

    try:
        scope = auditing.Scope(
            account, session, from_wire(since) if since else None, from_wire(until) if until else None
        )
    except ValueError as wrong:
        raise fail(f"--from and --to are ISO 8601 times: {wrong}", 2) from None

    async def run() -> tuple[auditing.Verdict, DaysFound]:
        settings = StoreSettings()
        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("audit", total=None)
            async with pool(settings.database_url, 1, WAIT_S) as connections:
                found = await auditing.audit(
                    settings, connections, scope, lambda done, total: bar.update(task, completed=done, total=total)
                )
                return found, await _days(settings, connections, bar) if scope == auditing.Scope() else (0, [])

    try:
        verdict, (sealed, wrong_days) = run_to_the_end(run(), code=2)
    except (auditing.CannotRead, CannotRead) as failed:
        raise fail(f"No verdict: {failed}", 2) from None
    if report is not None:
        equal = verdict.equal and not wrong_days
        said = {"equal": equal, **asdict(verdict), "days": sealed, "wrong_days": [asdict(each) for each in wrong_days]}
        report.write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2))
    out.print(
        f"{verdict.events} events, {verdict.rejected} rejected, {verdict.malformed} malformed; "
        f"{verdict.sessions} sessions, {verdict.entries} entries, "
        f"{verdict.billable_ms / 1000:.3f} s, {verdict.credit_us / 60_000_000:.6f} credits"
    )
    for difference in verdict.differences:
        out.print(
            f"{difference.kind}: session {difference.session_id}, partition {difference.partition}, "
            f"offset {difference.offset}: {difference.detail}",
            markup=False,
        )
    if sealed:
        out.print(f"{sealed} sealed days, {len(wrong_days)} differences.")
    for each in wrong_days:
        out.print(f"{each.kind}: day {each.day}: {each.detail}", markup=False)
    if wrong_days:
        raise fail("Sealed days are not what the ledger, their keys or usage.v1 say.", 1)
    if not verdict.equal:
        raise fail(f"The ledger differs from the log in {verdict.found} places.", 1)
    out.print("The ledger equals the log.", style="green")


async def _days(settings: LogSettings, connections: Pool, bar: Progress) -> DaysFound:
    """(how many are sealed, what is wrong with them)."""
    from store import days, sealed

    async with connections.connection() as connection:
        count = len(await days.every(connection))
    task = bar.add_task("sealed days", total=count)
    return count, await sealed.check(settings, connections, lambda done, _: bar.update(task, completed=done))
