"""What a process takes from itself before it looks at what a stranger has sent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int, cpu_s: int) -> None:
    """From now on: SIGKILL when `parent` dies, SIGXCPU after `cpu_s` seconds of work."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))


def confine(parent: int, cpu_s: int, memory: int) -> None:
    """`die_with`; and MemoryError beyond `memory` bytes of address space, and nothing written to any file."""
    die_with(parent, cpu_s)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold somebody's face


def open_nothing() -> None:
    """From now on neither a file nor a socket can be opened. Whatever is imported has to be by then."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
