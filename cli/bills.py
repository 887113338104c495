"""`greenroom audit`: bills, recomputed."""

from __future__ import annotations

import asyncio
import multiprocessing
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.progress import Progress

from cli.archive import Report, need_archive
from cli.console import WAIT_S, err, fail, out, run_folding, run_to_the_end
from cli.shown import plain
from schemas.times import from_wire

if TYPE_CHECKING:
    from projections.audit import Scope, Verdict
    from projections.totals import WrongTotal
    from store.sealed import DayDifference

    Kept = tuple[int, list[DayDifference], tuple[int, list[WrongTotal]]]

_MOST_TOLD = 1000


def audit(
    account: Annotated[str | None, typer.Option(help="Only this account's entries.")] = None,
    session: Annotated[str | None, typer.Option(help="Only this session's entries.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Recorded at or after this time.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Recorded before this time.")] = None,
    from_archive: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of `greenroom export`: needs neither Kafka nor PostgreSQL.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --from-archive: this ledger, a Parquet file.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=24, help="Share the partitions out to so many.")] = 1,
    report: Annotated[Path | None, typer.Option(help="Also write the verdict here, as JSON.")] = None,
) -> None:
    """Recompute every usage event from the log and compare it with the ledger.

    Exit 0: equal. 1: differs, each difference is named. 2: could not be read.
    """
    from projections import audit as auditing

    if ledger is not None and from_archive is None:
        raise fail("--ledger goes with --from-archive.", 2)
    if processes > 1 and from_archive is not None:
        raise fail("--processes does not go with --from-archive.", 2)
    try:
        scope = auditing.Scope(
            account, session, from_wire(since) if since else None, from_wire(until) if until else None
        )
    except ValueError as wrong:
        raise fail(f"--from and --to are ISO 8601 times: {wrong}", 2) from None

    verdict, kept = _compared(scope, processes, from_archive, ledger)
    sealed, wrong_days, (wrong_totals, first_totals) = kept
    _tell(verdict)
    _tell_days(sealed, wrong_days)
    for each in first_totals:
        out.print(plain(f"wrong_total: account {each.account_id}, {each.of}: {each.detail}"), markup=False)
    if report is not None:
        _write(report, verdict, kept)
    if wrong_days:
        raise fail("Sealed days are not what the ledger, their keys or usage.v1 say.", 1)
    if verdict.found:
        raise fail(f"The ledger differs from the log in {verdict.found} places.", 1)
    if wrong_totals:
        raise fail(f"{wrong_totals} totals are not what the entries add up to.", 1)
    if verdict.unread:
        raise fail(f"{len(verdict.unread)} sessions could not be read; all others equal the log.", 2)
    if not verdict.entries and scope != auditing.Scope():
        out.print("Neither the log nor the ledger has an entry of these: is what you gave right?")
        return
    out.print("The ledger equals the log.", style="green")


def _compared(scope: Scope, processes: int, from_archive: Path | None, ledger: Path | None) -> tuple[Verdict, Kept]:
    """Exits with 2 where there is no verdict."""
    from events.whole import CannotRead
    from projections import audit as auditing

    async def run() -> tuple[Verdict, Kept]:
        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("audit", total=None)

            def tell(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            if from_archive is not None:
                return await _of_archive(from_archive, ledger, scope, tell), (0, [], (0, []))
            if processes > 1:
                verdict = await _shared_out(scope, processes, tell)
            else:
                verdict = await _of_partitions(scope, auditing.ALL, True, tell)
            return verdict, await _kept(bar, verdict) if scope == auditing.Scope() else (0, [], (0, []))

    try:
        return run_to_the_end(run(), code=2, run=run_folding)
    except CannotRead as failed:
        raise fail(f"No verdict: {failed}", 2) from None
    except typer.Exit:
        raise
    except Exception as failed:  # Python's own code for it, 1, would say that the ledger differs
        traceback.print_exc()
        raise fail(f"No verdict: {type(failed).__name__}. Has `greenroom migrate` been run?", 2) from None


def _write(report: Path, verdict: Verdict, kept: Kept) -> None:
    sealed, wrong_days, (wrong_totals, first_totals) = kept
    said = {
        "equal": verdict.equal and not wrong_days and not wrong_totals,
        **asdict(verdict),
        "days": sealed,
        "wrong_days": [asdict(each) for each in wrong_days],
        "wrong_totals": [asdict(each) for each in first_totals],
    }
    try:
        report.write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2))
    except OSError as failed:
        raise fail(f"{report} could not be written: {failed.strerror}", 2) from None


