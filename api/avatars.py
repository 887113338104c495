"""`/v1/avatars`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api import answers, pages, uploads
from api.auth import CallerPrincipal
from api.context import Context, Ctx
from api.errors import (
    AtCapacity,
    AvatarNotDeletable,
    AvatarNotFound,
    AvatarNotReady,
    AvatarSlotsExceeded,
    BodyTooLarge,
    InvalidRequest,
    LogUnavailable,
    Unprocessable,
    request_id,
    with_key,
)
from projections import avatars
from projections.avatars import StoredAvatar
from schemas.avatars import (
    CONSENT_TEXT,
    DEFAULT_NAME,
    MOST_NAME,
    STOCK,
    STOCK_CREATED_AT,
    AvatarList,
    AvatarResource,
    RuntimeType,
    Shape,
)
from schemas.ids import AVATAR, new_id
from schemas.requests import Text
from schemas.times import now_ms, to_wire

router = APIRouter(prefix="/v1/avatars", tags=["Avatars"])

_SEARCHED_AT_ONCE, _MOST_SEARCHED = 100, 1000
"""Avatars whose names are decrypted for a `q`: between two looks at other requests, and for one answer."""
_STOCK = [
    AvatarResource(
        id=avatar_id,
        name=name,
        status="ready",
        runtime_type="avtr1",
        is_demo=avatar_id == "av_demo",
        created_at=STOCK_CREATED_AT,
        failure_reason=None,
    )
    for avatar_id, name in STOCK.items()
]


@router.post(
    "",
    status_code=202,
    response_model=AvatarResource,
    operation_id="create_avatar",
    summary="Create an avatar from a portrait",
    responses=with_key(InvalidRequest, BodyTooLarge, AvatarSlotsExceeded, Unprocessable, LogUnavailable, AtCapacity),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "additionalProperties": False,
                        "properties": {
                            "image": {
                                "type": "string",
                                "format": "binary",
                                "description": "PNG or JPEG, at most 10 MB: one forward-facing face, mouth closed.",
                            },
                            "name": {
                                "type": "string",
                                "maxLength": MOST_NAME,
                                "pattern": r"^[^\x00-\x1f]*$",
                                "default": DEFAULT_NAME,
                            },
                            "runtime_type": {"type": "string", "enum": ["avtr1", "mock"], "default": "avtr1"},
                            "shape": {
                                "type": "string",
                                "enum": ["square", "portrait"],
                                "default": "square",
                                "description": "Of its frames. `portrait` is 9:16 and needs a tall picture, the head in"
                                " its upper third.",
                            },
                            "background": {
                                "type": "string",
                                "description": "What is shown behind the person: `blur`, `green`, a colour such as"
                                " `#20304a`, or, as a file, a PNG or JPEG, which covers the frame. Without it: what the"
                                " portrait shows.",
                            },
                            "consent": {
                                "type": "string",
                                "enum": ["true"],
                                "description": f"With it you say: {CONSENT_TEXT} Required, unless the installation"
                                " does not ask for it.",
                            },
                            "positions": {
                                "type": "string",
                                "description": "JSON with eye_left, eye_right, mouth_left, mouth_right as [x, y] in"
                                " pixels of the upright image, where the face is not found by itself.",
                            },
                        },
                    }
                }
            },
        }
    },
)
async def create(request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Returns with status `processing`; poll `GET /v1/avatars/{id}` until it is `ready` or `failed`."""
    async with uploads.read(request, ctx.settings.avatar_consent_required) as upload:
        shown = AvatarResource(
            id=new_id(AVATAR),
            name=upload.name,
            status="processing",
            runtime_type=upload.runtime_type,
            is_demo=False,
            created_at=to_wire(now_ms()),
            failure_reason=None,
        )
        await uploads.take_in(ctx, caller, request_id(request), upload, shown)
    return answers.json(shown.model_dump(), 202, {"Location": f"/v1/avatars/{shown.id}"})


