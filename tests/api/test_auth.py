"""Looks for a key: one for all that ask meanwhile, whatever comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from api import auth
from api.errors import KeyInvalid
from store import accounts
from store.accounts import Principal
from store.database import DatabaseUnreachable

pytestmark = pytest.mark.unit

CALLER = Principal("key_1", "acct_1", "self_hosted", 30, 3600, 600, ("*",), False)


class Keys:
    """What the database says of a key, and how often it was asked."""

    def __init__(self, answer: Principal | Exception | None) -> None:
        self.answer = answer
        self.looks = 0
        self.context: Any = SimpleNamespace(pool=self)

    @asynccontextmanager
    async def connection(self, _: float, within_s: float) -> AsyncIterator[None]:
        yield

    async def authenticate(self, _: None, __: bytes) -> Principal | None:
        self.looks += 1
        await asyncio.sleep(0.01)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_known", {})


def asking(monkeypatch: pytest.MonkeyPatch, keys: Keys, count: int) -> list[asyncio.Task[Principal]]:
    monkeypatch.setattr(accounts, "authenticate", keys.authenticate)
    return [asyncio.create_task(auth._looked_up(keys.context, b"digest")) for _ in range(count)]


async def test_one_look_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(CALLER)
    assert await asyncio.gather(*asking(monkeypatch, keys, 50)) == [CALLER] * 50
    assert keys.looks == 1
    assert auth._looks == {}


async def test_who_leaves_takes_it_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(CALLER)
    first, second = asking(monkeypatch, keys, 2)
    await asyncio.sleep(0)
    first.cancel()
    assert await second == CALLER
    assert keys.looks == 1


@pytest.mark.parametrize(("answer", "error"), [(None, KeyInvalid), (DatabaseUnreachable(), DatabaseUnreachable)])
async def test_what_fails_fails_for_all_and_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, answer: Exception | None, error: type[Exception]
) -> None:
    keys = Keys(answer)
    for looks in (1, 2):
        told = await asyncio.gather(*asking(monkeypatch, keys, 5), return_exceptions=True)
        assert {type(each) for each in told} == {error}
        assert keys.looks == looks
