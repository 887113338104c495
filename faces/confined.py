"""What a process takes from itself and from its neighbours, before it looks at what a stranger has sent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""For its environment: each thread would reserve address space, of which the process has little."""
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def keep_to_itself() -> None:
    """From now on no other process of the same user reads its environment or memory; a new program begins anew.

    A session process runs as its supervisor's user: taken over by what came in by its room, it would find the
    supervisor's secrets under /proc, and the voices of other sessions. Root still can (py-spy, gdb).
    """
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)


def bound(parent: int, cpu_s: int, memory: int) -> None:
    """`keep_to_itself`; and SIGKILL when `parent` dies, SIGXCPU after `cpu_s` seconds of work, MemoryError beyond
    `memory` bytes of address space.
    """
    keep_to_itself()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def confine(parent: int, cpu_s: int, memory: int) -> None:
    """`bound`; and nothing written to any file."""
    bound(parent, cpu_s, memory)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold somebody's face


def open_nothing() -> None:
    """From now on neither a file nor a socket can be opened. Whatever is imported has to be by then."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
