"""Who speaks: bearer keys, looked up by their HMAC; of the console, its cookie in their place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from enum import Enum
from typing import Annotated

from fastapi import Depends, Request

from api import cookies
from api.context import Context, Ctx
from api.errors import KeyInvalid, KeyMissing, KeyRevoked, ScopeMissing
from api.middleware import BY_COOKIE
from store import accounts
from store.accounts import Principal

KEPT_S = 1.0
"""A principal is remembered this long, so a revoked key can still read for a second; admission checks it again."""
_MOST = 10_000
_WITHIN_S = 0.9
"""For a connection, and again for its answer: what comes after has to fit into 8 s, too."""

_known: dict[bytes, tuple[float, Principal]] = {}
_looks: dict[bytes, asyncio.Task[Principal]] = {}
"""Under way."""


def scope_of(tags: Sequence[str | Enum], method: str) -> str:
    """What a key must be allowed for a route: `sessions:read` to look, `sessions:write` for everything else."""
    noun = str(tags[0]).lower()
    assert noun in accounts.NOUNS  # the first tag of every route that asks for a key
    return f"{noun}:{'read' if method in ('GET', 'HEAD') else 'write'}"


async def principal(request: Request, ctx: Ctx) -> Principal:
    """Raises KeyMissing, KeyInvalid, KeyRevoked or ScopeMissing."""
    return await allowed(request, ctx, scope_of(request.scope["route"].tags, request.method))


async def allowed(request: Request, ctx: Context, scope: str) -> Principal:
    """Whoever asks, if the key has this scope. Raises what `known` raises, or ScopeMissing."""
    found = await known(request, ctx)
    if not found.may(scope):
        raise ScopeMissing(f"This key lacks the scope {scope}. `greenroom keys create --scope {scope}` makes one.")
    return found


async def known(request: Request, ctx: Context) -> Principal:
    """Whoever asks, whatever they may. Raises KeyMissing, KeyInvalid, KeyRevoked, LoggedOut or CrossSite."""
    return await of_digest(ctx, _digest(request, ctx))


def _digest(request: Request, ctx: Context) -> bytes:
    header = request.headers.get("authorization")
    if header is None and (cookie := cookies.found(request)) is not None:
        request.scope[BY_COOKIE] = True
        cookies.check_origin(request, request.method)
        return cookies.opened(ctx.keyring, cookie, time.time())
    scheme, _, secret = (header or "").partition(" ")
    secret = secret.strip()
    if not secret or scheme.lower() != "bearer":
        raise KeyMissing
    return digest_of(ctx, secret)


def digest_of(ctx: Context, secret: str) -> bytes:
    """Raises KeyInvalid for what cannot be a key."""
    if not accounts.well_formed(secret):
        raise KeyInvalid
    return accounts.secret_hash(secret, ctx.settings.key_pepper.get_secret_value())


async def of_digest(ctx: Context, digest: bytes) -> Principal:
    """Raises KeyInvalid or KeyRevoked."""
    seen = _known.get(digest)
    found = seen[1] if seen is not None and seen[0] >= time.monotonic() else await _looked_up(ctx, digest)
    if found.revoked:
        raise KeyRevoked
    return found


async def _looked_up(ctx: Context, digest: bytes) -> Principal:
    """Raises KeyInvalid, or DatabaseUnreachable.

    One look for all who ask meanwhile, and its outcome is that of all: each by itself, the requests of one busy key
    would take every connection to the database, once a second.
    """
    look = _looks.get(digest)
    if look is None:
        look = _looks[digest] = asyncio.create_task(_look_up(ctx, digest))
        look.add_done_callback(lambda done: _looked(digest, done))
    return await asyncio.shield(look)  # whoever leaves must not take it from the others


def _looked(digest: bytes, look: asyncio.Task[Principal]) -> None:
    del _looks[digest]
    if not look.cancelled():
        look.exception()  # whoever has asked may be gone


async def _look_up(ctx: Context, digest: bytes) -> Principal:
    async with ctx.pool.connection(_WITHIN_S, within_s=_WITHIN_S) as connection:
        found = await accounts.authenticate(connection, digest)
    if found is None:
        raise KeyInvalid
    if len(_known) > _MOST:
        _known.clear()
    _known[digest] = (time.monotonic() + KEPT_S, found)
    return found


async def is_revoked(ctx: Context, caller: Principal) -> bool:
    """Asked of the database. Raises DatabaseUnreachable."""
    async with ctx.pool.connection() as connection:
        return await accounts.is_revoked(connection, caller.key_id)


CallerPrincipal = Annotated[Principal, Depends(principal)]
