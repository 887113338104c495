"""What a session process must not carry: it is there many times, and warm before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes


def test_a_session_process_imports_neither_torch_nor_a_kafka_client() -> None:
    code = (
        "import sys, workers.session_process; sys.exit(bool({'torch', 'aiokafka', 'events', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
