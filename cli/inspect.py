"""`greenroom inspect`: a session as its log tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.progress import Progress
from rich.table import Table

from cli.console import err, fail, out, run_to_the_end
from cli.shown import cell, plain, shown_facts

if TYPE_CHECKING:
    from events.codec import Record
    from events.session_state import State
    from projections.inspection import Inspection, Line, Until


def inspect(
    session_id: Annotated[str, typer.Argument(metavar="SESSION")],
    at: Annotated[
        str | None, typer.Option(metavar="SEQ|TIME", help="After this seq, or as the log was at this ISO 8601 time.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """Read a session's part of the log: its state at that point, each event, why those that were rejected were, its
    attempts, what it is billed. Needs Kafka alone."""
    from projections import inspection

    until = _until(at) if at is not None else None
    partition, records = run_to_the_end(_records(session_id))
    found = inspection.inspect(session_id, partition, records, until)
    if found.state is not None and found.state.created is not None:
        found.account_erased = run_to_the_end(_is_erased(found.state.created.account_id))
    if not found.lines:
        raise fail(f"The log has no record of {session_id}" + (" until then." if records else "."))
    if as_json:
        out.file.write(orjson.dumps(inspection.shown(found), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    _state(found)
    _attempts(found)
    _events(found)
    _usage(found)


def _until(at: str) -> Until:
    from projections.inspection import Until
    from schemas.times import from_wire

    if at.isascii() and at.isdigit():
        return Until(seq=int(at))
    try:
        return Until(append_ms=from_wire(at))
    except ValueError as wrong:
        raise fail(f"--at is a seq or an ISO 8601 time: {wrong}") from None


async def _records(session_id: str) -> tuple[int, list[Record]]:
    """All records under the session's key, in its partition."""
    from events.reader import LogReader
    from events.settings import LogSettings
    from events.topics import SESSIONS, partition_of

    key = session_id.encode()
    partition = partition_of(key)
    found: list[Record] = []
    async with LogReader(LogSettings(), SESSIONS) as log:
        begin, end = (await log.begins())[partition], (await log.ends())[partition]
        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("inspect", total=end - begin)
            async for records in log.read(partition, begin, end):
                found += [record for record in records if record.key == key]
                bar.advance(task, len(records))
    return partition, found


async def _is_erased(account_id: str) -> bool:
    """As the log tells it, so without the database."""
    from events.reader import LogReader
    from events.settings import LogSettings
    from events.topics import ACCOUNTS

    async with LogReader(LogSettings(), ACCOUNTS) as log:
        async for records in log.read(0, (await log.begins())[0], (await log.ends())[0]):
            for record in records:
                if record.key == account_id.encode() and dict(record.headers).get("ce_type") == b"account.erased":
                    return True
    return False


def _state(found: Inspection) -> None:
    out.print(f"{plain(found.session_id)}, partition {found.partition}", markup=False)
    if found.state is None:
        out.print("  nothing of it was accepted: there is no session")
        return
    shown_facts(facts(found.state) | ({"account": "erased"} if found.account_erased else {}), indent="  ")


def status(state: State) -> str:
    """With the reason, once it is over."""
    reason = state.end_reason or state.failure_code
    return f"{state.status} ({reason})" if reason else state.status


def facts(state: State) -> dict[str, str]:
    """What there is to say of a session, each with its name."""
    from schemas.times import to_wire

    times = {
        "created": state.created_ms or None,
        "started": state.started_ms,
        "first frame": state.first_frame_ms,
        "ended": state.ended_ms,
        "erased": state.erased_ms,
    }
    return {
        "status": status(state),
        "seq": str(state.seq),
        "attempt": f"{state.attempt} on {state.worker_id}",
        **{name: to_wire(ms) for name, ms in times.items() if ms is not None},
        "billed": f"{state.billed_ms / 1000:.3f} s, {state.frames} frames, {state.credit_us / 60_000_000:.6f} credits",
        "chain": state.chain,
    }


def _attempts(found: Inspection) -> None:
    from schemas.times import to_wire

    table = Table("attempt", "worker", "since", "first frame", "last n", "billed ms", "frames")
    for each in found.attempts.values():
        first = to_wire(each.first_frame_ms) if each.first_frame_ms is not None else ""
        row = (each.attempt, each.worker_id, to_wire(each.since_ms), first, each.n, each.billed_ms, each.frames)
        table.add_row(*map(cell, row))
    out.print(table)


def _events(found: Inspection) -> None:
    from schemas.times import to_wire

    table = Table("offset", "recorded", "type", "seq / n", "verdict")
    for line in found.lines:
        kind = line.event.type if line.event else ""
        table.add_row(*map(cell, (line.offset, to_wire(line.append_ms), kind, _numbered(line), _said(line))))
    out.print(table)


def _numbered(line: Line) -> str:
    from projections.inspection import number

    n = number(line.event)
    return f"n {n}" if n is not None else str(line.seq or "")


def _said(line: Line) -> str:
    if line.why is not None:
        return f"{line.verdict}: {line.why[0]}. {line.why[1]}"
    billed = f", bills {line.usage.facts.billable_ms} ms" if line.usage else ""
    return f"{line.status}{billed}"


def _usage(found: Inspection) -> None:
    table = Table("usage event", "kind", "attempt", "n", "ms", "credit_us", "flags", "hash")
    for entry in found.entries:
        facts = entry.facts
        row = (facts.id, facts.kind, facts.attempt, facts.n, facts.billable_ms, facts.credit_us)
        table.add_row(*map(cell, (*row, ",".join(facts.flags), entry.hash)))
    out.print(table)