def _tell_days(sealed: int, wrong: Sequence[DayDifference]) -> None:
    if sealed:
        out.print(f"{sealed} sealed days, {len(wrong)} differences.")
    for each in wrong:
        out.print(plain(f"{each.kind}: day {each.day}: {each.detail}"), markup=False)


def _tell(verdict: Verdict) -> None:
    out.print(
        f"{verdict.events} events, {verdict.rejected} rejected, {verdict.malformed} malformed; "
        f"{verdict.sessions} sessions, {verdict.entries} entries, "
        f"{verdict.billable_ms / 1000:.3f} s, {verdict.credit_us / 60_000_000:.6f} credits"
    )
    for difference in verdict.differences:
        place = f"partition {difference.partition}, offset {difference.offset}"
        told = f"{difference.kind}: session {difference.session_id}, {place}: {difference.detail}"
        out.print(plain(told), markup=False)
    for left in verdict.unread[:_MOST_TOLD]:
        place = f"partition {left.partition}, from offset {left.offset} on"
        out.print(plain(f"not compared: session {left.subject}, {place}: {left.reason}"), markup=False)


async def _kept(bar: Progress, verdict: Verdict) -> Kept:
    """How many days are sealed, what is wrong with them, and with totals."""
    from projections import audit as auditing
    from store import days, sealed
    from store.database import pool
    from store.settings import StoreSettings

    settings = StoreSettings()
    async with pool(settings.database_url, 1, WAIT_S) as connections:
        wrong_totals = await auditing.wrong_totals(connections, verdict)
        async with connections.connection() as connection:
            count = len(await days.every(connection))
        task = bar.add_task("sealed days", total=count)
        found = await sealed.check(settings, connections, lambda done, _: bar.update(task, completed=done))
        return count, found, wrong_totals


async def _of_partitions(scope: Scope, partitions: Sequence[int], elsewhere: bool, tell: Report) -> Verdict:
    from projections import audit as auditing
    from store.database import pool
    from store.settings import StoreSettings

    settings = StoreSettings()
    async with pool(settings.database_url, 1, WAIT_S) as connections:
        return await auditing.audit(settings, connections, scope, tell, partitions, elsewhere)


async def _shared_out(scope: Scope, processes: int, tell: Report) -> Verdict:
    """Each process has partitions of its own, and the first what the ledger has of none. Told as each of them ends."""
    from events.whole import CannotRead
    from projections.audit import ALL, Verdict

    verdict = Verdict()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        shares = [ALL[n::processes] for n in range(processes)]
        loop = asyncio.get_running_loop()
        parts = [loop.run_in_executor(pool, _share, scope, share, n == 0) for n, share in enumerate(shares)]
        try:
            for done, part in enumerate(asyncio.as_completed(parts), 1):
                verdict.add(await part)
                tell(done, processes)
        except BrokenProcessPool:
            raise CannotRead("one of its processes was killed; audit again.") from None
    return verdict


def _share(scope: Scope, partitions: Sequence[int], elsewhere: bool) -> Verdict:
    """In a process of its own. Raises what the audit raises."""
    return run_folding(_of_partitions(scope, partitions, elsewhere, lambda _, __: None))


async def _of_archive(folder: Path, ledger: Path | None, scope: Scope, tell: Report) -> Verdict:
    need_archive()
    from projections.archive import audit as audit_archive

    return await audit_archive(folder, ledger, scope, tell)
