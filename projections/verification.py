"""Marks and the log: of which session a mark is, which seconds a clip shows of it, and whether those are in the ledger.

No table has tags: an id's tag is a microsecond's work, so those of all candidates are made anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from events.session_state import State
from faces.mark.code import likeness
from projections import sessions
from projections.summaries import chain_of
from schemas.ids import time_of
from schemas.times import to_wire
from schemas.usage import UsageFacts
from schemas.verification import (
    Break,
    ClipFacts,
    InLedger,
    Seconds,
    ShownSession,
    ShownSpan,
    Verdict,
    VerificationResource,
)
from store.database import Connection

if TYPE_CHECKING:
    from faces.mark.appearances import Appearance, Span
    from faces.mark.keys import MarkKeyring
    from faces.verification import Looked

_AT_ONCE = 20_000
_LIKELY, _APART = 6.5, 1.0
"""`likeness` of the best candidate, and how far above the next: of a million, chance reaches 5.3."""
_TOLERANCE_S = 2.0
"""What a window's second, the log's first frame and the last reading may be off by, together."""
_TOUCHING_S = 1.0
_WINDOW_S = 10.0


@dataclass(frozen=True)
class Candidacy:
    """Of whom, created when; times are epoch ms, the end exclusive. None: any."""

    account_id: str | None = None
    after_ms: int | None = None
    before_ms: int | None = None


@dataclass(frozen=True)
class Known:
    """A session in a clip. `facts`: its ledger's entries."""

    appearance: Appearance
    state: State
    facts: Sequence[UsageFacts]


class Candidates:
    """Which ids some tags were made of; offered in any order, however many."""

    def __init__(self, shown: Sequence[Appearance], keys: MarkKeyring) -> None:
        self._shown, self._keys = shown, keys
        self._exact: dict[int, str] = {}
        self._likely: dict[int, list[tuple[float, str]]] = {}

    def offer(self, ids: Sequence[str]) -> None:
        for key_id in dict.fromkeys(each.key_id for each in self._shown):
            key = self._keys.get(key_id)
            assert key is not None  # the detector had it of this ring
            tags = [key.tag(each) for each in ids]
            of_tag = dict(zip(tags, ids, strict=True))
            for number, each in enumerate(self._shown):
                if each.key_id != key_id:
                    continue
                if each.tag is not None:
                    if each.tag in of_tag:
                        self._exact[number] = of_tag[each.tag]
                elif tags:
                    scored = [*zip(likeness(each.soft, tags).tolist(), ids, strict=True)]
                    best = sorted([*self._likely.get(number, ()), *scored], reverse=True)[:2]
                    self._likely[number] = best

    def found(self) -> list[str | None]:
        """For each that was shown, the id, where one is it beyond doubt."""
        return [self._of(number) for number in range(len(self._shown))]

    def _of(self, number: int) -> str | None:
        if number in self._exact:
            return self._exact[number]
        best = self._likely.get(number, [])
        if not best or best[0][0] < _LIKELY or (len(best) > 1 and best[0][0] - best[1][0] < _APART):
            return None
        return best[0][1]


async def known(
    connection: Connection, shown: Sequence[Appearance], keys: MarkKeyring, among: Candidacy
) -> list[Known | None]:
    """For each that was shown its session, or None: of whom `among` does not tell, nothing is found."""
    candidates = Candidates(shown, keys)
    if shown:
        async for ids in _ids(connection, among):
            candidates.offer(ids)
    found: list[Known | None] = []
    for appearance, session_id in zip(shown, candidates.found(), strict=True):
        state = await sessions.state(connection, session_id) if session_id is not None else None
        if state is None or state.created is None:
            found.append(None)
        else:
            found.append(Known(appearance, state, await chain_of(connection, state.session_id)))
    return found


async def _ids(connection: Connection, among: Candidacy) -> AsyncIterator[list[str]]:
    conditions = {
        "account_id = %(account)s": among.account_id is not None,
        "created_ms >= %(after)s": among.after_ms is not None,
        "created_ms < %(before)s": among.before_ms is not None,
    }
    wanted = " AND ".join(condition for condition, asked in conditions.items() if asked) or "true"
    values = {"account": among.account_id, "after": among.after_ms, "before": among.before_ms}
    async with connection.transaction(), connection.cursor(name="verification") as cursor:
        await cursor.execute(f"SELECT session_id FROM r.sessions WHERE {wanted}", values)  # noqa: S608 - names of ours
        while rows := await cursor.fetchmany(_AT_ONCE):
            yield [row[0] for row in rows]


# Which seconds, and whether they are in the ledger


def verified(looked: Looked, found: Sequence[Known], verdict: Verdict, reason: str | None) -> VerificationResource:
    """What is said of a clip in which these sessions are."""
    opened, ended = looked.opened, looked.ended
    assert opened is not None
    from_s = looked.seen[0].from_s if looked.seen else 0.0
    to_s = max((each.to_s for each in looked.seen), default=from_s)
    spans = apart((each.state.session_id, span) for each in found for span in each.appearance.spans)
    shown = [
        _session(same, [span for session_id, span in spans if session_id == name]) for name, same in _by_session(found)
    ]
    return VerificationResource(
        verdict=verdict,
        reason=reason,
        clip=ClipFacts(
            from_=_tenths(from_s),
            to=_tenths(to_s),
            container=opened.container,
            codec=opened.codec,
            width=opened.width,
            height=opened.height,
            frames=ended.frames if ended else 0,
            unread=[Seconds(from_=_tenths(each.start), to=_tenths(each.end)) for each in looked.unread],
        ),
        sessions=shown,
        breaks=breaks(shown, _tenths(from_s), _tenths(to_s)),
    )


