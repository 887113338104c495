"""Names to addresses, without a thread per name: one that nobody answers for keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

import aiodns

from schemas.addresses import AddressPolicy, InvalidUrl, host_of, is_address
from store.settings import WebhookSettings

RESOLVE_WITHIN_S = 5.0
_ASK_S = 1.5
_TRIES = 2
_NO_SUCH_NAME = (aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA, aiodns.error.ARES_EBADNAME)


class Unresolvable(Exception):
    """The host's name has no address."""

    def __str__(self) -> str:
        return str(self.__doc__).rstrip(".")


class ResolverAway(Exception):
    """The name servers did not say in time whether the name has addresses: no fault of whoever is named."""


class Resolver:
    """Asks the machine's own name servers, and its hosts file first. One per event loop; close it with the loop."""

    def __init__(self, nameservers: str = "") -> None:
        """`nameservers`: `address` or `address:port`, comma-separated; empty: the machine's own."""
        servers = [s.strip() for s in nameservers.split(",") if s.strip()]
        self._dns = aiodns.DNSResolver(servers or None, timeout=_ASK_S, tries=_TRIES)

    async def __aenter__(self) -> Resolver:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._dns.close()

    async def addresses(self, host: str, within_s: float = RESOLVE_WITHIN_S) -> list[str]:
        """All addresses, the best first; a literal address is itself. Raises Unresolvable or ResolverAway."""
        if is_address(host):
            return [host]
        try:
            async with asyncio.timeout(within_s):
                found = await self._dns.getaddrinfo(host, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as failed:
            if failed.args[0] in _NO_SUCH_NAME:
                raise Unresolvable from None
            raise ResolverAway(failed.args[-1]) from None
        except TimeoutError:
            raise ResolverAway("no answer in time") from None
        addresses = [node.addr[0].decode() for node in found.nodes]
        if not addresses:
            raise Unresolvable
        return addresses


class WebhookHosts:
    """Where endpoints may be: https and public addresses, unless the settings permit more."""

    def __init__(self, settings: WebhookSettings, resolver: Resolver) -> None:
        self._schemes = ("https", "http") if settings.webhook_allow_insecure else ("https",)
        self._policy = AddressPolicy(settings.webhook_permitted_networks)
        self._resolver = resolver

    async def addresses(self, url: str, within_s: float = RESOLVE_WITHIN_S) -> list[str]:
        """All addresses of its host, checked; whoever connects must use these very ones.

        Raises InvalidUrl, UnsafeAddress, Unresolvable or ResolverAway.
        """
        host = self.check(url)
        found = await self._resolver.addresses(host, within_s)
        for address in found:
            self._policy.check(address)
        return found

    def check(self, url: str) -> str:
        """Its host. Raises InvalidUrl for what is wrong whatever the name resolves to."""
        host = host_of(url)
        if urlsplit(url).scheme not in self._schemes:
            raise InvalidUrl("must start with https://")
        return host
