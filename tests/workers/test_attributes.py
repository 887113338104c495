"""What the room is told of its avatar, whatever becomes of a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schemas.background import Background
from workers import attributes
from workers.attributes import STATUS, Attributes

pytestmark = pytest.mark.unit


class Participant:
    """Shows what it is told, or answers `silent` calls with nothing at all."""

    def __init__(self, silent: int = 0) -> None:
        self.silent = silent
        self.calls: list[str] = []
        self.shown = asyncio.Condition()
        self.status = ""

    async def set_attributes(self, told: dict[str, str]) -> None:
        self.calls.append(told[STATUS])
        async with self.shown:
            self.shown.notify_all()
        if self.silent:
            self.silent -= 1
            await asyncio.get_running_loop().create_future()
        self.status = told[STATUS]
        async with self.shown:
            self.shown.notify_all()

    async def shows(self, status: str) -> None:
        async with asyncio.timeout(10), self.shown:
            await self.shown.wait_for(lambda: self.status == status)

    async def called(self, times: int) -> None:
        async with asyncio.timeout(10), self.shown:
            await self.shown.wait_for(lambda: len(self.calls) >= times)


@pytest_asyncio.fixture
async def tasks() -> AsyncIterator[Background]:
    made = Background()
    yield made
    await made.cancel()


async def test_of_several_in_a_row_the_last_one_counts(tasks: Background) -> None:
    who, told = Participant(), Attributes("sess_1", tasks)
    told.joined(who)
    for status in ("running", "degraded", "running"):
        told.show(status)
    await who.shows("running")
    assert who.calls == ["running"]


async def test_a_call_that_is_not_answered_is_made_again(tasks: Background, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "_TIMEOUT_S", 0.01)
    monkeypatch.setattr(attributes, "_AGAIN_S", 0.01)
    who, told = Participant(silent=3), Attributes("sess_1", tasks)
    told.joined(who)
    told.show("running")
    await who.shows("running")
    assert who.calls == ["running"] * 4


async def test_a_change_does_not_wait_for_the_next_try(tasks: Background, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "_TIMEOUT_S", 0.01)
    monkeypatch.setattr(attributes, "_AGAIN_S", 3600.0)
    who, told = Participant(silent=1), Attributes("sess_1", tasks)
    told.joined(who)
    await who.called(1)
    told.show("ending")
    await who.shows("ending")


async def test_who_rejoins_is_another_participant(tasks: Background, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "_TIMEOUT_S", 0.01)
    monkeypatch.setattr(attributes, "_AGAIN_S", 3600.0)
    gone, back, told = Participant(silent=9), Participant(), Attributes("sess_1", tasks)
    told.joined(gone)
    told.show("running")
    await gone.called(1)
    told.joined(back)
    await back.shows("running")
