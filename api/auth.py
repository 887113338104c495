"""Who speaks: bearer keys, looked up by their HMAC."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Depends, Request

from api.context import Ctx
from api.errors import KeyInvalid, KeyMissing, KeyRevoked
from store import accounts
from store.accounts import Principal

KEPT_S = 1.0
"""A principal is remembered this long, so a revoked key can still read for a second; admission checks it again."""
_MOST = 10_000
_WITHIN_S = 0.9
"""For a connection, and again for its answer: what comes after has to fit into 8 s, too."""

_known: dict[bytes, tuple[float, Principal]] = {}


async def principal(request: Request, ctx: Ctx) -> Principal:
    """Raises KeyMissing, KeyInvalid or KeyRevoked."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip()
    if not secret or scheme.lower() != "bearer":
        raise KeyMissing
    if not accounts.well_formed(secret):
        raise KeyInvalid
    digest = accounts.secret_hash(secret, ctx.settings.key_pepper.get_secret_value())
    known = _known.get(digest)
    if known is None or known[0] < time.monotonic():
        async with ctx.pool.connection(_WITHIN_S, within_s=_WITHIN_S) as connection:
            found = await accounts.authenticate(connection, digest)
        if found is None:
            raise KeyInvalid
        if len(_known) > _MOST:
            _known.clear()
        known = _known[digest] = (time.monotonic() + KEPT_S, found)
    if known[1].revoked:
        raise KeyRevoked
    return known[1]


CallerPrincipal = Annotated[Principal, Depends(principal)]
