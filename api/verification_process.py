"""`python -m api.verification_process PARENT ACCOUNT FROM TO`: one clip, for one account, in a process of its own.

The clip is its standard input, a file, which it gives on to a decoder that knows nothing; a line of JSON on its output
says what was found. Detecting takes seconds of work, and the API has requests to answer.
"""

from __future__ import annotations

import asyncio
import os
import sys

import cv2
import orjson
import structlog

from faces.clips import TOO_LARGE, Limits, UnreadableClip, Wanted
from faces.confined import bound
from faces.mark.detect import Detector
from faces.mark.keys import MarkKeyring
from faces.settings import MarkSettings
from faces.verification import Looked, cannot_tell, look
from projections.verification import Candidacy, known, verified
from schemas.jsons import JsonObject
from schemas.logs import configure_logging
from schemas.verification import VerificationResource
from store.database import DatabaseUnreachable, pool
from store.settings import StoreSettings

log = structlog.get_logger()

_LIMITS = Limits(pixels=9_000_000, frames=20_000, cpu_s=30, memory=1024**3, windows=60)
"""Of the decoder: 4K, and a minute of 240 frames a second with what comes before."""
_SEARCHES = 8
_CPU_S = 120
"""More than the API waits for."""
_MEMORY = 4 * 1024**3
"""Address space; it touches a tenth of that."""
_NICE = 10
"""Requests and sessions of this machine go first."""
_DATABASE_S = 15.0


async def _told(looked: Looked, keys: MarkKeyring, account_id: str) -> VerificationResource:
    """Of others it says what it would say of a clip without a mark."""
    found = []
    if looked.shown:
        async with pool(StoreSettings().database_url, 1, _DATABASE_S) as pools, pools.connection() as connection:
            found = await known(connection, looked.shown, keys, Candidacy(account_id))
    own = [each for each in found if each is not None]
    reason = None if own else cannot_tell(looked)
    return verified(looked, own, "ours" if own else "not_ours" if reason is None else "cannot_tell", reason)


def _answer(account_id: str, from_s: float, to_s: float) -> JsonObject:
    keys = MarkKeyring(MarkSettings().mark_keys.get_secret_value())
    try:
        looked = look(sys.stdin.buffer, Detector(keys, _SEARCHES), Wanted(from_s, to_s), _LIMITS)
    except UnreadableClip as bad:
        return {"refused": str(bad)}
    except MemoryError:
        return {"refused": TOO_LARGE}
    try:
        told = asyncio.run(_told(looked, keys, account_id))
    except DatabaseUnreachable as unreachable:
        log.warning("database unavailable", error=str(unreachable))
        return {"unavailable": True}
    return {"verification": told.model_dump(mode="json", by_alias=True)}


def main(parent: str, account_id: str, from_s: str, to_s: str) -> None:
    bound(int(parent), _CPU_S, _MEMORY)
    configure_logging()  # to its other output
    os.nice(_NICE)
    cv2.setNumThreads(1)
    sys.stdout.buffer.write(orjson.dumps(_answer(account_id, float(from_s), float(to_s))) + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:5])
