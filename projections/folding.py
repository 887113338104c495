"""What a consumer of the log is made of: a batch, folded, and what a projection does with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from msgspec import Struct

from events.codec import Event, Record
from events.fold import Evolved, Rejected
from events.session_state import State
from projections.parked import Parking
from projections.progress import Progress
from projections.versions import Version
from store.database import Connection

S = TypeVar("S")


class Change(Struct, Generic[S], frozen=True, gc=False):
    """An accepted event and what it did."""

    event: Event
    evolved: Evolved[S]
    partition: int
    offset: int
    append_ms: int


class Refusal(NamedTuple, Generic[S]):
    """A readable event that the fold rejected."""

    event: Event
    rejected: Rejected
    state: S | None
    offset: int
    partition: int


@dataclass
class Folded(Generic[S]):
    """One batch, folded. `states`: subject → the final state of each that changed."""

    changes: list[Change[S]] = field(default_factory=list)
    refusals: list[Refusal[S]] = field(default_factory=list)
    states: dict[str, S] = field(default_factory=dict)
    partition_of: dict[str, int] = field(default_factory=dict)
    parkings: list[Parking] = field(default_factory=list)
    malformed: list[tuple[Record, str]] = field(default_factory=list)
    begins: dict[int, int] = field(default_factory=dict)
    """Partition → offset of its first record."""
    ends: dict[int, int] = field(default_factory=dict)
    """Partition → offset after its last record."""
    appended_ms: dict[int, int] = field(default_factory=dict)
    """Partition → append time of its last record."""
    stored: dict[str, bytes] = field(default_factory=dict)
    """Stored forms of states, made once for all projections that share the batch (`states.stored`)."""

    def since(self, positions: Mapping[int, int]) -> Folded[S]:
        """What is new for a projection that has already seen the log up to `positions`."""
        changes = [c for c in self.changes if c.offset >= positions.get(c.partition, 0)]
        changed = {c.event.subject for c in changes}
        return Folded(
            changes=changes,
            refusals=[r for r in self.refusals if r.offset >= positions.get(r.partition, 0)],
            states={subject: state for subject, state in self.states.items() if subject in changed},
            partition_of=self.partition_of,
            parkings=[p for p in self.parkings if p.offset >= positions.get(p.partition, 0)],
            malformed=[m for m in self.malformed if m[0].offset >= positions.get(m[0].partition, 0)],
            begins=self.begins,
            ends=self.ends,
            appended_ms=self.appended_ms,
            stored=self.stored,
        )


Placed = tuple[Event, int, int, int]
"""An event, its partition, offset and append time. A bare tuple: there is one for each event of a batch."""

Evolve = Callable[[S | None, Event, int], Evolved[S] | Rejected]


def fold(folded: Folded[S], events: Iterable[Placed], states: MutableMapping[str, S | None], evolve: Evolve[S]) -> None:
    """Fold events in the log's order on `states`, which are brought forward, into `folded`."""
    changed, partition_of, add = folded.states, folded.partition_of, folded.changes.append
    for event, partition, offset, append_ms in events:
        subject = event.subject
        outcome = evolve(states.get(subject), event, append_ms)
        if isinstance(outcome, Rejected):
            folded.refusals.append(Refusal(event, outcome, states.get(subject), offset, partition))
            continue
        states[subject] = changed[subject] = outcome.state
        partition_of[subject] = partition
        add(Change(event, outcome, partition, offset, append_ms))


class Projection(ABC, Generic[S]):
    """What a consumer of the log adds to the fold; reactors are made of the same parts.

    For each batch: `prepare`, then in one transaction `apply` and the checkpoint, then `committed`.
    """

    name: str
    """That of its checkpoints: projections/names.py; while it is a version that is being filled, the version's."""

    version: Version | None = None
    """Whose tables it writes. None: of what is never made again beside itself, as reactors."""

    heard_every_s: float = 0.5
    """How often its reader tells the handler where the log ends, at least."""

    @cached_property
    def progress(self) -> Progress:
        """Of this process, whichever handlers it has been part of."""
        return Progress(self.name, self.heard_every_s)

    def use(self, version: Version) -> None:
        """From now on it writes the tables of this one. What was known of others' is forgotten."""
        self.version = version

    async def assigned(self, connection: Connection, partitions: frozenset[int]) -> None:
        """These partitions are mine from now on."""

    @abstractmethod
    async def load(self, connection: Connection, subjects: Sequence[str]) -> dict[str, S]:
        """The states of these as they are stored; those that are not are left out."""

    async def prepare(self, folded: Folded[S]) -> None:
        """What takes time and is no row, before a connection is held. Done again when the batch comes again.

        Raises Recoverable.
        """

    @abstractmethod
    async def apply(self, connection: Connection, folded: Folded[S]) -> None:
        """Write rows and states within the batch's transaction."""

    async def committed(self, folded: Folded[S]) -> None:
        """The transaction is durable. If the process dies before or in here, it is not called again."""


SessionsFolded = Folded[State]
SessionChange = Change[State]
