"""What a past period would have cost under another rate card: a replay of the log, by the same fold. It reads only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec import structs

from events import whole
from events.codec import Event, Malformed, Record, Unknown
from events.fold import Evolved
from events.session_state import State
from events.sessions import decode_session_event, evolve
from events.settings import LogSettings
from events.topics import SESSIONS
from schemas.events import SessionCreated
from schemas.rates import RateCard
from schemas.usage import UsageEntry

Progress = Callable[[int, int], None]


@dataclass
class Billed:
    """Of an account in the period: `credit_us` as it was billed, `other_us` as the other card would have it."""

    sessions: int = 0
    billable_ms: int = 0
    credit_us: int = 0
    other_us: int = 0

    @property
    def difference_us(self) -> int:
        return self.other_us - self.credit_us


@dataclass
class Preview:
    """`unread`: sessions with an event of a newer version. They are left out from there on."""

    accounts: dict[str, Billed] = field(default_factory=dict)
    events: int = 0
    unread: list[str] = field(default_factory=list)


@dataclass
class _Twin:
    """A session twice: as it is, and as if it had been created under the other card."""

    real: State | None = None
    other: State | None = None
    counted: bool = False


async def preview(settings: LogSettings, card: RateCard, from_ms: int, to_ms: int, progress: Progress) -> Preview:
    """Of all that was recorded in the period, whose end is exclusive. Raises events.whole.CannotRead."""
    found = Preview()
    async with whole.opened(settings, SESSIONS) as log:
        total = sum(log.ends.values())
        for number in log.ends:
            twins: dict[str, _Twin] = {}
            unread: set[str] = set()
            async for records in log.partition(number):
                _fold(records, twins, unread, found, card, (from_ms, to_ms))
                progress(found.events, total)
            found.unread += sorted(unread)
    return found


def _fold(
    records: Sequence[Record],
    twins: dict[str, _Twin],
    unread: set[str],
    found: Preview,
    card: RateCard,
    period: tuple[int, int],
) -> None:
    for record in records:
        found.events += 1
        try:
            event = decode_session_event(record)
        except Malformed:
            continue
        except Unknown:
            unread.add((record.key or b"").decode(errors="replace"))
            continue
        if event.subject in unread:
            continue
        twin = twins.setdefault(event.subject, _Twin())
        entries = _evolve(twin, event, record.timestamp, card)
        if period[0] <= record.timestamp < period[1]:
            _add(found, twin, *entries)


def _evolve(twin: _Twin, event: Event, append_ms: int, card: RateCard) -> tuple[UsageEntry | None, UsageEntry | None]:
    real = evolve(twin.real, event, append_ms)
    other = evolve(twin.other, _under(event, card), append_ms)
    if isinstance(real, Evolved):
        twin.real = real.state
    if isinstance(other, Evolved):
        twin.other = other.state
    return (real.usage if isinstance(real, Evolved) else None, other.usage if isinstance(other, Evolved) else None)


def _under(event: Event, card: RateCard) -> Event:
    data = event.data
    if not isinstance(data, SessionCreated):
        return event
    return structs.replace(event, data=structs.replace(data, rate=card.rate(data.quality)))


def _add(found: Preview, twin: _Twin, real: UsageEntry | None, other: UsageEntry | None) -> None:
    """Adjustments are amounts, not time: they are the same under every card."""
    if real is not None:
        billed = found.accounts.setdefault(real.facts.account_id, Billed())
        billed.sessions += not twin.counted
        billed.billable_ms += real.facts.billable_ms
        billed.credit_us += real.facts.credit_us
        twin.counted = True
    if other is not None:
        found.accounts.setdefault(other.facts.account_id, Billed()).other_us += other.facts.credit_us