def _by_session(found: Sequence[Known]) -> Iterable[tuple[str, list[Known]]]:
    """Windows whose tag could not be read may have been put together apart from those of the same session."""
    ids = dict.fromkeys(each.state.session_id for each in found)
    return [(name, [each for each in found if each.state.session_id == name]) for name in ids]


def apart(spans: Iterable[tuple[str, Span]]) -> list[tuple[str, Span]]:
    """Windows that reach over a cut show both sessions: the cut lies somewhere in what both cover, so in its middle.
    What is longer than a window is side by side."""
    found: list[tuple[str, Span]] = []
    for name, span in sorted(spans, key=lambda pair: pair[1].from_s):
        if found:
            name_before, before = found[-1]
            both = before.to_s - span.from_s
            if name_before != name and 0 < both < _WINDOW_S and before.to_s < span.to_s:
                cut = span.from_s + both / 2
                found[-1] = name_before, replace(before, to_s=cut)
                span = replace(span, from_s=cut, second=span.second + both / 2)
        found.append((name, span))
    return found


def _session(same: Sequence[Known], spans: Sequence[Span]) -> ShownSession:
    state, facts = same[0].state, same[0].facts
    assert state.created is not None
    return ShownSession(
        id=state.session_id,
        account_id=state.created.account_id,
        avatar_id=state.created.avatar_id,
        quality=state.created.quality,
        score=_tenths(max(each.appearance.score for each in same)),
        spans=[_span(span, state, facts) for span in spans],
    )


def _tenths(value: float) -> float:
    return round(float(value), 1)


def _span(span: Span, state: State, facts: Sequence[UsageFacts]) -> ShownSpan:
    """Second 0 of a session is its first frame."""
    begin = state.first_frame_ms or state.created_ms
    from_ms, to_ms = begin + round(span.second * 1000), begin + round(span.last_second * 1000)
    readings = laid_out(facts)
    billed = billed_ms(readings, from_ms, to_ms)
    return ShownSpan(
        from_=_tenths(span.from_s),
        to=_tenths(span.to_s),
        session_from=_tenths(span.second),
        session_to=_tenths(span.last_second),
        began_at=to_wire(from_ms),
        ended_at=to_wire(to_ms),
        ledger=in_ledger(billed, to_ms - from_ms, more_to_come(state, readings, to_ms)),
        billed_seconds=_tenths(billed / 1000),
    )


@dataclass(frozen=True)
class Reading:
    """What was billed between two readings of the meter, by the worker's clock."""

    from_ms: int
    to_ms: int
    billable_ms: int


def laid_out(facts: Iterable[UsageFacts]) -> list[Reading]:
    """When each entry's time was played. `from` and `to` of an entry leave out what was not billed before it; the time
    of its reading is in its id."""
    found: list[Reading] = []
    ends: dict[int, int] = {}
    for each in facts:
        if each.kind == "interval":
            begin = ends.get(each.attempt, each.from_ms)
            ends[each.attempt] = end = max(begin, time_of(each.id))
            found.append(Reading(begin, end, each.billable_ms))
    return found


def more_to_come(state: State, readings: Sequence[Reading], to_ms: int) -> bool:
    """Of what was played until then: the session runs, or the ledger is not yet where the session's own state is."""
    runs = not state.terminal and (not readings or readings[-1].to_ms < to_ms)
    return runs or state.billed_ms > sum(each.billable_ms for each in readings)


def billed_ms(readings: Iterable[Reading], from_ms: int, to_ms: int) -> int:
    """Of what was played from `from_ms` to `to_ms`. Within a reading it is taken to be spread evenly."""
    billed = 0.0
    for each in readings:
        overlap = min(each.to_ms, to_ms) - max(each.from_ms, from_ms)
        if overlap > 0:
            billed += overlap * min(1.0, each.billable_ms / (each.to_ms - each.from_ms))
    return round(billed)


def in_ledger(billed: int, length: int, more_to_come: bool) -> InLedger:
    if length - billed <= min(_TOLERANCE_S * 1000, length / 2):
        return "billed"
    if more_to_come:
        return "pending"
    return "partly" if billed > _TOLERANCE_S * 1000 else "not_billed"


def breaks(shown: Sequence[ShownSession], from_s: float, to_s: float) -> list[Break]:
    """Between the spans of all sessions, and before and behind them."""
    spans = sorted(((span, each.id) for each in shown for span in each.spans), key=lambda pair: pair[0].from_)
    found: list[Break] = []
    reached, before = from_s, None
    for span, session_id in spans:
        if span.from_ - reached > _TOUCHING_S:
            found.append(Break(kind="gap", from_=reached, to=span.from_, skipped_seconds=None))
        if before is not None and span.from_ >= before[0].to - _TOUCHING_S:
            skipped = span.session_from - before[0].session_to - (span.from_ - before[0].to)
            if session_id != before[1]:
                found.append(Break(kind="cut", from_=before[0].to, to=span.from_, skipped_seconds=None))
            elif abs(skipped) > _TOUCHING_S:
                found.append(Break(kind="cut", from_=before[0].to, to=span.from_, skipped_seconds=_tenths(skipped)))
        reached, before = max(reached, span.to), (span, session_id)
    if spans and to_s - reached > _TOUCHING_S:
        found.append(Break(kind="gap", from_=reached, to=to_s, skipped_seconds=None))
    return found
