"""The promises, looked at after every step that could break one: each record of the log, each burial, each command.

Numbers are those of docs/concepts/architecture.md. What is judged by is kept here, by bookkeeping simpler than the
product's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from events import sessions
from events.codec import Event
from events.fold import Evolved
from events.metering import GRACE_MS
from events.session_state import HIDDEN_REASON, State
from events.topics import SESSIONS
from schemas.events import (
    SessionAssigned,
    SessionCreated,
    SessionEnded,
    SessionEndRequested,
    SessionFailed,
    SessionFirstFrame,
    SessionHeartbeat,
    UsageAdjusted,
    WorkerEvent,
)
from schemas.usage import UsageEntry
from tests.simulation.broker import Entry


class Broken(AssertionError):
    """A promise was not kept."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


@dataclass
class Kept:
    """What is known of one session beside the fold's state."""

    owner: tuple[int, str] = (0, "")
    """Attempt and worker that the log has accepted last."""
    seq: int = 0
    first_frames: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Attempt → (wall, append) ms of its accepted first frame."""
    entries: list[UsageEntry] = field(default_factory=list)
    last_append_ms: int = 0
    tasks: dict[int, str] = field(default_factory=dict)
    """Attempt → the worker that has been sent its task."""


class Referee:
    """`played_ms(sid, attempt, worker)`: how long that one has really shown frames; None: never."""

    def __init__(
        self, played_ms: Callable[[str, int, str], int | None], skew_ms: int, stop: Callable[[], object]
    ) -> None:
        self._stop = stop
        self._played_ms = played_ms
        self._skew_ms = skew_ms
        self.states: dict[str, State] = {}
        self.kept: dict[str, Kept] = {}
        self.log: list[tuple[Event, int]] = []
        self.created: set[str] = set()
        """Sessions of which a customer was told 201."""
        self.end_asked: set[str] = set()
        """Sessions of whose end a customer was told that it is requested."""
        self.began: set[tuple[str, str, int]] = set()
        """(worker, session, attempt) that a supervisor has begun."""
        self.told_to_end: dict[tuple[str, str], int] = {}
        """(worker, session) → the latest attempt that the worker was told to end."""
        self.broken: Broken | None = None
        self.outcome = ""

    def fail(self, promise: str, what: str) -> None:
        """The first one counts."""
        if self.broken is None:
            self.broken = Broken(promise, what)
            self._stop()

    def expect(self, holds: bool, promise: str, what: str) -> None:
        if not holds:
            self.fail(promise, what)

    # The log

    def appended(self, entry: Entry) -> None:
        if entry.topic != SESSIONS.name or entry.event is None:
            return
        event, sid, append_ms = entry.event, entry.event.subject, entry.timestamp
        self.log.append((event, append_ms))
        before = self.states.get(sid)
        outcome = sessions.evolve(before, event, append_ms)
        if not isinstance(outcome, Evolved):
            self.outcome = f"refused: {outcome.reason}"
            return
        self.outcome = "accepted"
        kept = self.kept.setdefault(sid, Kept())
        self._of_whom(kept, before, event)
        self._in_order(kept, event, outcome.state)
        if outcome.usage is not None:
            self._billed(kept, event, outcome.usage, append_ms)
        if isinstance(event.data, SessionFirstFrame):
            kept.first_frames[event.data.attempt] = (outcome.state.attempt_first_frame_ms, append_ms)
        self.states[sid] = outcome.state

    def _of_whom(self, kept: Kept, before: State | None, event: Event) -> None:
        """I4: whoever speaks is the one that the log has accepted, and has seen all that happened."""
        data = event.data
        by_worker = isinstance(data, WorkerEvent) or (
            isinstance(data, SessionEnded | SessionFailed) and data.expected_seq is None
        )
        if by_worker:
            said = (data.attempt, data.worker_id)  # type: ignore[attr-defined]
            self.expect(said == kept.owner, "I4", f"{event.type} of {said} counts, and the owner is {kept.owner}")
        expected = getattr(data, "expected_seq", None)
        if expected is not None:
            self.expect(expected == kept.seq, "I4", f"{event.type} decided at seq {expected} counts at seq {kept.seq}")
        if before is not None and before.terminal:
            self.fail("I4", f"{event.type} counts after the end")
        if isinstance(data, SessionCreated | SessionAssigned):
            self.expect(data.attempt > kept.owner[0], "I4", f"attempt {data.attempt} is assigned after {kept.owner}")
            kept.owner = (data.attempt, data.worker_id)

    def _in_order(self, kept: Kept, event: Event, after: State) -> None:
        """I5."""
        if not isinstance(event.data, SessionHeartbeat | UsageAdjusted):
            kept.seq += 1
        self.expect(after.seq == kept.seq, "I5", f"{event.type} has seq {after.seq}, {kept.seq} comes next")

    def _billed(self, kept: Kept, event: Event, entry: UsageEntry, append_ms: int) -> None:
        facts = entry.facts
        known = [e.facts for e in kept.entries]
        again = any((f.attempt, f.n) == (facts.attempt, facts.n) or f.event_id == event.id for f in known)
        self.expect(not again, "I2", f"attempt {facts.attempt} reading {facts.n} is billed twice")
        first = kept.first_frames.get(facts.attempt)
        if first is None:
            self.fail("I3", f"attempt {facts.attempt} is billed without a first frame")
            return
        self.expect(facts.from_ms >= first[0], "I3", "billed before the first frame")
        of_attempt = sum(f.billable_ms for f in known if f.attempt == facts.attempt) + facts.billable_ms
        passed = append_ms - first[1]
        self.expect(of_attempt <= passed + GRACE_MS, "I3", f"{of_attempt} ms are billed, the log saw {passed} pass")
        worker_id = kept.owner[1]
        played = self._played_ms(facts.session_id, facts.attempt, worker_id)
        self.expect(played is not None and of_attempt <= played + 1, "I3", f"{of_attempt} ms billed, {played} played")
        to_ms = max((f.to_ms for f in known), default=0)
        self.expect(
            facts.from_ms >= to_ms - self._skew_ms - GRACE_MS, "I3", f"{to_ms - facts.from_ms} ms are billed twice"
        )
        kept.entries.append(entry)

    # What workers and rosters do

    def task_sent(self, sid: str, attempt: int, worker_id: str) -> None:
        """One worker for an attempt, and only once the log has accepted it."""
        kept = self.kept.get(sid)
        owner = kept.owner if kept is not None else (0, "")
        self.expect((attempt, worker_id) == owner or attempt < owner[0], "one worker", f"{sid} is sent to {worker_id}")
        if kept is not None:
            other = kept.tasks.setdefault(attempt, worker_id)
            self.expect(other == worker_id, "one worker", f"attempt {attempt} is sent to {worker_id} and {other}")

    def attempt_begun(self, worker_id: str, sid: str, attempt: int, lease: str) -> None:
        """Once, not after its end, and by a valid lease."""
        place = (worker_id, sid, attempt)
        ended = self.told_to_end.get((worker_id, sid), 0)
        self.expect(place not in self.began, "once", f"{worker_id} begins attempt {attempt} again")
        self.expect(attempt > ended, "once", f"{worker_id} begins attempt {attempt} after the end of {ended}")
        self.expect(lease == "valid", "lease", f"{worker_id} begins attempt {attempt}, and its lease is {lease}")
        self.began.add(place)

    def told_end(self, worker_id: str, sid: str, attempt: int) -> None:
        place = (worker_id, sid)
        self.told_to_end[place] = max(attempt or 1, self.told_to_end.get(place, 0))

    def lost(self, worker_id: str, lease: str) -> None:
        self.expect(lease != "valid", "lease", f"{worker_id} is declared lost and works by a valid lease")

    # The end of the story

    def acknowledged(self) -> None:
        """I1."""
        for sid in sorted(self.created):
            state = self.states.get(sid)
            there = state is not None and state.created is not None and state.end_reason != HIDDEN_REASON
            self.expect(there, "I1", f"{sid} was answered 201 and is not in the log")
        asked = {event.subject for event, _ in self.log if isinstance(event.data, SessionEndRequested)}
        for sid in sorted(self.end_asked):
            self.expect(sid in asked, "I1", f"the end of {sid} was acknowledged and is not in the log")

    def replayed(self, stored: dict[str, State]) -> None:
        """I2: whoever folds the log again finds the same, and so did the roster, through all of its restarts."""
        again: dict[str, State] = {}
        for event, append_ms in self.log:
            outcome = sessions.evolve(again.get(event.subject), event, append_ms)
            if isinstance(outcome, Evolved):
                again[event.subject] = outcome.state
        self.expect(again == self.states, "I2", "a replay makes other states")
        for sid, state in stored.items():
            self.expect(state == self.states.get(sid), "I2", f"the roster has stored another state of {sid}")
        for sid, kept in self.kept.items():
            billed = sum(entry.facts.billable_ms for entry in kept.entries)
            self.expect(billed == self.states[sid].billed_ms, "I2", f"entries of {sid} and its state differ")
