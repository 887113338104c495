"""Names to addresses, asked of a name server on loopback."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from schemas.addresses import InvalidUrl, UnsafeAddress
from store.resolving import Resolver, ResolverAway, Unresolvable, WebhookHosts
from store.settings import WebhookSettings
from tests.nameserver import BROKEN, NO_SUCH_NAME, nameserver
from tests.world import eventually

pytestmark = pytest.mark.servers


async def test_names_and_literals() -> None:
    async with nameserver(both=["192.0.2.1", "2001:db8::1"], none=[]) as server, Resolver(server.address) as resolver:
        assert set(await resolver.addresses("both.test")) == {"192.0.2.1", "2001:db8::1"}
        assert await resolver.addresses("192.0.2.9") == ["192.0.2.9"]
        assert await resolver.addresses("2001:db8::9") == ["2001:db8::9"]
        assert "127.0.0.1" in await resolver.addresses("localhost")
        assert set(server.asked) == {"both.test"}
        with pytest.raises(Unresolvable):
            await resolver.addresses("none.test")


async def test_a_name_that_is_not_there_is_its_owners_fault_and_silence_is_not() -> None:
    async with nameserver(nx=NO_SUCH_NAME, bad=BROKEN) as server, Resolver(server.address) as resolver:
        with pytest.raises(Unresolvable):
            await resolver.addresses("nx.test")
        with pytest.raises(ResolverAway):
            await resolver.addresses("bad.test")
        with pytest.raises(ResolverAway):
            await resolver.addresses("silent.test", within_s=0.2)
    async with Resolver("127.0.0.1:1") as nobody:
        with pytest.raises(ResolverAway):
            await nobody.addresses("any.test", within_s=5)


async def test_a_hundred_silent_names_do_not_hold_up_one_that_answers() -> None:
    """On the loop's default executor, a handful of names that nobody answers for held up all others."""
    async with nameserver(good=["192.0.2.1"]) as server, Resolver(server.address) as resolver:
        silent = [asyncio.create_task(resolver.addresses(f"s{n}.test", within_s=4)) for n in range(100)]
        await eventually(lambda: _true(len({n for n in server.asked if n.startswith("s")}) == 100))
        began = time.monotonic()
        assert await resolver.addresses("good.test") == ["192.0.2.1"]
        assert time.monotonic() - began < 3
        assert not any(task.done() for task in silent)
        for task in silent:
            task.cancel()
        await asyncio.gather(*silent, return_exceptions=True)


async def _true(value: bool) -> bool:
    return value


async def test_a_closed_resolver_leaves_no_thread_and_tells_who_still_waits() -> None:
    before = threading.active_count()
    async with nameserver() as server:
        async with Resolver(server.address) as resolver:
            waiting = asyncio.create_task(resolver.addresses("silent.test"))
            await eventually(lambda: _true(bool(server.asked)))
        with pytest.raises(ResolverAway):
            await waiting
    assert threading.active_count() <= before + 1  # the library's one thread that destroys channels


async def test_every_address_of_an_endpoint_must_be_permitted() -> None:
    settings = WebhookSettings(webhook_permitted_networks="127.0.0.0/8")
    async with (
        nameserver(mixed=["127.0.0.1", "10.0.0.1"], mine=["127.0.0.1"], nat=["64:ff9b::a00:1"]) as server,
        Resolver(server.address) as resolver,
    ):
        hosts = WebhookHosts(settings, resolver)
        assert await hosts.addresses("https://mine.test/x") == ["127.0.0.1"]
        for url in ("https://mixed.test/", "https://nat.test/", "https://[::1]/", "https://10.0.0.1/"):
            with pytest.raises(UnsafeAddress):
                await hosts.addresses(url)
        with pytest.raises(InvalidUrl):
            await hosts.addresses("http://mine.test/")
        insecure = WebhookSettings(webhook_permitted_networks="127.0.0.0/8", webhook_allow_insecure=True)
        assert await WebhookHosts(insecure, resolver).addresses("http://mine.test/") == ["127.0.0.1"]
        with pytest.raises(InvalidUrl):
            await WebhookHosts(insecure, resolver).addresses("ftp://mine.test/")
