"""`greenroom erase`: what can identify people, gone for ever; what was billed stays, and verifies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Column, Table

from cli.accounts import account_id
from cli.console import WAIT_S, err, fail, out, run_to_the_end, with_database

if TYPE_CHECKING:
    from events.codec import Event
    from reactors.erasing import Report, Tools
    from store.database import Connection

_OF_SESSION = {
    "data_keys": ("its data key, under which the log has metadata, room and identities", "dropped: gone for ever"),
    "idempotency_keys": ("idempotency keys, with the answers that they keep", "deleted"),
    "feed_events": ("events in its account's feed", "stay, without what identifies people"),
    "deliveries": ("deliveries of webhooks", "stay, without that, and without what receivers answered"),
    "ledger_entries": ("entries of the ledger", "stay"),
}
_OF_ACCOUNT = {
    "api_keys": ("API keys", "revoked, their names deleted"),
    "live_sessions": ("live sessions", "ended"),
    "sessions": ("sessions, of which the log has metadata, room and identities", "unreadable for ever"),
    "avatars": ("avatars, with names, portraits and faces", "deleted"),
    "endpoints": ("webhook endpoints", "deleted"),
    "deliveries": ("deliveries of webhooks, pending ones too", "deleted"),
    "feed_events": ("events in its feed", "deleted"),
    "idempotency_keys": ("idempotency keys, with the answers that they keep", "deleted"),
    "credit_notes": ("notes beside its credits", "deleted"),
}
_SESSION = "sess_"


@dataclass(frozen=True)
class Subject:
    """What is to be erased, and what there is of it: kind → how many."""

    id: str
    account_id: str
    found: Mapping[str, int]
    event_id: str | None = None
    of_before: bool = False
    """A session whose fields are under its account's key."""

    @property
    def is_session(self) -> bool:
        return self.id.startswith(_SESSION)

    @property
    def kinds(self) -> Mapping[str, tuple[str, str]]:
        return _OF_SESSION if self.is_session else _OF_ACCOUNT


