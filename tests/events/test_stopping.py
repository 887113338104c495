"""Kafka clients that do not stop as they should."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from events.stopping import stop

pytestmark = pytest.mark.unit


class Client:
    def __init__(self, work: Any) -> None:
        self.stop = work


async def test_a_cancellation_inside_of_the_client_is_not_ours() -> None:
    """As aiokafka's fetcher does when it is closed between two retries: it ended the roster amidst an outage."""

    async def awaits_what_it_cancelled() -> None:
        retry = asyncio.ensure_future(asyncio.sleep(10))
        await asyncio.sleep(0)
        retry.cancel()
        await retry

    await stop(cast(Any, Client(awaits_what_it_cancelled)))


async def test_an_error_and_a_hang_end_too() -> None:
    async def fails() -> None:
        raise ConnectionError("gone")

    await stop(cast(Any, Client(fails)))
    await stop(cast(Any, Client(lambda: asyncio.sleep(60))), within_s=0.05)


async def test_our_own_cancellation_is_passed_on() -> None:
    stopping = asyncio.create_task(stop(cast(Any, Client(lambda: asyncio.sleep(60)))))
    await asyncio.sleep(0.01)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
