"""Released rules of the fold are frozen: a change that alters one of these outcomes would re-bill the past."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from events.codec import Event
from events.fold import Evolved
from events.session_state import State
from events.sessions import evolve
from schemas.events import CATALOGUE

pytestmark = pytest.mark.unit

LOGS = sorted(Path(__file__).with_name("golden").glob("rules-*.json"))


@pytest.mark.parametrize("path", LOGS, ids=[p.stem for p in LOGS])
def test_a_released_version_still_gives_the_same(path: Path) -> None:
    state: State | None = None
    for record in msgspec.json.decode(path.read_bytes()):
        data = msgspec.convert(record["data"], CATALOGUE[record["type"]][1])
        sid = record["data"]["session_id"]
        outcome = evolve(
            state, Event(record["id"], record["type"], "golden", sid, record["time_ms"], data), record["append_ms"]
        )
        if isinstance(outcome, Evolved):
            state = outcome.state
            found = {
                "status": state.status,
                "seq": state.seq,
                "transition": outcome.transition,
                "usage": msgspec.json.decode(msgspec.json.encode(outcome.usage)),
            }
        else:
            found = {"rejected": outcome.reason}
        assert found == record["expected"], record["id"]


def test_there_is_a_log_for_every_version() -> None:
    assert [p.stem for p in LOGS] == ["rules-1", "rules-2"]