def erase(
    subject: Annotated[
        str | None, typer.Argument(metavar="[SESSION|ACCOUNT]", help="sess_…, or an account's id or name.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what there is, and what becomes of it.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="All that the log tells of: after an older database was restored.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Erase what can identify people of a session that is over, or of an account and all of its sessions. For ever.

    Ids, times and amounts stay: ledger, chains, proofs and sealed days verify as before. If it is killed, ask again: it
    goes on. Without a subject: the erasures that there were, and those that are not done.

    Exit 0: erased, all of it. 1: not, or not all; what it says tells why.
    """
    if again:
        if subject is not None:
            raise fail("--again takes all that the log tells of: name none.")
        _again(dry_run, yes)
    elif subject is None:
        _list()
    else:
        _erase([with_database(lambda connection: _look(connection, subject))], dry_run, yes)


async def _look(connection: Connection, wanted: str) -> Subject:
    """Raises typer.Exit."""
    from store import erasures

    if not wanted.startswith(_SESSION):
        of = await account_id(connection, wanted)
        return Subject(of, of, await erasures.found_of_account(connection, of))
    session = await erasures.session(connection, wanted)
    if session is None:
        raise fail(f"There is no session {wanted}, or the projections have not read it yet.")
    if not session.over:
        raise fail(f"{wanted} is {session.status}: end it first (`greenroom sessions end {wanted}`).")
    found = await erasures.found_of_session(connection, wanted)
    return Subject(wanted, session.account_id, found, of_before=not session.own_key)


def _erase(subjects: Sequence[Subject], dry_run: bool, yes: bool) -> None:
    for each in subjects:
        _show(each)
    if dry_run:
        out.print("Nothing was changed.")
        return
    if not yes:
        typer.confirm("Erase it? Nobody can undo that.", abort=True)
    for each in subjects:
        _carry_out(each)
        but = ", but for the log itself (see above)" if each.of_before else ""
        out.print(f"{each.id} is erased{but}.", markup=False, highlight=False)


def _show(subject: Subject) -> None:
    title = subject.id if not subject.is_session else f"{subject.id} of {subject.account_id}"
    table = Table(Column("what"), Column("how many", justify="right"), "what becomes of it", title=title)
    for kind, (what, becomes) in subject.kinds.items():
        table.add_row(what, str(subject.found[kind]), becomes)
    out.print(table)
    if subject.found.get("avatars") and not _assets().is_dir():
        out.print(
            f"There are no assets in {_assets()} (GREENROOM_ASSETS): run it where they are, or `greenroom build` has to"
            " remove portraits and faces.",
            markup=False,
            soft_wrap=True,
        )
    if subject.of_before:
        out.print(
            "It is from before sessions had data keys: its fields will be shown nowhere any more, and leave the log"
            f" itself only with its account: `greenroom erase {subject.account_id}`.",
            markup=False,
            soft_wrap=True,
        )


def _assets() -> Path:
    from faces.settings import AssetSettings

    return AssetSettings().assets


def _carry_out(subject: Subject) -> None:
    from events.producer import UnknownOutcome
    from reactors.erasing import NotReleased
    from store.erasures import Busy

    again = f"Ask again: `greenroom erase {subject.id}` goes on where it ended."
    with Progress(console=err, transient=True) as bar:
        tasks = {
            kind: bar.add_task(kind.replace("_", " "), total=count or 1)
            for kind, count in subject.found.items()
            if kind != "ledger_entries"
        }

        def report(kind: str, count: int) -> None:
            if kind in tasks:
                bar.advance(tasks[kind], count)

        try:
            run_to_the_end(_run(subject, report))
        except Busy:
            raise fail(f"Another process erases {subject.id} right now.") from None
        except NotReleased as held:
            raise fail(f"{held} is still live: do `greenroom project roster` and `sessions` run? {again}") from None
        except UnknownOutcome:
            raise fail(f"Kafka did not acknowledge in time. {again}") from None


async def _run(subject: Subject, report: Report) -> None:
    from reactors import erasing

    async with _tools() as tools:
        if subject.is_session:
            await erasing.session(tools, subject.id, subject.account_id, report, subject.event_id)
        else:
            await erasing.account(tools, subject.id, report, subject.event_id)


@asynccontextmanager
async def _tools() -> AsyncIterator[Tools]:
    from api.uploads import say_deleted
    from events.producer import EventProducer
    from faces.assets import Assets
    from reactors.erasing import Tools
    from schemas.ids import REQUEST, new_id
    from store.database import pool
    from store.settings import StoreSettings

    settings, assets = StoreSettings(), Assets(_assets())
    async with pool(settings.database_url, 3, WAIT_S) as connections, EventProducer(settings) as producer:

        async def delete_avatar(account: str, avatar: str) -> None:
            await say_deleted(producer, connections, account, avatar, new_id(REQUEST))

        def remove_assets(avatar: str, names: Sequence[str]) -> None:
            assets.remove_owned(avatar)
            for name in names:
                assets.remove(name)

        yield Tools(connections, producer, delete_avatar, remove_assets)


# Those that there were


def _list() -> None:
    from store import erasures

    table = Table(Column("subject", no_wrap=True, min_width=31), "account", "asked for", "done")
    for each in with_database(erasures.every):
        done = f"{each.done_at:%Y-%m-%d %H:%M}" if each.done_at else f"not yet: `greenroom erase {each.subject}`"
        table.add_row(each.subject, each.account_id, f"{each.asked_at:%Y-%m-%d %H:%M}", done)
    out.print(table)


def _again(dry_run: bool, yes: bool) -> None:
    """What the log tells of, and this database has not done, or does not know that it has."""
    from events.whole import CannotRead

    try:
        told = run_to_the_end(_told())
    except CannotRead as failed:
        raise fail(f"Not erased: {failed}") from None
    found = with_database(lambda connection: _not_done(connection, told))
    if not found:
        out.print(f"The log tells of {len(told)} erasures; this database has done them all.")
    else:
        _erase(found, dry_run, yes)


async def _told() -> list[Event]:
    """Sessions before accounts: of an erased account nothing is left to do one by one."""
    from events.settings import LogSettings
    from events.topics import ACCOUNTS, SESSIONS
    from reactors import erasing

    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("the log", total=None)
        return [
            event
            for topic in (SESSIONS, ACCOUNTS)
            for event in await erasing.told(
                LogSettings(), topic, lambda done, total: bar.update(task, completed=done, total=total)
            )
        ]


async def _not_done(connection: Connection, told: Sequence[Event]) -> list[Subject]:
    """What this database knows nothing of, or has still running, it cannot erase: it is told, and left out."""
    from store import accounts, erasures

    found: dict[str, Subject] = {}
    for event in told:
        subject = event.subject
        known = await erasures.find(connection, subject)
        if subject.startswith(_SESSION):
            session = await erasures.session(connection, subject)
            there = session is not None and session.over
            counts = await erasures.found_of_session(connection, subject)
            of, of_before = (session.account_id, not session.own_key) if session is not None else ("", False)
            done = known is not None and known.done_at is not None and not counts["data_keys"]
        else:
            account = await accounts.account(connection, subject)
            there, of, of_before = account is not None, subject, False
            counts = await erasures.found_of_account(connection, subject)
            done = known is not None and known.done_at is not None and account is not None and bool(account.erased_at)
        if not there:
            err.print(f"{subject}: not known here, or not over; ask again once the projections have read it.")
        elif not done:
            found[subject] = Subject(subject, of, counts, event.id, of_before)
    return list(found.values())
