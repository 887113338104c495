"""What may be watched while it happens: counts of minutes, that add up to windows (`projections/windows.py`).

Every accepted event adds whole numbers to rows of the minute that it counts in; so a batch is one additive upsert in
the transaction of its checkpoint, nothing is held in memory, and a process that is killed and started again, or two at
once, come to the same rows. Nothing that bills or decides reads them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct

from events import sessions
from events.codec import Event
from events.fold import Evolved, Fold, Rejected
from events.session_state import State, Status
from events.topics import SESSIONS
from projections import checkpoints, names, parked, states
from projections.folding import Folded
from projections.latencies import bucket
from projections.notices import tell
from projections.states import Form, StoredStates
from schemas.events import SessionAudioStalled, SessionCreated, SessionErased, UsageAdjusted
from schemas.live import ALL, LATENESS_MS, OTHER, WINDOW_MS, Dimension
from store.database import Connection, Pool, delete_by_batches

CHANNEL = "live"
"""NOTIFY: the subjects of accounts whose windows have changed, a line each."""
MOST_ACCOUNTS = 500
MOST_WORKERS = 200
_MINUTES_KNOWN = 64
_MOST_KEY = 64
"""Ids of ours are shorter; a key of `live.v1` is made of it."""
Measure = str
"""`starts`, `active:<status>`, `first_frame:<bucket>`, `billable_ms`, `credit_us`, `failure:<code>`, `audio_stalls`,
`late`."""


def subject(account_id: str) -> str:
    """Of its windows, apart from its feed, whose subject is the account itself."""
    return f"live:{account_id}"


class Add(NamedTuple):
    """`value` more of `measure` in the minute that begins at `minute_ms`, for what `key` names."""

    minute_ms: int
    dimension: Dimension
    key: str
    measure: Measure
    value: int


class Seen(Struct):
    """A session as live windows know it. `minute_ms`: the latest in which something of it counted.

    `adds`: what its last event adds; no part of what is stored.
    """

    state: State
    minute_ms: int
    adds: tuple[Add, ...] = ()


def minute_of(time_ms: int, append_ms: int) -> tuple[int, bool]:
    """The minute that an event of `time_ms` counts in, and whether it came too late for its own.

    Its own time counts, as far as the log's time allows: an event from the future counts when it was appended, and one
    that comes more than LATENESS_MS late in the oldest minute that is still open. So a window is closed for ever once
    the log's time is LATENESS_MS past its end, whatever the clocks of workers say, and no event is left out.
    """
    open_since = append_ms - LATENESS_MS
    at = min(max(time_ms, open_since), append_ms)
    return at - at % WINDOW_MS, time_ms < open_since


def evolve(seen: Seen | None, event: Event, append_ms: int) -> Evolved[Seen] | Rejected:
    """The fold of sessions, and what its outcome adds to the windows."""
    outcome = sessions.evolve(seen.state if seen else None, event, append_ms)
    if isinstance(outcome, Rejected):
        return outcome
    before, state = seen, outcome.state
    minute_ms, late = minute_of(event.time_ms, append_ms)
    since_ms = before.minute_ms if before is not None else 0
    if state.created is None or isinstance(event.data, (UsageAdjusted, SessionErased)):
        return Evolved(Seen(state, since_ms), outcome.transition)
    minute_ms = max(minute_ms, since_ms)
    counted = _counted(before, state, event, outcome, minute_ms)
    if late:
        counted["late"] = 1
    adds = [
        Add(minute_ms, dimension, key, measure, value)
        for dimension, key in _keys(state)
        for measure, value in counted.items()
    ]
    adds.extend(_activity(before, state, minute_ms))
    return Evolved(Seen(state, minute_ms, tuple(adds)), outcome.transition)


def _counted(
    before: Seen | None, state: State, event: Event, outcome: Evolved[State], minute_ms: int
) -> dict[Measure, int]:
    """What happens once, whatever is looked at."""
    counted: dict[Measure, int] = {}
    if isinstance(event.data, SessionCreated):
        counted["starts"] = 1
    elif isinstance(event.data, SessionAudioStalled):
        counted["audio_stalls"] = 1
    if state.first_frame_ms is not None and (before is None or before.state.first_frame_ms is None):
        counted[f"first_frame:{bucket(state.first_frame_ms - state.created_ms)}"] = 1
    if state.status == "failed" and state.failure_code is not None:
        counted[f"failure:{state.failure_code}"] = 1
    if outcome.usage is not None:
        counted["billable_ms"] = outcome.usage.facts.billable_ms
        counted["credit_us"] = outcome.usage.facts.credit_us
    return counted


def _activity(before: Seen | None, state: State, minute_ms: int) -> Iterator[Add]:
    """A session counts once in each minute in which something is heard of it, under its last status there."""
    here = before is not None and before.minute_ms == minute_ms and before.state.created is not None
    if here:
        assert before is not None
        if before.state.status == state.status and before.state.worker_id == state.worker_id:
            return
        yield from _active(before.state, before.state.status, minute_ms, -1)
    yield from _active(state, state.status, minute_ms, 1)


def _active(state: State, status: Status, minute_ms: int, value: int) -> Iterator[Add]:
    for dimension, key in _keys(state):
        yield Add(minute_ms, dimension, key, f"active:{status}", value)


def _keys(state: State) -> Iterator[tuple[Dimension, str]]:
    assert state.created is not None
    yield "all", ALL
    yield "account", state.created.account_id
    yield "worker", state.worker_id
    yield "quality", state.created.quality


FOLD: Fold[Seen] = Fold(SESSIONS, sessions.decode_session_event, evolve)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[State, int])


def _dump(seen: Seen) -> bytes:
    return _encoder.encode((seen.state, seen.minute_ms))


def _load(stored: bytes) -> Seen:
    return Seen(*_decoder.decode(stored))


class LiveProjection(StoredStates[Seen]):
    name = names.LIVE
    form = Form(_dump, _load, lambda seen: seen.state.terminal)

    def __init__(self, most_accounts: int = MOST_ACCOUNTS, most_workers: int = MOST_WORKERS) -> None:
        """What is beyond so many accounts or workers in a minute is summed under OTHER."""
        self._most: dict[Dimension, int] = {"account": most_accounts, "worker": most_workers}
        self._known: OrderedDict[tuple[int, Dimension], set[str]] = OrderedDict()
        self.changed: set[tuple[int, Dimension, str]] = set()
        """(minute, dimension, key) of what has been stored since it was emptied last."""

    async def assigned(self, connection: Connection, partitions: frozenset[int]) -> None:
        """What was known of a batch that failed was never stored."""
        self._known.clear()

    async def apply(self, connection: Connection, folded: Folded[Seen]) -> None:
        sums: Counter[tuple[int, Dimension, str, Measure]] = Counter()
        for change in folded.changes:
            for add in change.evolved.state.adds:
                key = await self._key(connection, add)
                sums[add.minute_ms, add.dimension, key, add.measure] += add.value
        # In one order: two processes that add to the same rows never wait for each other in a circle.
        rows = sorted((*place, value) for place, value in sums.items() if value)
        if rows:
            await connection.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])
        self._touched = {(minute_ms, dimension, key) for minute_ms, dimension, key, _, _ in rows}
        await tell(connection, CHANNEL, sorted({subject(key) for _, of, key in self._touched if of == "account"}))
        await self.save(connection, folded)

    async def committed(self, folded: Folded[Seen]) -> None:
        self.changed |= self._touched

    async def _key(self, connection: Connection, add: Add) -> str:
        """Its own, or OTHER once a minute has as many as it may: what strangers create never makes the table large.

        Of two processes each has its own count, so there may be twice as many.
        """
        most = self._most.get(add.dimension)
        if most is None:
            return add.key
        place = (add.minute_ms, add.dimension)
        known = self._known.get(place)
        if known is None:
            known = self._known[place] = await _keys_of(connection, *place)
            if len(self._known) > _MINUTES_KNOWN:
                self._known.popitem(last=False)
        if add.key not in known:
            if len(known) >= most or len(add.key) > _MOST_KEY:
                return OTHER
            known.add(add.key)
        return add.key


_ADD = """
INSERT INTO live_v1.counts AS c (minute_ms, dimension, key, measure, value)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[])
ON CONFLICT (dimension, key, minute_ms, measure) DO UPDATE SET value = c.value + excluded.value
"""


async def _keys_of(connection: Connection, minute_ms: int, dimension: Dimension) -> set[str]:
    cursor = await connection.execute(
        "SELECT DISTINCT key FROM live_v1.counts WHERE minute_ms = %s AND dimension = %s AND key <> %s",
        [minute_ms, dimension, OTHER],
    )
    return {key for (key,) in await cursor.fetchall()}


OLDER = "minute_ms < (extract(epoch FROM now()) - %(older_s)s) * 1000"


async def begin_anew(connection: Connection, since: Mapping[int, int]) -> None:
    """Forget all of it, and count from these offsets: the log is another one than that of which it was counted. In a
    transaction of the caller's."""
    await checkpoints.place(connection, names.LIVE, SESSIONS.name, since, anew=True)
    await states.forget(connection, names.LIVE)
    await parked.forget(connection, names.LIVE)
    await connection.execute("TRUNCATE live_v1.counts")


async def prune(pool: Pool, older_s: float) -> int:
    """Delete minutes that began so long ago; returns how many rows went."""
    return await delete_by_batches(pool, "live_v1.counts", "dimension, key, minute_ms, measure", OLDER, older_s)
