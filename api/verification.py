"""`/v1/verify`: whether a clip shows sessions of the caller's account."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from api import forms
from api.auth import CallerPrincipal
from api.context import Context, Ctx
from api.errors import (
    AtCapacity,
    BodyTooLarge,
    InvalidRequest,
    RateLimited,
    Unprocessable,
    VerificationUnsupported,
    with_key,
)
from api.middleware import while_there
from api.verifiers import MOST_S, BadClip
from schemas.verification import VerificationResource
from store.accounts import Principal

router = APIRouter(prefix="/v1/verify", tags=["Sessions"])

MOST_BYTES = 32 * 1024 * 1024
PER_MINUTE = 6
"""Of a key."""
_FIELDS = ("clip", "from", "to")


@dataclass(frozen=True)
class Asked:
    """A valid request, its clip not yet looked at. Seconds of the clip."""

    clip: UploadFile
    from_s: float
    to_s: float


@router.post(
    "",
    response_model=VerificationResource,
    operation_id="verify_clip",
    summary="Verify a clip",
    responses=with_key(InvalidRequest, VerificationUnsupported, BodyTooLarge, Unprocessable, RateLimited, AtCapacity),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["clip"],
                        "additionalProperties": False,
                        "properties": {
                            "clip": {
                                "type": "string",
                                "format": "binary",
                                "description": "A video file, at most 32 MB.",
                            },
                            "from": {
                                "type": "string",
                                "pattern": r"^[0-9]{1,5}(\.[0-9]{1,3})?$",
                                "description": "Look from this second of the clip on.",
                                "default": "0",
                            },
                            "to": {
                                "type": "string",
                                "pattern": r"^[0-9]{1,5}(\.[0-9]{1,3})?$",
                                "description": f"Look up to this second, {MOST_S} after `from` at the most, which is"
                                " also the default.",
                            },
                        },
                    }
                }
            },
        }
    },
)
async def verify(request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Says `ours` where the clip shows sessions of your account, with the seconds that it shows of each, cuts between
    them, and whether they are in the ledger. Whatever else it shows is `not_ours`, sessions of others included;
    `cannot_tell` comes with a reason. The answer takes seconds, and most for a clip that is not yours; up to two
    minutes more where clips of others come first. Nothing is kept.
    """
    if not ctx.verifiers.able:
        raise VerificationUnsupported
    async with ctx.verifiers.taken_in(caller.account_id):
        ctx.verifications.take(caller.key_id, PER_MINUTE)  # who finds no room has not asked yet
        return await _verified(request, caller, ctx)


async def _verified(request: Request, caller: Principal, ctx: Context) -> Response:
    async with _read(request) as asked:
        try:
            looking = ctx.verifiers.verify(caller.account_id, asked.clip, asked.from_s, asked.to_s)
            told = await while_there(request, looking)
        except BadClip as bad:
            raise Unprocessable(str(bad), code="clip.invalid", param="clip") from None
    return Response(told, media_type="application/json")


@asynccontextmanager
async def _read(request: Request) -> AsyncIterator[Asked]:
    """The clip is in a temporary file until the block ends. Raises InvalidRequest, Unprocessable, BodyTooLarge."""
    async with forms.read(request, _FIELDS, most_bytes=MOST_BYTES, max_files=1, max_fields=4) as form:
        yield _asked(form)


def _asked(form: FormData) -> Asked:
    clip = form.get("clip")
    if clip is None:
        raise Unprocessable("clip is required.", code="clip.required", param="clip")
    if not isinstance(clip, UploadFile):
        raise Unprocessable("clip is a file.", code="clip.invalid_type", param="clip")
    from_s = _second(form, "from") or 0.0
    to_s = _second(form, "to")
    if to_s is None:
        to_s = from_s + MOST_S
    if not from_s < to_s <= from_s + MOST_S:
        raise Unprocessable(
            f"to is behind from, by at most {MOST_S} s: send another request for the next part.",
            code="to.invalid",
            param="to",
        )
    return Asked(clip, from_s, to_s)


def _second(form: FormData, name: str) -> float | None:
    text = forms.text(form, name)
    if text is None:
        return None
    try:
        second = float(text) if text.isascii() else math.nan
    except ValueError:
        second = math.nan
    if not 0 <= second < 86_400:
        raise Unprocessable(f"{name} is a second of the clip, such as 12.5.", code=f"{name}.invalid", param=name)
    return second
