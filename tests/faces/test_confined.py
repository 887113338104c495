"""What processes take from themselves and their neighbours, tried on real ones."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.servers

_NOSY = """
import ctypes, os, sys
from faces.confined import keep_to_itself

def as_nobody(work):
    child = os.fork()
    if child == 0:
        code = 99
        try:
            if os.geteuid() == 0:  # root may look everywhere
                os.setgid(65534)
                os.setuid(65534)
            code = work()
        finally:
            os._exit(code)
    return child

def looks(at):
    def work():
        try:
            return 1 if b"GREENROOM_SECRET" in open(f"/proc/{at}/environ", "rb").read() else 2
        except PermissionError:
            return 0
    return os.waitstatus_to_exitcode(os.waitpid(as_nobody(work), 0)[1])

said, heard = os.pipe(), os.pipe()

def keeper():
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a program is when it begins
    os.write(said[1], b".")
    os.read(heard[0], 1)
    keep_to_itself()
    os.write(said[1], b".")
    os.read(heard[0], 1)
    return 0

pid = as_nobody(keeper)
for _ in range(2):
    os.read(said[0], 1)
    print(looks(pid))
    os.write(heard[1], b".")
os.waitpid(pid, 0)
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="there is /proc on Linux alone")
def test_who_keeps_to_itself_is_not_read_by_a_process_of_the_same_user() -> None:
    """Before, it is: else this test would prove nothing."""
    done = run(_NOSY, GREENROOM_SECRET="x")
    assert (done.stdout.split(), done.stderr) == (["1", "0"], "")


def test_more_memory_than_its_share_is_refused() -> None:
    program = "import os; from faces.confined import bound; bound(os.getppid(), 5, 2**29); bytearray({})"
    assert run(program.format("2**20")).returncode == 0
    assert "MemoryError" in run(program.format("2**29")).stderr
