"""What the supervisor must not carry."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes


def test_the_supervisor_imports_neither_torch_nor_rtc() -> None:
    code = "import sys, workers.supervisor; sys.exit(bool({'torch', 'livekit.rtc'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
