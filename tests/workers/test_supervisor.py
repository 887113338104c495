"""What the supervisor must not carry, and what it does with commands that it cannot read."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from events import dead_letters
from events.codec import encode, new_event
from events.topics import ASSIGNMENTS
from schemas.events import AssignmentEnd
from tests.builders import record
from workers.settings import WorkerSettings
from workers.supervisor import Supervisor

pytestmark = pytest.mark.unit


def test_the_supervisor_imports_neither_torch_nor_rtc() -> None:
    code = "import sys, workers.supervisor; sys.exit(bool({'torch', 'livekit.rtc'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


class Commands:
    """A consumer with these records, and no more."""

    def __init__(self, *records: ConsumerRecord[bytes, bytes]) -> None:
        self._records = list(records)

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        records, self._records = self._records, []
        if not records:
            raise asyncio.CancelledError
        return {TopicPartition(ASSIGNMENTS.name, 0): records}


async def test_a_command_that_can_never_be_read_is_counted_and_passed() -> None:
    supervisor = Supervisor(WorkerSettings(), None)  # type: ignore[arg-type]
    worker_id = supervisor.worker_id

    def command(sid: str, worker: str = worker_id, **changes: Any) -> ConsumerRecord[bytes, bytes]:
        end = AssignmentEnd(worker, sid, 1, "api_request")
        return record(new_event(end, source="tests", subject=worker), **changes)

    _, headers = encode(new_event(AssignmentEnd(worker_id, "s", 1, "api_request"), source="tests", subject=worker_id))
    schema = b"urn:greenroom:assignment.end:2"
    newer = [(name, schema if name == "ce_dataschema" else value) for name, value in headers]
    commands = Commands(
        command("sess_1", value=b"no JSON"),
        command("sess_2", headers=[]),
        command("sess_3", headers=newer),
        command("sess_4", worker="wrk_other", value=b"no JSON"),  # another worker counts it
        command("sess_5"),
    )
    counted = dead_letters.MALFORMED.labels("worker")
    before = counted._value.get()
    with pytest.raises(asyncio.CancelledError):
        await supervisor._take_commands(commands)  # type: ignore[arg-type]
    assert counted._value.get() == before + 2
    assert list(supervisor._ended) == ["sess_5"]
