"""The audit: every usage event recomputed from the log by the same fold, and compared with the ledger.

Two streams in the same order, log and ledger, partition by partition and offset by offset: nothing is held in memory
but the fold states. It reads only. Log and ledger are Kafka and PostgreSQL, or the files of an archive.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import ClassVar, Protocol

from aiokafka.errors import KafkaError

from events.codec import Malformed, Record, Unknown
from events.consumer import LogGap, Stuck
from events.fold import Evolved
from events.reader import LogReader
from events.session_state import State
from events.sessions import decode_session_event, evolve
from events.settings import LogSettings
from events.topics import SESSIONS
from events.whole import CannotRead
from projections import totals
from projections.entries import Part, Stored
from projections.folding import Change
from projections.parked import Parking
from projections.totals import WrongTotal
from projections.usage import COLUMNS, STORED, stored
from schemas.usage import UsageFacts, chain
from store.database import DatabaseUnreachable, Pool, Row

__all__ = ["CannotRead", "Difference", "Scope", "Verdict", "audit", "compare"]

_POSITION = {name: i for i, name in enumerate(STORED)}
_FACTS = len(COLUMNS) - 3
"""So many columns are under the hash, or are it; the rest is where it stands."""
_MOST_NAMED = 1000
ALL = tuple(range(SESSIONS.partitions))

Progress = Callable[[int, int], None]


class Log(Protocol):
    """`sessions.v1`, wherever it is kept; `events.reader.LogReader` says more."""

    async def begins(self) -> Mapping[int, int]: ...
    async def ends(self) -> Mapping[int, int]: ...
    def read(self, partition: int, begin: int, end: int) -> AsyncIterator[Sequence[Record]]: ...


class Ledger(Protocol):
    """The entries, wherever they are kept; `projections.entries.Stored` says more.

    `behind`: what to do when it was made from a part of the log alone.
    """

    behind: ClassVar[str]

    async def caught_up(self, ends: Mapping[int, int]) -> None: ...
    def part(self, partition: int) -> AbstractAsyncContextManager[Part]: ...
    def elsewhere(self) -> AsyncIterator[list[Row]]: ...


@dataclass(frozen=True)
class Difference:
    """`kind`: missing, extra, changed or broken_chain."""

    kind: str
    session_id: str
    partition: int
    offset: int
    detail: str


@dataclass
class Verdict:
    events: int = 0
    rejected: int = 0
    malformed: int = 0
    entries: int = 0
    sessions: int = 0
    billable_ms: int = 0
    credit_us: int = 0
    found: int = 0
    differences: list[Difference] = field(default_factory=list)
    """The first ones; `found` counts all."""
    unread: list[Parking] = field(default_factory=list)
    """Sessions of the scope that are parked, or that this software cannot read: not compared from that offset on."""

    @property
    def equal(self) -> bool:
        return self.found == 0 and not self.unread

    def counts(self, entries: list[Row]) -> None:
        ms, credit = _POSITION["billable_ms"], _POSITION["credit_us"]
        self.entries += len(entries)
        self.billable_ms += sum(entry[ms] for entry in entries)
        self.credit_us += sum(entry[credit] for entry in entries)

    def add(self, other: Verdict) -> None:
        """What another has found in other partitions."""
        for name in ("events", "rejected", "malformed", "entries", "sessions", "billable_ms", "credit_us", "found"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.differences = (self.differences + other.differences)[:_MOST_NAMED]
        self.unread += other.unread

    def differs(self, kind: str, entry: Row, detail: str) -> None:
        self.found += 1
        if len(self.differences) < _MOST_NAMED:
            place = (entry[_POSITION["partition"]], entry[_POSITION["offset"]])
            self.differences.append(Difference(kind, entry[_POSITION["session_id"]], *place, detail))


@dataclass(frozen=True)
class Scope:
    """Which entries are compared. The whole log is folded in any case."""

    account: str | None = None
    session: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None

    def holds(self, entry: Row) -> bool:
        recorded = entry[_POSITION["recorded_ms"]]
        return (
            self.account in (None, entry[_POSITION["account_id"]])
            and self.session in (None, entry[_POSITION["session_id"]])
            and (self.from_ms is None or recorded >= self.from_ms)
            and (self.to_ms is None or recorded < self.to_ms)
        )

    def holds_session(self, session_id: str, state: State | None) -> bool:
        """Whether entries of it could be held, as far as is known of it."""
        created = state.created if state else None
        return self.session in (None, session_id) and (created is None or self.account in (None, created.account_id))


EVERYTHING = Scope()


async def audit(
    settings: LogSettings,
    pool: Pool,
    scope: Scope,
    progress: Progress,
    partitions: Sequence[int] = ALL,
    elsewhere: bool = True,
) -> Verdict:
    """`compare` of Kafka and PostgreSQL. Raises CannotRead."""
    try:
        async with LogReader(settings, SESSIONS) as log, Stored.open(pool) as ledger:
            return await compare(log, ledger, scope, progress, partitions, elsewhere)
    except (TimeoutError, KafkaError, Stuck) as failed:
        raise CannotRead(f"the log cannot be read: {failed!r}; is Kafka there?") from failed
    except LogGap as gap:
        raise CannotRead(f"the log is incomplete: {gap}") from gap
    except DatabaseUnreachable as failed:
        raise CannotRead(f"the ledger cannot be read: {failed}") from failed


async def wrong_totals(pool: Pool, verdict: Verdict) -> tuple[int, list[WrongTotal]]:
    """`totals.wrong`, of a ledger that is itself as it must be: of another one it would say everything twice."""
    return await totals.wrong(pool) if verdict.found == 0 else (0, [])


async def compare(
    log: Log, ledger: Ledger, scope: Scope, progress: Progress, partitions: Sequence[int] = ALL, elsewhere: bool = True
) -> Verdict:
    """`partitions`: of the log, those that are compared; `elsewhere`: with what the ledger has of none.

    Raises CannotRead, and what its two sources raise.
    """
    begins, ends = await log.begins(), await log.ends()
    cut = [partition for partition, begin in begins.items() if begin > 0]
    if cut:
        raise CannotRead(f"the log is incomplete: partitions {cut} do not begin at offset 0.")
    verdict, total = Verdict(), sum(ends[partition] for partition in partitions)
    await ledger.caught_up(ends)
    for partition in partitions:
        async with ledger.part(partition) as part:
            end = ends[partition]
            if part.reached > end and part.reached > (end := (await log.ends())[partition]):
                raise CannotRead(
                    f"the log is incomplete: partition {partition} ends at offset {end} and was read up to"
                    f" {part.reached}: it has lost its tail; restore it."
                )
            if part.done < ends[partition]:
                raise CannotRead(
                    f"the ledger was made from partition {partition} up to offset {part.done} alone, and the log ends"
                    f" at {ends[partition]}: {ledger.behind}."
                )
            reading = Reading(log, partition, part, scope, verdict)
            await reading.compare(lambda: progress(verdict.events, total))
    if elsewhere:
        async for rows in ledger.elsewhere():
            _extra(rows, scope, verdict, "the log has no such partition")
    progress(total, total)
    return verdict


class Reading:
    """One partition of both, without what of a session cannot be read."""

    def __init__(self, log: Log, partition: int, part: Part, scope: Scope, verdict: Verdict) -> None:
        self._log = log
        self._partition = partition
        self._part = part
        self._scope = scope
        self._verdict = verdict
        self.states: dict[str, State] = {}
        self._unread: dict[str, int] = {}
        """Session → the offset from which on it is not compared."""

    async def compare(self, report: Callable[[], None]) -> None:
        """Both in offset order, a batch of the log at a time, with what the ledger has up to there."""
        ledger = _Ahead(self._part.rows)
        async for records in self._log.read(self._partition, 0, self._part.done):
            if not records:
                continue
            wanted = [entry for record in records if (entry := self.fold(record)) is not None]
            self._match(wanted, await ledger.before(records[-1].offset + 1))
            self._verdict.events += len(records)
            report()
        async for rows in ledger.rest():
            self._match([], rows)
        self._verdict.sessions += sum(not state.hidden for state in self.states.values())

    def _match(self, wanted: list[Row], found: list[Row]) -> None:
        """Of some offsets all that the ledger must hold, and all that it holds. Nearly always that is the same."""
        if wanted == found and self._scope == EVERYTHING:
            self._verdict.counts(wanted)
            return
        at = _POSITION["offset"]
        here: dict[int, list[Row]] = {}
        for row in found:
            if not self._leaves(row):
                here.setdefault(row[at], []).append(row)
        for entry in wanted:
            _check(entry, here.pop(entry[at], []), self._scope, self._verdict)
        for rows in here.values():
            _extra(rows, self._scope, self._verdict, "the log has no accepted reading at this offset")

    def _leaves(self, found: Row) -> bool:
        """Whether a newer version may have made this row of what is not read here. Of what is parked nobody has."""
        session_id, offset = found[_POSITION["session_id"]], found[_POSITION["offset"]]
        return session_id not in self._part.parked and offset >= self._unread.get(session_id, offset + 1)

    def fold(self, record: Record) -> Row | None:
        """The entry that the ledger must have of it, if any."""
        try:
            event = decode_session_event(record)
        except Malformed:
            self._verdict.malformed += 1
            return None
        except Unknown as unknown:
            self._leave((record.key or b"").decode(errors="replace"), record.offset, str(unknown))
            return None
        subject = event.subject
        if (parking := self._part.parked.get(subject)) is not None and record.offset >= parking.offset:
            self._leave(subject, parking.offset, parking.reason)
        if record.offset >= self._unread.get(subject, record.offset + 1):
            return None
        outcome = evolve(self.states.get(subject), event, record.timestamp)
        if not isinstance(outcome, Evolved):
            self._verdict.rejected += 1
            return None
        self.states[subject] = outcome.state
        if outcome.usage is None:
            return None
        return stored(Change(event, outcome, record.partition, record.offset, record.timestamp))

    def _leave(self, subject: str, offset: int, reason: str) -> None:
        """From here on the session is named instead of compared."""
        if subject in self._unread:
            return
        self._unread[subject] = offset
        if self._scope.holds_session(subject, self.states.get(subject)):
            self._verdict.unread.append(Parking(subject, self._partition, offset, reason))


class _Ahead:
    """Rows in offset order, taken up to an offset at a time."""

    def __init__(self, batches: AsyncIterator[list[Row]]) -> None:
        self._batches = batches
        self._held: list[Row] = []

    async def before(self, end: int) -> list[Row]:
        """All that are before `end`, and not taken yet."""
        at = _POSITION["offset"]
        while not self._held or self._held[-1][at] < end:
            more = await anext(self._batches, None)
            if more is None:
                break
            self._held += more
        cut = bisect_left(self._held, end, key=itemgetter(at))
        taken, self._held = self._held[:cut], self._held[cut:]
        return taken

    async def rest(self) -> AsyncIterator[list[Row]]:
        """What is left, some at a time."""
        yield self._held
        async for rows in self._batches:
            yield rows


def _check(wanted: Row, rows: list[Row], scope: Scope, verdict: Verdict) -> None:
    """One of the rows must be the entry, and there must be no other."""
    if not rows:
        if scope.holds(wanted):
            verdict.differs("missing", wanted, "the ledger has no such entry")
        return
    entry = min(rows, key=lambda row: len(_changed(wanted, row)))
    if scope.holds(wanted) or scope.holds(entry):
        verdict.counts([wanted])
        for name in _changed(wanted, entry):
            at = _POSITION[name]
            verdict.differs("changed", entry, f"{name} is {entry[at]!r}, the log says {wanted[at]!r}")
        if entry[:_FACTS] != wanted[:_FACTS]:
            _check_hash(entry, verdict)
    _extra([row for row in rows if row is not entry], scope, verdict, "another entry stands at its offset")


def _changed(wanted: Row, row: Row) -> list[str]:
    """The columns in which the row is not what the log says. A version before wrote no key."""
    if wanted == row:
        return []
    return [n for n, at in _POSITION.items() if wanted[at] != row[at] and not (n == "key_id" and row[at] is None)]


def _extra(rows: list[Row], scope: Scope, verdict: Verdict, detail: str) -> None:
    for row in rows:
        if scope.holds(row):
            verdict.differs("extra", row, detail)
            _check_hash(row, verdict)


def _check_hash(row: Row, verdict: Verdict) -> None:
    """Of a row that differs: whether who made it has chained it, too. One that does not has the log's own hash."""
    values = dict(zip(STORED, row, strict=True))
    facts = {name: values[name] for name in UsageFacts.__struct_fields__}
    facts["flags"] = tuple(filter(None, values["flags"].split(",")))
    if chain(UsageFacts(**facts), values["prev_hash"]).hash != values["hash"]:
        verdict.differs("broken_chain", row, "hash is not that of the entry's own fields")