@router.get(
    "/{avatar_id}",
    response_model=AvatarResource,
    operation_id="get_avatar",
    summary="Get an avatar",
    responses=with_key(AvatarNotFound),
)
async def get(avatar_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """One of your own, or a stock avatar. Poll it until an upload is `ready`, or `failed` with `failure_reason`."""
    for stock in _STOCK:
        if stock.id == avatar_id:
            return answers.json(stock.model_dump())
    (shown,) = await _shown(ctx, caller.account_id, await find(ctx, caller.account_id, avatar_id))
    return answers.json(shown.model_dump())


@router.get(
    "",
    response_model=AvatarList,
    operation_id="list_avatars",
    summary="List avatars",
    responses=with_key(InvalidRequest, Unprocessable),
)
async def list_avatars(
    caller: CallerPrincipal,
    ctx: Ctx,
    scope: Annotated[Literal["all", "platform", "org"], Query(description="platform: stock; org: your own.")] = "all",
    q: Annotated[Text | None, Query(max_length=MOST_NAME, description="In the name or the id.")] = None,
    limit: pages.Limit = pages.DEFAULT,
    starting_after: Annotated[str | None, pages.starting_after(AVATAR)] = None,
) -> Response:
    """Your own, newest first, then the stock avatars.

    A page of `q` can have fewer items than `limit` although `has_more` is true: go on after `next_cursor`.
    """
    page = await _page(ctx, caller.account_id, scope, (q or "").lower(), limit, starting_after)
    return answers.json(page.model_dump())


@router.delete(
    "/{avatar_id}",
    status_code=204,
    operation_id="delete_avatar",
    summary="Delete an avatar",
    responses=with_key(AvatarNotDeletable, AvatarNotFound, LogUnavailable),
)
async def delete(avatar_id: str, request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Its portrait and face are removed from the asset store. Sessions that run with it go on."""
    if avatar_id in STOCK:
        raise AvatarNotDeletable
    await find(ctx, caller.account_id, avatar_id)
    await uploads.delete(ctx, caller.account_id, avatar_id, request_id(request))
    return Response(status_code=204)


@dataclass(frozen=True)
class Usable:
    """What a session needs of its avatar. `face`: the built one; None for stock avatars."""

    runtime_type: RuntimeType = "avtr1"
    face: str | None = None
    shape: Shape = "square"


_STOCK_FACE = Usable()


async def usable(ctx: Context, account_id: str, avatar_id: str) -> Usable:
    """An avatar that a session may use. Raises AvatarNotFound, AvatarNotReady."""
    if avatar_id in STOCK:
        return _STOCK_FACE
    try:
        (found,) = await find(ctx, account_id, avatar_id)
    except AvatarNotFound:
        raise AvatarNotFound(param="avatar_id") from None
    if found.avatar is None or found.avatar.status == "processing":
        raise AvatarNotReady(param="avatar_id")
    if found.avatar.status == "failed":
        raise AvatarNotReady(f"This avatar could not be built: {found.avatar.failure_reason}", param="avatar_id")
    return Usable(found.avatar.runtime_type, found.avatar.face, found.avatar.shape)


# What is shown


async def find(ctx: Context, account_id: str, avatar_id: str) -> list[StoredAvatar]:
    """The one. Raises AvatarNotFound."""
    async with ctx.pool.connection() as connection:
        found = await avatars.find(connection, account_id, avatar_id)
    if not found:
        raise AvatarNotFound
    return found


async def _page(ctx: Context, account_id: str, scope: str, q: str, limit: int, after: str | None) -> AvatarList:
    """Names are encrypted, so `q` is looked for in one page after the other, in _MOST_SEARCHED avatars at the most."""
    stock, own_after = _after(after)
    shown: list[AvatarResource] = []
    searched, exhausted = 0, scope == "platform" or after in STOCK
    while not exhausted and len(shown) <= limit and searched < _MOST_SEARCHED:
        wanted = _SEARCHED_AT_ONCE if q else limit + 1
        async with ctx.pool.connection() as connection:
            found = await avatars.page(connection, account_id, own_after, wanted)
        shown += [each for each in await _shown(ctx, account_id, found) if _matches(each, q)]
        searched += len(found)
        exhausted = len(found) < wanted
        own_after = found[-1].avatar_id if found else own_after
    if exhausted and scope != "org":
        shown += [each for each in stock if _matches(each, q)]
    if len(shown) > limit:
        return AvatarList(data=shown[:limit], has_more=True, next_cursor=shown[limit - 1].id)
    return AvatarList(data=shown, has_more=not exhausted, next_cursor=None if exhausted else own_after)


def _matches(avatar: AvatarResource, q: str) -> bool:
    return q in avatar.name.lower() or q in avatar.id.lower()


def _after(cursor: str | None) -> tuple[list[AvatarResource], str | None]:
    """(the stock avatars behind the cursor, cursor among the account's own). Raises InvalidRequest."""
    stock = list(STOCK)
    if cursor in stock:
        return _STOCK[stock.index(cursor) + 1 :], None
    return _STOCK, pages.checked(cursor, AVATAR, "an avatar")


async def _shown(ctx: Context, account_id: str, found: list[StoredAvatar]) -> list[AvatarResource]:
    keys = await ctx.data_keys.of_account(account_id)
    return [each.shown(keys) for each in found]
