"""The same sessions as aggregates of the Python `eventsourcing` library: how many events a second it rebuilds them of.

Run by `bench.replay` in an environment of its own; it imports nothing of ours. A file of events, one JSON object a line
(`session`, `type`, `data`, in the log's order), is stored in the library's own recorder in memory; measured is what
comes after: every aggregate got from its stored events. No chain, no hash, no table: less than a projection does.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

_STATUS = {
    "session.starting": "starting",
    "session.first_frame": "running",
    "session.ending": "ending",
    "session.ended": "ended",
}


class Session(Aggregate):
    """As the fold of sessions has it: status, numbers, what is billed."""

    @event("Created")
    def __init__(self, session_id: str, multiplier_milli: int) -> None:
        self.session_id = session_id
        self.multiplier_milli = multiplier_milli
        self.status = "queued"
        self.seq = 1
        self.billed_ms = self.frames = self.credit_us = 0

    @staticmethod
    def create_id(session_id: str) -> UUID:
        return uuid5(NAMESPACE_URL, session_id)

    @event("Happened")
    def happened(self, kind: str, attempt: int, worker_id: str) -> None:
        self.status = _STATUS.get(kind, self.status)
        self.seq += 1

    @event("Metered")
    def metered(self, n: int, attempt: int, worker_id: str, billable_ms: int, frames: int) -> None:
        billed = max(0, billable_ms - self.billed_ms)
        self.billed_ms += billed
        self.frames = max(self.frames, frames)
        self.credit_us += billed * self.multiplier_milli


def told(session: Session, kind: str, data: dict[str, Any]) -> None:
    attempt, worker = data.get("attempt", 1), data.get("worker_id", "")
    if meter := data.get("meter"):
        session.metered(data["n"], attempt, worker, meter["billable_ms"], meter["frames"])
    if kind != "session.heartbeat":
        session.happened(kind, attempt, worker)


def main(path: str) -> None:
    app: Application[UUID] = Application()
    stories: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    with open(path) as lines:
        for line in lines:
            said = json.loads(line)
            stories[said["session"]].append((said["type"], said["data"]))
    events, ids = 0, list[UUID]()
    for sid, story in stories.items():
        session = Session(sid, 1000)
        for kind, data in story[1:]:
            told(session, kind, data)
        events += session.version
        ids.append(session.id)
        app.save(session)
    began, burnt = time.monotonic(), time.process_time()
    for each in ids:
        app.repository.get(each)
    took_s = time.monotonic() - began
    print(events, events / took_s, (time.process_time() - burnt) / events * 1e6)


if __name__ == "__main__":
    main(sys.argv[1])
