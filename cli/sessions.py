"""`greenroom sessions`: what runs, of whom, and how one is ended or followed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from cli.accounts import account_id
from cli.console import SOURCE, append, err, fail, out, run_to_the_end, with_database
from cli.inspect import facts, status
from cli.shown import cell, plain, shown_facts
from schemas.times import to_wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from events.codec import Event, Record
    from events.reader import LogReader
    from events.session_state import State
    from store.database import Connection

sessions_app = typer.Typer(help="Sessions: what runs, of whom, and how one is ended or followed.", no_args_is_help=True)

_ID = 31
_WIDE = 190
"""Columns on which all that is listed has room."""
_END_WITHIN_S = 60.0
_LOOK_S = 0.5

Session = Annotated[str, typer.Argument(metavar="SESSION", help="Its id; see `greenroom sessions list`.")]


@sessions_app.command("list")
def list_sessions(
    account: Annotated[str | None, typer.Argument(help="Its id or name; default: all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
) -> None:
    """List what runs, the newest first."""
    from projections import sessions

    async def look(connection: Connection) -> list[State]:
        of = None if account is None else await account_id(connection, account)
        return await sessions.latest(connection, of, not everything, limit + 1)

    found = with_database(look)
    if not found:
        err.print("None." if everything else "None runs; --all lists those that are over, too.")
        return
    wide = out.width >= _WIDE
    session, of = (Column(name, no_wrap=True, min_width=_ID) for name in ("session", "account"))
    more = (of, "quality", "worker") if wide else ()
    table = Table(session, Column("status", no_wrap=True), Column("created", no_wrap=True), "billed s", *more)
    for state in found[:limit]:
        created, at = state.created, to_wire(state.created_ms)
        what = (created.account_id, created.quality) if created else ("", "")
        first = (status(state), at) if wide else (state.status, at[:19].replace("T", " "))
        rest = (*what, state.worker_id) if wide else ()
        table.add_row(*map(cell, (state.session_id, *first, f"{state.billed_ms / 1000:.0f}", *rest)))
    out.print(table)
    if not wide:
        err.print(f"{_WIDE} columns show reasons, account, quality and worker, too; `greenroom inspect` has all.")
    if len(found) > limit:
        err.print(f"There are more than these {limit}: give a --limit.")


@sessions_app.command("show")
def show(session: Session) -> None:
    """One session as it stands. `greenroom inspect` tells how it came to that."""
    shown_facts(facts(_known(session)))


def _known(session_id: str) -> State:
    from projections import sessions

    found = with_database(lambda connection: sessions.state(connection, session_id))
    if found is None:
        raise fail(f"There is no session {session_id}; see `greenroom sessions list --all`.")
    return found


@sessions_app.command("end")
def end(
    session: Session,
    wait: Annotated[bool, typer.Option(help="Until it has ended.")] = True,
) -> None:
    """End a session, as its customer could: `api_request`. What it has used is billed."""
    from events.codec import new_event
    from events.topics import SESSIONS
    from schemas.events import SessionEndRequested

    state = _known(session)
    if state.terminal:
        raise fail(f"{session} is over already: {status(state)}.")
    event = new_event(SessionEndRequested(session, "api", "api_request"), source=SOURCE, subject=session)
    run_to_the_end(append(SESSIONS, event))  # the roster tells the worker when it reads it
    if not wait:
        out.print(f"{session} is told to end.")
        return
    deadline = time.monotonic() + _END_WITHIN_S
    while not (state := _known(session)).terminal:
        if time.monotonic() > deadline:
            raise fail(f"{session} has not ended within {_END_WITHIN_S:.0f} s: do projections and roster run?")
        time.sleep(_LOOK_S)
    out.print(f"{session}: {status(state)}, {state.billed_ms / 1000:.3f} s billed.")


@sessions_app.command("tail")
def tail(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="Its id; default: all sessions.")] = None,
    heartbeats: Annotated[bool, typer.Option(help="Those, too.")] = False,
) -> None:
    """Follow the log: of a session from its first event to its last, of all from now on. Ctrl-C ends it."""
    run_to_the_end(_tail(session, heartbeats))


async def _tail(session_id: str | None, heartbeats: bool) -> None:
    from events.fold import Evolved
    from events.reader import LogReader
    from events.sessions import evolve
    from events.settings import LogSettings
    from events.topics import SESSIONS, partition_of

    state: State | None = None
    enough = asyncio.Event()  # a cancellation may get lost in a library that answers at that moment
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, enough.set)
    only = None if session_id is None else partition_of(session_id.encode())
    async with LogReader(LogSettings(), SESSIONS) as log:
        places = await (log.ends() if only is None else log.begins())
        places = {partition: at for partition, at in places.items() if only in (None, partition)}
        while not enough.is_set():
            for record in await _news(log, places):
                if session_id is not None and record.key != session_id.encode():
                    continue
                event = _line(record, heartbeats)
                outcome = evolve(state, event, record.timestamp) if session_id is not None and event else None
                state = outcome.state if isinstance(outcome, Evolved) else state
            if state is not None and state.terminal:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await enough.wait()


async def _news(log: LogReader, places: dict[int, int]) -> Sequence[Record]:
    """What has come behind `places`, which move on, in the order of the log's own time."""
    found: list[Record] = []
    ends = await log.ends()
    for partition, at in places.items():
        if ends[partition] > at:
            async for records in log.read(partition, at, ends[partition]):
                found += records
            places[partition] = ends[partition]
    return sorted(found, key=lambda record: record.timestamp)


def _line(record: Record, heartbeats: bool) -> Event | None:
    """Print it; returns what it is. What nobody can read is said so."""
    from events.codec import Malformed, Unknown
    from events.sessions import decode_session_event

    at = to_wire(record.timestamp)
    try:
        event = decode_session_event(record)
    except (Malformed, Unknown) as unreadable:
        out.print(f"{at}  {plain(str(unreadable))}", markup=False, highlight=False, soft_wrap=True)
        return None
    if heartbeats or event.type != "session.heartbeat":
        said = (at, event.subject, event.type, *_told(event.data))
        out.print(plain("  ".join(said)), markup=False, highlight=False, soft_wrap=True)
    return event


def _told(data: object) -> list[str]:
    """The fields that tell most, as far as an event has them."""
    named = ("attempt", "worker_id", "reason", "code", "n")
    return [f"{name}={value}" for name in named if (value := getattr(data, name, None)) is not None]
