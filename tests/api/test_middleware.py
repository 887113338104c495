"""Work for somebody who may go away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.requests import ClientDisconnect, Request

from api.middleware import while_there

pytestmark = pytest.mark.unit


def asked(receive: Callable[[], Awaitable[dict[str, str]]]) -> Request:
    return Request({"type": "http"}, receive)


async def nothing_more() -> dict[str, str]:
    await asyncio.Event().wait()
    raise AssertionError


class Endless:
    """Work that ends when it is cancelled, and not at once."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = False

    async def run(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.cancelled = True
            raise


async def test_work_is_done_for_who_stays() -> None:
    async def work() -> str:
        return "done"

    assert await while_there(asked(nothing_more), work()) == "done"


async def test_what_it_raises_is_raised() -> None:
    async def work() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await while_there(asked(nothing_more), work())


async def test_work_for_nobody_ends_before_the_answer_does() -> None:
    """What it holds, a turn and a process, is given back by then."""
    work = Endless()

    async def gone() -> dict[str, str]:
        await work.begun.wait()
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await while_there(asked(gone), work.run())
    assert work.cancelled


async def test_cancelled_itself_it_leaves_no_work_behind() -> None:
    work = Endless()
    waiting = asyncio.create_task(while_there(asked(nothing_more), work.run()))
    await work.begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.cancelled
