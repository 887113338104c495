"""Whether the host of `transport.url` may be connected to. The worker asks again, right before it connects."""

from __future__ import annotations

import time
from collections.abc import Callable

from api.errors import Unprocessable
from schemas.addresses import AddressPolicy, UnsafeAddress, host_of, is_address
from store.resolving import Resolver, ResolverAway, Unresolvable

_RESOLVE_WITHIN_S = 0.5
_REMEMBERED_S = 60.0
_REMEMBERED = 4096
_PARAM = "transport.url"


class LiveKitHosts:
    """What a name resolved to is remembered for a minute, so that it costs a create nothing."""

    def __init__(self, permitted: str, resolver: Resolver, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = AddressPolicy(permitted)
        self._resolver = resolver
        self._clock = clock
        self._safe: dict[str, tuple[float, bool]] = {}
        """Host → (until when, whether), oldest first."""

    async def check(self, url: str) -> None:
        """Raises Unprocessable. A name that cannot be resolved here passes: the worker may stand elsewhere."""
        host = host_of(url)
        until, safe = self._safe.get(host, (0.0, False))
        if self._clock() >= until:
            safe = await self._look_up(host)
            self._remember(host, safe)
        if not safe:
            raise Unprocessable(
                f"{_PARAM} leads to an address that is not a public one. Who runs this server can permit networks of"
                " their own with GREENROOM_LIVEKIT_PERMITTED_NETWORKS.",
                code=f"{_PARAM}.unsafe",
                param=_PARAM,
            )

    async def _look_up(self, host: str) -> bool:
        try:
            for address in await self._resolver.addresses(host, _RESOLVE_WITHIN_S):
                self._policy.check(address)
        except UnsafeAddress:
            return False
        except (Unresolvable, ResolverAway):
            return True
        return True

    def _remember(self, host: str, safe: bool) -> None:
        if is_address(host):
            return
        self._safe.pop(host, None)
        if len(self._safe) >= _REMEMBERED:
            del self._safe[next(iter(self._safe))]
        self._safe[host] = (self._clock() + _REMEMBERED_S, safe)
