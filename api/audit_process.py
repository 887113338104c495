"""`python -m api.audit_process`: the audit in a process of its own, which tells how far it is.

It works for minutes on a long log, and the API has requests to answer. A line of JSON on its output for each step, the
last one the verdict; settings are those of the API, by its environment.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict

import orjson
import uvloop

from events.settings import LogSettings
from events.whole import CannotRead
from faces.confined import keep_to_itself
from projections import audit
from schemas.jsons import JsonObject
from schemas.logs import configure_logging
from store import sealed
from store.database import pool
from store.settings import StoreSettings

_EVERY_S = 0.2
_MOST_TOLD = 100
_NICE = 10
"""Requests and sessions of this machine go first."""


def _say(told: JsonObject) -> None:
    sys.stdout.buffer.write(orjson.dumps(told) + b"\n")
    sys.stdout.buffer.flush()


class _Progress:
    """Told now and then: a log has millions of events."""

    def __init__(self) -> None:
        self._said = 0.0

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() > self._said + _EVERY_S:
            self._said = time.monotonic()
            _say({"done": done, "total": total})


async def _audit() -> JsonObject:
    """All that `greenroom audit` compares. Raises CannotRead."""
    settings = StoreSettings()
    async with pool(settings.database_url, 1) as connections:
        verdict = await audit.audit(LogSettings(), connections, audit.Scope(), _Progress())
        wrong_totals, first_totals = await audit.wrong_totals(connections, verdict)
        wrong_days = await sealed.check(settings, connections, lambda _, __: None)
    told = asdict(verdict)
    differences = [
        *({"kind": each.kind, "of": each.session_id, "detail": each.detail} for each in verdict.differences),
        *({"kind": each.kind, "of": each.day, "detail": each.detail} for each in wrong_days),
        *(
            {"kind": "wrong_total", "of": f"{each.account_id}, {each.of}", "detail": each.detail}
            for each in first_totals
        ),
    ]
    numbers = ("events", "rejected", "malformed", "sessions", "entries", "billable_ms", "credit_us")
    return {
        **{name: told[name] for name in numbers},
        "equal": verdict.equal and not wrong_days and not wrong_totals,
        "found": verdict.found + len(wrong_days) + wrong_totals,
        "unread": len(verdict.unread),
        "differences": differences[:_MOST_TOLD],
    }


def main() -> None:
    keep_to_itself()
    configure_logging()  # to its other output
    os.nice(_NICE)
    try:
        _say({"verdict": uvloop.run(_audit())})
    except CannotRead as failed:
        _say({"failed": f"No verdict: {failed}"})


if __name__ == "__main__":
    main()
