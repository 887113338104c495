"""What the roster says, when a part of it cannot be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from events import tracing
from events.sealing import Keyring
from events.session_state import State
from reactors.dispatch import Dispatch
from store import admissions

pytestmark = pytest.mark.unit


class Pool:
    @asynccontextmanager
    async def connection(self, *_: object, **__: object) -> AsyncIterator[None]:
        yield None


@pytest.mark.parametrize("broken", ["its key is gone", "it is no task"])
async def test_a_task_that_cannot_be_opened_costs_a_decision_its_trace_alone(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sessions that can only be ended are those whose task nobody can open."""
    keyring = Keyring(Keyring.generate("now"))
    key_id, sealed = keyring.wrap(b"{", "sess_1")

    async def sealed_task(*_: object) -> SimpleNamespace:
        return SimpleNamespace(key_id="before" if broken == "its key is gone" else key_id, task=sealed)

    monkeypatch.setattr(tracing, "on", lambda: True)
    monkeypatch.setattr(admissions, "sealed_task", sealed_task)
    dispatch = Dispatch(Pool(), None, keyring)  # type: ignore[arg-type]
    assert await dispatch.trace(State("sess_1")) is None
