"""Rules that are broken on purpose, one at a time: seeds must find each of them, and name the promise that falls."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest.mock import patch

from msgspec import structs

from events import entries, sessions
from events.fold import Evolved
from events.metering import Billed, Charge
from events.session_state import copied
from reactors import decisions, presence, roster, settling
from reactors.decisions import Close
from reactors.directory import Directory
from reactors.roster import Roster
from schemas.events import SessionAssigned, SessionEnded, SessionEndRequested, SessionFailed, SessionHeartbeat
from workers import lease, supervisor
from workers.supervisor import Supervisor

Break = Callable[[ExitStack], object]


def _stale_attempts(stack: ExitStack) -> None:
    stack.enter_context(patch.object(sessions, "_stale", lambda state, data: None))


def _any_seq(stack: ExitStack) -> None:
    def blind(rule: Any) -> Any:
        def ruled(state: Any, event: Any, data: Any, append_ms: int) -> Any:
            seen = data.expected_seq is not None
            return rule(state, event, structs.replace(data, expected_seq=state.seq) if seen else data, append_ms)

        return ruled

    kinds = (SessionAssigned, SessionEnded, SessionFailed, SessionEndRequested)
    rules = {kind: blind(sessions._RULES_2[kind]) for kind in kinds}
    stack.enter_context(patch.dict(sessions._RULES_2, rules))


def _readings_again(stack: ExitStack) -> None:
    rule = sessions._RULES_2[SessionHeartbeat]

    def ruled(state: Any, event: Any, data: Any, append_ms: int) -> Any:
        before = copied(state)
        before.n, before.meter = data.n - 1, structs.replace(state.meter, billable_ms=0, frames=0)
        outcome = rule(before, event, data, append_ms)
        return outcome if isinstance(outcome, Evolved) else rule(state, event, data, append_ms)

    stack.enter_context(patch.dict(sessions._RULES_2, {SessionHeartbeat: ruled}))


def _unbounded(stack: ExitStack) -> None:
    def charge(meter: Any, append_ms: int, first_frame_append_ms: int, billed: Billed) -> Charge:
        ms, frames = max(0, meter.billable_ms - billed.ms), max(0, meter.frames - billed.frames)
        return Charge(ms, frames, Billed(billed.ms + ms, billed.frames + frames), ())

    stack.enter_context(patch.object(entries, "charge", charge))


def _received(stack: ExitStack) -> None:
    """`renewed_at` becomes the time at which it is set."""

    def renew(self: Any, sent_at: float) -> None:
        self.__dict__["renewed"] = lease.boottime()

    prop = property(lambda self: self.__dict__["renewed"], renew)
    stack.enter_context(patch.object(Supervisor, "renewed_at", prop, create=True))


def _any_lease(stack: ExitStack) -> None:
    stack.enter_context(patch.object(supervisor, "phase", lambda renewed_at, now: "valid"))


def _unread(stack: ExitStack) -> None:
    append = Roster._append

    async def at_once(self: Any, state: Any, data: Any, *rest: Any) -> None:
        await append(self, state, data, *rest)
        if isinstance(data, SessionAssigned):
            hoped = copied(state)
            hoped.attempt, hoped.worker_id = data.attempt, data.worker_id
            await self._dispatch.task(hoped)

    stack.enter_context(patch.object(Roster, "_append", at_once))


def _without_seq(stack: ExitStack) -> None:
    append = Roster._append

    async def blindly(self: Any, state: Any, data: Any, *rest: Any) -> None:
        assigns = isinstance(data, SessionAssigned)
        await append(self, state, data if assigns else structs.replace(data, expected_seq=None), *rest)

    stack.enter_context(patch.object(Roster, "_append", blindly))


def _forgetful(stack: ExitStack) -> None:
    nothing = property(lambda self: OrderedDict(), lambda self, value: None)
    stack.enter_context(patch.object(Supervisor, "_ended", nothing, create=True))


def _own_pauses(stack: ExitStack) -> None:
    """As if what was the end when it was asked for were the end now."""
    reached = presence.Presence.reached

    def now_reached(self: Any, as_of: float, now: float) -> None:
        reached(self, now, now)

    stack.enter_context(patch.object(presence, "PASS_S", float("inf")))
    stack.enter_context(patch.object(presence.Presence, "reached", now_reached))


def _never_closes(stack: ExitStack) -> None:
    decide = decisions.decide

    def decided(*args: Any) -> Any:
        decision = decide(*args)
        return None if isinstance(decision, Close) else decision

    stack.enter_context(patch.object(roster, "decide", decided))


def _hasty(stack: ExitStack) -> None:
    async def read(connection: Any, ends: Any, partitions: Any) -> dict[int, int]:
        return dict(ends)

    stack.enter_context(patch.object(settling.Settling, "_read_up_to", staticmethod(read)))


def _spared(stack: ExitStack) -> None:
    async def nothing(self: Any, worker_id: str) -> None:
        """It is left alone."""

    stack.enter_context(patch.object(Directory, "_retire", nothing))


class Rule(NamedTuple):
    """What breaks it, the promise that falls, and a seed that is known to find it."""

    break_: Break
    promise: str
    seed: int


RULES = {
    "the fold accepts a stale attempt": Rule(_stale_attempts, "I4", 13),
    "the fold ignores expected_seq": Rule(_any_seq, "I4", 61),
    "the fold bills a reading that it has billed": Rule(_readings_again, "I2", 3),
    "the bill knows no bound": Rule(_unbounded, "I3", 1),
    "the lease is judged by the time of the acknowledgement": Rule(_received, "lease", 696),
    "a worker begins whatever its lease": Rule(_any_lease, "lease", 9),
    "the roster sends a task before it has read its own decision": Rule(_unread, "one worker", 29),
    "the roster ends sessions without expected_seq": Rule(_without_seq, "I8", 0),
    "nobody ends what a lost worker was ending": Rule(_never_closes, "I8", 0),
    "the supervisor forgets which attempts are over": Rule(_forgetful, "once", 387),
    "the roster's own pause is the silence of others": Rule(_own_pauses, "lease", 34),
    "a create counts as lost before the log was read to its end": Rule(_hasty, "I1", 9),
    "nobody retires a worker that was declared lost": Rule(_spared, "gone", 0),
}
"""What is broken → how, and what falls."""


@contextlib.contextmanager
def breaking(rule: str) -> Iterator[None]:
    with ExitStack() as stack:
        RULES[rule].break_(stack)
        yield
