"""What the API remembers of the hosts that customers name."""

from __future__ import annotations

import pytest

from api.errors import Unprocessable
from api.hosts import LiveKitHosts
from store.resolving import Resolver
from tests.nameserver import nameserver

pytestmark = pytest.mark.servers


async def safe(hosts: LiveKitHosts, url: str) -> bool:
    try:
        await hosts.check(url)
    except Unprocessable:
        return False
    return True


async def test_a_name_is_looked_up_once_a_minute_and_a_literal_never() -> None:
    now = 0.0
    async with nameserver(moves=["93.184.216.34"]) as server, Resolver(server.address) as resolver:
        hosts = LiveKitHosts("192.0.2.0/24", resolver, lambda: now)
        assert await safe(hosts, "wss://moves.test")
        asked = len(server.asked)
        server.names["moves.test"] = ["10.0.0.1"]
        now = 59.0
        assert await safe(hosts, "wss://Moves.test:7880/x")
        assert len(server.asked) == asked
        now = 61.0
        assert not await safe(hosts, "wss://moves.test")
        asked = len(server.asked)
        assert await safe(hosts, "ws://192.0.2.1")
        assert not await safe(hosts, "ws://192.168.0.1")
        assert len(server.asked) == asked


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.hosts._REMEMBERED", 4)
    async with nameserver(**{f"n{n}": ["93.184.216.34"] for n in range(9)}) as server:
        async with Resolver(server.address) as resolver:
            hosts = LiveKitHosts("", resolver)
            for n in range(9):
                assert await safe(hosts, f"wss://n{n}.test")
            assert list(hosts._safe) == ["n5.test", "n6.test", "n7.test", "n8.test"]
