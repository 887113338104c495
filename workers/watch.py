"""A thread that notices a pause of the whole process (SIGSTOP, suspend) and leaves at once without a valid lease.

A paused process may have been replaced: its room, identity and session belong to somebody else by now. `os._exit`
within milliseconds of waking up, before any other thread does harm.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from workers.lease import Phase, boottime, phase

PAUSE_S = 2.0
_STEP_S = 0.1
EXIT_CODE = 70


def start(renewed_at: Callable[[], float]) -> None:
    threading.Thread(target=_watch, args=(renewed_at,), name="lease watch", daemon=True).start()


def must_leave(pause_s: float, lease: Phase) -> bool:
    return lease == "over" or (pause_s > PAUSE_S and lease != "valid")


def _watch(renewed_at: Callable[[], float]) -> None:
    last = boottime()
    while True:
        time.sleep(_STEP_S)
        now = boottime()
        if must_leave(now - last, phase(renewed_at(), now)):
            os._exit(EXIT_CODE)
        last = now
