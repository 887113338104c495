"""`greenroom adjust`: corrections of bills, as events of the log."""

from __future__ import annotations

import getpass
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import WAIT_S, fail, out, run_to_the_end, with_database

if TYPE_CHECKING:
    from projections.adjustments import Bill, Entry
    from schemas.events import UsageAdjusted
    from store.database import Connection

_EVENT_ID = re.compile("evt_[0-9A-HJKMNP-TV-Z]{26}")
_MOST_CHARS = 1000
_LEDGER_WITHIN_S = 20.0


def adjust(
    session: Annotated[str, typer.Argument(help="Its id.")],
    credits: Annotated[str, typer.Option(help="Added to its bill; negative: given back. Such as -2.5.")],
    reason: Annotated[str, typer.Option(help="Why. It stands in the log for ever: name nobody.")],
    link: Annotated[str | None, typer.Option(help="Where more is said: a ticket.")] = None,
    actor: Annotated[str | None, typer.Option(help="Who adjusts. Default: the user of this machine.")] = None,
    event_id: Annotated[
        str | None, typer.Option("--id", help="evt_…, told by an earlier try: it counts once, however often you ask.")
    ] = None,
    below_zero: Annotated[bool, typer.Option("--below-zero", help="Give back more than was billed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Correct a session's bill: an entry of the ledger more, by an event in the log. Nothing that stands is changed.

    It counts in the month in which it is made. Exit 0 once the ledger has it.
    """
    from schemas.events import UsageAdjusted
    from schemas.ids import EVENT, new_id

    amount = _amount(credits)
    data = UsageAdjusted(
        session_id=session,
        credit_us=amount,
        reason=_said("--reason", reason),
        actor=_said("--actor", actor if actor is not None else getpass.getuser()),
        link=None if link is None else _said("--link", link),
    )
    if event_id is not None and not _EVENT_ID.fullmatch(event_id):
        raise fail("--id is evt_ and 26 characters, as an earlier try told it.")
    chosen = event_id or new_id(EVENT)
    bill, before = with_database(lambda connection: _look(connection, session, chosen))
    if bill is None:
        raise fail(f"There is no session {session}, or the projections have not read it yet.")
    if before is None:
        _agree(session, bill, amount, chosen, below_zero, yes)
        before = _append(data, chosen, bill.account_id)
    _tell(before, amount, chosen)


def _agree(session: str, bill: Bill, amount: int, chosen: str, below_zero: bool, yes: bool) -> None:
    after = bill.credit_us + amount
    if amount < 0 and after < 0 and not below_zero:
        raise fail(f"That is more than its bill of {_shown(bill.credit_us)} credits. If it is meant: --below-zero.")
    out.print(
        f"{session} of {bill.account_id}: {_shown(bill.credit_us)} {_shown(amount, '+')} → {_shown(after)} credits.\n"
        f"If this does not end well, ask again with --id {chosen}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if not yes:
        typer.confirm("Append it to the log?", abort=True)


def _amount(credits: str) -> int:
    from projections.adjustments import NotExact, credit_us

    try:
        return credit_us(Decimal(credits))
    except InvalidOperation:
        raise fail(f"--credits is a number such as -2.5, not {credits}.") from None
    except NotExact as wrong:
        raise fail(str(wrong)) from None


def _said(option: str, text: str) -> str:
    if not text.strip() or len(text) > _MOST_CHARS or not text.isprintable():
        raise fail(f"{option} is one line of 1 to {_MOST_CHARS} characters.")
    return text


async def _look(connection: Connection, session: str, event_id: str) -> tuple[Bill | None, Entry | None]:
    from projections import adjustments

    return await adjustments.bill(connection, session), await adjustments.entry(connection, session, event_id)


def _append(data: UsageAdjusted, event_id: str, account_id: str) -> Entry:
    """If it dies before the append nothing has happened; after it the same id, asked with again, finds the entry."""
    from events.codec import new_event
    from events.producer import EventProducer, UnknownOutcome
    from events.topics import SESSIONS
    from projections import adjustments
    from store.database import pool
    from store.settings import StoreSettings

    again = f"ask again with --id {event_id}"

    async def run() -> Entry | None:
        settings = StoreSettings()
        event = new_event(data, source="cli", subject=data.session_id, account=account_id, event_id=event_id)
        async with pool(settings.database_url, 1, WAIT_S) as connections, EventProducer(settings) as producer:
            try:
                await producer.send(SESSIONS, event)
            except UnknownOutcome:
                raise fail(f"Kafka did not acknowledge it: it may be in the log, or not; {again}.") from None
            async with connections.connection() as connection:
                try:
                    return await adjustments.awaited(settings, connection, data.session_id, event_id, _LEDGER_WITHIN_S)
                except TimeoutError:
                    raise fail(
                        "It is in the log; the ledger has not read it yet: start `greenroom project usage`, and "
                        + again
                    ) from None

    found = run_to_the_end(run())
    if found is None:
        raise fail(
            "It is in the log, and the ledger made nothing of it: the session is parked (`greenroom parked list`), the "
            "id is that of another event of the session, or the session has been adjusted beyond all bounds."
        )
    return found


def _tell(entry: Entry, amount: int, event_id: str) -> None:
    if (entry.kind, entry.credit_us) != ("adjustment", amount):
        raise fail(f"{event_id} is another event: {entry.kind} {entry.id} of {_shown(entry.credit_us)} credits.")
    out.print(entry.id, markup=False, highlight=False)


def _shown(amount: int, sign: str = "") -> str:
    """Never rounded: 8 digits tell one credit_us from the next."""
    from schemas.rates import CREDIT_US

    return format(round(Decimal(amount) / CREDIT_US, 8).normalize(), f"{sign}f")
