"""Multipart bodies: read within bounds, each field known and there once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import structlog
from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.errors import AtCapacity, InvalidRequest, Unprocessable
from api.middleware import bounded

log = structlog.get_logger()

_AROUND = 64 * 1024
"""Bytes of all that is no file."""


@asynccontextmanager
async def read(
    request: Request, fields: Collection[str], *, most_bytes: int, max_files: int, max_fields: int
) -> AsyncIterator[FormData]:
    """Files are in temporary files until the block ends.

    Raises InvalidRequest, Unprocessable, BodyTooLarge.
    """
    form = await _parsed(request, most_bytes, max_files, max_fields)
    try:
        known_once(form, fields)
        yield form
    finally:
        with contextlib.suppress(OSError):  # of a full disk, once more, for what was not written yet
            await form.close()


def known_once(form: FormData, fields: Collection[str]) -> None:
    """Raises Unprocessable for a field that is not among `fields`, or is there twice."""
    seen: set[str] = set()
    for name, _ in form.multi_items():
        if name not in fields:
            raise Unprocessable(f"{name} is not a field of this request.", code=f"{name}.unknown", param=name)
        if name in seen:  # which of the two was meant nobody can know
            raise Unprocessable(f"{name} is there twice.", code=f"{name}.repeated", param=name)
        seen.add(name)


async def _parsed(request: Request, most_bytes: int, max_files: int, max_fields: int) -> FormData:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidRequest("Send it as multipart/form-data.", code="multipart.malformed")
    stream = bounded(request, most_bytes + _AROUND)
    try:
        parser = MultiPartParser(
            request.headers, stream, max_files=max_files, max_fields=max_fields, max_part_size=_AROUND
        )
        return await parser.parse()
    except OSError as full:  # of the disk for files that are too large for memory
        log.error("upload not kept", error=repr(full))
        raise AtCapacity("The service cannot take files right now. Retry after the given seconds.") from None
    except (MultiPartException, KeyError, ValueError) as broken:
        raise InvalidRequest(
            f"The body is not valid multipart/form-data: {broken}.", code="multipart.malformed"
        ) from None


def text(form: FormData, name: str) -> str | None:
    """Raises Unprocessable for a file."""
    value = form.get(name)
    if isinstance(value, UploadFile):
        raise Unprocessable(f"{name} must be text.", code=f"{name}.invalid_type", param=name)
    return value
