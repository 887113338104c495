"""A session as its log tells it, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from projections.inspection import Until, inspect, shown
from schemas.events import SessionAssigned, SessionErased, SessionEvent, SessionFirstFrame, SessionStarting
from tests.builders import T0, beat, created, event, life, record

pytestmark = pytest.mark.unit

SID = "sess_01JDXXXXXXXXXXXXXXXXXXXXXX"
Records = list[ConsumerRecord[Any, Any]]


def of(*data: SessionEvent) -> Records:
    """Appended a second apart."""
    return [record(event(each, T0 + n * 1000), 10 * n, T0 + n * 1000) for n, each in enumerate(data)]


MOVED: list[SessionEvent] = [
    created(SID),
    SessionStarting(SID, 1, "wrk_1"),
    SessionFirstFrame(SID, 1, "wrk_1", {}),
    beat(SID, 1, 1000),
    SessionAssigned(SID, 2, "wrk_2", "worker_lost", expected_seq=3),
    beat(SID, 2, 2000),  # of the worker that was replaced
    SessionStarting(SID, 2, "wrk_2"),
    SessionAssigned(SID, 3, "wrk_3", "worker_lost", expected_seq=3),
]


def test_each_event_has_a_verdict_and_a_rejected_one_its_reason() -> None:
    found = inspect(SID, 3, of(*MOVED))
    verdicts = [(line.offset, line.verdict, line.why[0] if line.why else "") for line in found.lines]
    assert verdicts == [
        (0, "accepted", ""),
        (10, "accepted", ""),
        (20, "accepted", ""),
        (30, "accepted", ""),
        (40, "accepted", ""),
        (50, "rejected", "stale_attempt"),
        (60, "accepted", ""),
        (70, "rejected", "seq_mismatch"),
    ]
    assert [line.seq for line in found.lines] == [1, 2, 3, None, 4, None, 5, None]
    assert [(a.attempt, a.worker_id, a.n, a.billed_ms) for a in found.attempts.values()] == [
        (1, "wrk_1", 1, 1000),
        (2, "wrk_2", 0, 0),
    ]
    (entry,) = found.entries
    assert found.state is not None
    assert entry.hash == found.state.chain


@pytest.mark.parametrize(
    ("until", "lines", "status"),
    [
        (Until(seq=1), 1, "queued"),
        (Until(seq=3), 3, "running"),
        (Until(append_ms=T0), 1, "queued"),
        (Until(append_ms=T0 + 1999), 2, "starting"),
        (Until(seq=999), 8, "running"),
    ],
    ids=["after the first", "after the third", "at the first", "between two", "beyond the last"],
)
def test_at_a_point_it_is_what_it_was_then(until: Until, lines: int, status: str) -> None:
    found = inspect(SID, 3, of(*MOVED), until)
    assert len(found.lines) == lines
    assert found.state is not None
    assert found.state.status == status


def test_what_is_erased_says_so_in_the_place_of_what_no_key_opens() -> None:
    told = shown(inspect(SID, 3, of(*life(SID), SessionErased(SID))))
    assert told["state"]["created"]["metadata"] == told["events"][0]["data"]["transport"]["url"] == "[erased]"
    before = shown(inspect(SID, 3, of(*life(SID))))
    assert before["state"]["created"]["metadata"] == {"enc": "AAAA", "key_id": "dk_test"}
    assert len(told["usage"]) == len(before["usage"]) == 4


def test_before_its_first_event_there_is_none() -> None:
    assert inspect(SID, 3, of(*MOVED), Until(append_ms=T0 - 1)).lines == []


def test_what_cannot_be_read_is_told_and_from_an_unknown_one_on_nothing_is_folded() -> None:
    records = of(*life(SID))
    records[2] = record(event(created(SID)), 20, value=b"{")
    told = [(k, b"urn:greenroom:session.heartbeat:2" if k == "ce_dataschema" else v) for k, v in records[5].headers]
    records[5] = record(event(beat(SID, 2, 2000)), 50, headers=told)
    found = inspect(SID, 3, records)
    assert [line.verdict for line in found.lines] == [
        *["accepted"] * 2,
        "malformed",
        *["accepted"] * 2,
        *["unknown"] * 4,
    ]
    assert "newer" in (found.lines[5].why or ("", ""))[1]


def test_as_json_it_is_whole() -> None:
    found = inspect(SID, 3, of(*life(SID)))
    told = json.loads(json.dumps(shown(found)))
    assert [line["type"] for line in told["events"]][:2] == ["session.created", "session.starting"]
    assert told["state"]["status"] == "ended"
    assert told["usage"][-1]["hash"] == told["state"]["chain"]
    assert [each["usage"] for each in told["events"] if each["usage"]] == [entry["id"] for entry in told["usage"]]
