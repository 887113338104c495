"""Records that can never be read: counted, told by their place, and copied to `dead_letters.v1`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from events import metrics
from events.codec import Record
from events.consumer import Recoverable
from events.producer import SEND_TIMEOUT_S, EventProducer, UnknownOutcome
from events.topics import DEAD_LETTERS

log = structlog.get_logger()

_ABOUT = ("topic", "partition", "offset", "reason")
_TOLD = 20
_TRIES = 5
_SHORT_TIMEOUT_S = 0.5
_MOST_BYTES = 900_000
"""Kafka takes 1 MiB with everything around it."""

Broken = Sequence[tuple[Record, str]]
"""(record, reason) of each."""


def tell(consumer: str, broken: Broken) -> None:
    """Count all of a batch and log the first ones: where and why, never the bytes."""
    if not broken:
        return
    metrics.MALFORMED.labels(consumer).inc(len(broken))
    for record, reason in broken[:_TOLD]:
        log.warning(
            "record malformed",
            consumer=consumer,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=reason,
        )
    if len(broken) > _TOLD:
        log.warning("more records malformed", consumer=consumer, count=len(broken) - _TOLD)


class Letter(NamedTuple):
    """A copy, and what it says of its original; of what somebody else wrote, as much as it says."""

    topic: str
    partition: str
    offset: str
    reason: str
    cut: bool
    copy: Record


def letter_of(copy: Record) -> Letter:
    """Total: the topic may hold anything. The texts are as they stand there, so they may hold control characters."""
    about = {name: (value or b"").decode(errors="replace") for name, value in copy.headers}
    topic, partition, offset, reason = (about.get(f"dead_letter_{name}", "") for name in _ABOUT)
    return Letter(topic, partition, offset, reason, "dead_letter_cut" in about, copy)


class DeadLetters:
    """Copies go out before their batch commits: a crash in between copies them again, and none is lost.

    A copy is the record itself, with its place and the reason in four more headers; that place tells copies of the
    same record apart from others. When the topic cannot be written the batch is tried again some times, and then goes
    on without: the records themselves stay in the log, and no consumer stops for a copy.
    """

    def __init__(self, producer: EventProducer) -> None:
        self._producer = producer
        self._failed = 0

    async def copy(self, broken: Broken) -> None:
        """Raises Recoverable when it has to be tried again."""
        if not broken:
            return
        timeout_s = SEND_TIMEOUT_S if self._failed < _TRIES else _SHORT_TIMEOUT_S
        try:
            await asyncio.gather(*(self._send(record, reason, timeout_s) for record, reason in broken))
        except UnknownOutcome as failed:
            self._failed += 1
            if self._failed < _TRIES:
                raise Recoverable(f"dead letters: {failed}") from failed
            metrics.NOT_COPIED.inc(len(broken))
            first = broken[0][0]
            log.error("dead letters given up", partition=first.partition, offset=first.offset, count=len(broken))
        else:
            self._failed = 0

    async def _send(self, record: Record, reason: str, timeout_s: float) -> None:
        told = (record.topic, str(record.partition), str(record.offset), reason)
        about = [(f"dead_letter_{name}", value.encode()) for name, value in zip(_ABOUT, told, strict=True)]
        key, value, headers = record.key, record.value, list(record.headers)
        size = len(key or b"") + len(value or b"") + sum(4 * len(k) + len(v or b"") for k, v in headers)
        if size > _MOST_BYTES or (key is None and value is None):
            # larger than any record with what we add, or nothing that a producer takes: the original stays in its place
            key, value, headers = None, b"", [("dead_letter_cut", b"true")]
        await self._producer.send_as_it_is(DEAD_LETTERS, key, value, [*headers, *about], timeout_s)
