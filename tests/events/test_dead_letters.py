"""Copies of what cannot be read: none is lost to an outage, and no consumer stops for one."""

from __future__ import annotations

from typing import Any, cast

import pytest
import structlog

from events import metrics
from events.consumer import Recoverable
from events.dead_letters import DeadLetters, tell
from events.producer import EventProducer, UnknownOutcome
from tests.builders import created, event, record, session_id

pytestmark = pytest.mark.unit

BROKEN = record(event(created(session_id())), offset=7, headers=[("ce_id", None), ("ce_id", b"\xff")])


class Producer:
    """At our own port: acknowledges, or does not."""

    def __init__(self) -> None:
        self.away = False
        self.sent: list[Any] = []

    async def send_as_it_is(self, *args: Any) -> None:
        if self.away:
            raise UnknownOutcome("away")
        self.sent.append(args[1:4])


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def letters(producer: Producer) -> DeadLetters:
    return DeadLetters(cast(EventProducer, producer))


async def test_a_copy_is_the_record_with_its_place_and_reason(letters: DeadLetters, producer: Producer) -> None:
    await letters.copy([(BROKEN, "why")])
    key, value, headers = producer.sent[0]
    assert (key, value, headers[:2]) == (BROKEN.key, BROKEN.value, BROKEN.headers)
    about = dict(headers[2:])
    assert about == {
        "dead_letter_topic": b"sessions.v1",
        "dead_letter_partition": str(BROKEN.partition).encode(),
        "dead_letter_offset": b"7",
        "dead_letter_reason": b"why",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"value": b"v" * 1000000},
        {"key": b"k" * 1000000},
        {"key": None, "value": None},
        {"headers": [("h" * 900000, b"")]},
    ],
    ids=["value", "key", "nothing", "headers"],
)
async def test_what_no_producer_takes_is_told_without_its_bytes(
    letters: DeadLetters, producer: Producer, changes: dict[str, Any]
) -> None:
    await letters.copy([(record(event(created(session_id())), **changes), "why")])
    key, value, headers = producer.sent[0]
    assert (key, value) == (None, b"")
    assert next(name for name, _ in headers) == "dead_letter_cut"


async def test_an_outage_has_the_batch_tried_again_and_then_goes_on_without(
    letters: DeadLetters, producer: Producer
) -> None:
    producer.away = True
    for _ in range(4):
        with pytest.raises(Recoverable):
            await letters.copy([(BROKEN, "why")])
    given_up = metrics.NOT_COPIED._value.get()
    await letters.copy([(BROKEN, "why")])
    assert metrics.NOT_COPIED._value.get() == given_up + 1
    producer.away = False
    await letters.copy([(BROKEN, "why")])
    assert len(producer.sent) == 1
    producer.away = True
    with pytest.raises(Recoverable):
        await letters.copy([(BROKEN, "why")])


def test_a_flood_is_counted_and_does_not_fill_the_log() -> None:
    counter = metrics.MALFORMED.labels("flooded")
    with structlog.testing.capture_logs() as lines:
        tell("flooded", [(BROKEN, "why")] * 5000)
    assert counter._value.get() == 5000
    assert len(lines) == 21
    assert lines[0]["offset"] == 7
    assert lines[-1]["count"] == 4980
