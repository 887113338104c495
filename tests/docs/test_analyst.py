"""examples/analyst.py on an archive of a few records, without any server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.clients import environments

pytestmark = pytest.mark.processes

SCRIPT = Path(__file__).parents[2] / "examples" / "analyst.py"


def record(offset: int, kind: str, **data: object) -> dict[str, object]:
    return {
        "offset": offset,
        "append_ms": 1_790_000_000_000 + offset,
        "key": b"sess_1",
        "value": json.dumps(data).encode(),
        "headers": [{"name": "ce_id", "value": b"evt_1"}, {"name": "ce_type", "value": kind.encode()}],
    }


def test_the_answers_are_those_of_the_archive(tmp_path: Path) -> None:
    records = [
        record(0, "session.created"),
        record(1, "session.first_frame", latencies_ms={"first_frame": 700}),
        record(2, "session.ended", reason="api_request"),
    ]
    for folder in ("sessions.v1", "usage_events"):
        (tmp_path / folder).mkdir()
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "sessions.v1" / "0-0.parquet")
    entries = [{"quality": "pro", "billable_ms": 90_000, "credit_us": 180_000_000}]
    pq.write_table(pa.Table.from_pylist(entries), tmp_path / "usage_events" / "000000-0.parquet")
    command = [str(environments.analyst()), str(SCRIPT), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    for told in ("api_request", "700.0", "pro", "1.5", "3.0"):
        assert told in ran.stdout
