"""What all folds have in common. A fold is the pure function that decides what the events of a topic mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from msgspec import Struct

from events.codec import Event, Record
from events.topics import Topic
from schemas.usage import UsageEntry

S = TypeVar("S")


class Evolved(Struct, Generic[S], gc=False):
    """The event was accepted. `transition` names it for history and webhooks; heartbeats and adjustments have none."""

    state: S
    transition: str | None
    usage: UsageEntry | None = None


class Rejected(Struct, frozen=True, gc=False):
    """The event changes nothing. `reason` is a stable word."""

    reason: str


@dataclass(frozen=True)
class Fold(Generic[S]):
    """`decode` raises Malformed and Unknown, as `codec.decode` does, and nothing else.

    `evolve(state, event, append_ms)`: what `event`, appended to the log at `append_ms`, makes of `state` (None: nothing
    known of its subject). Total: no clock, no I/O, no exception for any event.
    """

    topic: Topic
    decode: Callable[[Record], Event]
    evolve: Callable[[S | None, Event, int], Evolved[S] | Rejected]
