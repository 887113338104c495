"""`/v1/avatars`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from api.auth import CallerPrincipal
from api.context import Context, context
from api.errors import (
    AvatarNotDeletable,
    AvatarNotFound,
    AvatarNotReady,
    AvatarSlotsExceeded,
    BodyTooLarge,
    DatabaseUnavailable,
    InvalidRequest,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    LogUnavailable,
    Unprocessable,
    documented,
    request_id,
)
from api.middleware import bounded
from events.codec import Event, new_event
from events.producer import UnknownOutcome
from events.topics import AVATARS
from faces import portrait
from faces.portrait import BadImage
from projections import avatars
from projections.accounts import AccountErased
from projections.avatars import Found
from projections.resources import ERASED
from projections.resources import context as bound_to
from schemas import events as e
from schemas.avatars import (
    DEFAULT_NAME,
    MOST_NAME,
    STOCK,
    STOCK_CREATED_AT,
    AvatarList,
    AvatarResource,
    Positions,
    RuntimeType,
)
from schemas.ids import AVATAR, new_id
from schemas.requests import CONTROLS, Text
from schemas.times import to_wire

router = APIRouter(prefix="/v1/avatars", tags=["Avatars"])

SOURCE = "greenroom/api"
_COMMON = (KeyMissing, KeyInvalid, KeyRevoked, DatabaseUnavailable)
_FIELDS = ("image", "name", "runtime_type", "positions")
_AROUND_IMAGE = 64 * 1024
_STOCK = [
    AvatarResource(
        id=avatar_id,
        name=name,
        status="ready",
        runtime_type="avtr1",
        is_demo=avatar_id == "av_demo",
        created_at=STOCK_CREATED_AT,
        failure_reason=None,
    ).model_dump()
    for avatar_id, name in STOCK.items()
]

Ctx = Annotated[Context, Depends(context)]


@dataclass(frozen=True)
class Upload:
    """A valid request. `asset`: the normalised portrait, stored."""

    name: str
    runtime_type: RuntimeType
    asset: str
    positions: Positions | None


@router.post(
    "",
    status_code=202,
    response_model=AvatarResource,
    summary="Create an avatar from a portrait",
    responses=documented(InvalidRequest, BodyTooLarge, *_COMMON, AvatarSlotsExceeded, Unprocessable, LogUnavailable),
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
    """Returns at once with status `processing`; poll `GET /v1/avatars/{id}` until it is `ready` or `failed`."""
    avatar_id = new_id(AVATAR)
    upload = await _upload(request, ctx, avatar_id)
    key = await ctx.data_keys.of(caller.account_id)
    data = e.AvatarCreated(
        avatar_id,
        account_id=caller.account_id,
        name=key.encrypt(upload.name, bound_to(avatar_id, "name")),
        runtime_type=upload.runtime_type,
        asset=upload.asset,
        positions=upload.positions,
    )
    event = _event(data, caller.account_id, request_id(request))
    shown = _resource(avatar_id, upload.name, "processing", upload.runtime_type, event.time_ms, None)
    async with ctx.pool.connection() as connection:
        if not await avatars.admit(connection, caller.account_id, avatar_id, orjson.dumps(shown).decode()):
            raise AvatarSlotsExceeded
    await _append_created(ctx, event, caller.account_id, request_id(request))
    async with ctx.pool.connection() as connection:
        await avatars.acknowledged(connection, avatar_id)
    return _json(shown, 202, {"Location": f"/v1/avatars/{avatar_id}"})


@router.get(
    "/{avatar_id}",
    response_model=AvatarResource,
    summary="Get an avatar",
    responses=documented(*_COMMON, AvatarNotFound),
)
async def get(avatar_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    for stock in _STOCK:
        if stock["id"] == avatar_id:
            return _json(stock)
    return _json((await _shown(ctx, caller.account_id, await _find(ctx, caller.account_id, avatar_id)))[0])


@router.get(
    "",
    response_model=AvatarList,
    summary="List avatars",
    responses=documented(InvalidRequest, *_COMMON, Unprocessable),
)
async def list_avatars(
    caller: CallerPrincipal,
    ctx: Ctx,
    scope: Annotated[Literal["all", "platform", "org"], Query(description="platform: stock; org: your own.")] = "all",
    q: Annotated[Text | None, Query(max_length=MOST_NAME, description="In the name or the id.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    starting_after: Annotated[
        Annotated[str, Field(json_schema_extra={"pattern": "^av_[^\\x00-\\x1f]*$"})] | None,
        Query(description="The id of the last item of the page before."),
    ] = None,
) -> Response:
    """Your own, newest first, then the stock avatars."""
    shown: list[dict[str, Any]] = []
    if scope != "platform":
        async with ctx.pool.connection() as connection:
            found = await avatars.find(connection, caller.account_id)
        shown += await _shown(ctx, caller.account_id, found)
    if scope != "org":
        shown += _STOCK
    if q:
        shown = [each for each in shown if q.lower() in each["name"].lower() or q.lower() in each["id"].lower()]
    if starting_after is not None:
        shown = _after(shown, starting_after)
    more = len(shown) > limit
    page = shown[:limit]
    return _json({"object": "list", "data": page, "has_more": more, "next_cursor": page[-1]["id"] if more else None})


@router.delete(
    "/{avatar_id}",
    status_code=204,
    summary="Delete an avatar",
    responses=documented(AvatarNotDeletable, *_COMMON, AvatarNotFound, LogUnavailable),
)
async def delete(avatar_id: str, request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Its portrait and face are removed from the asset store. Sessions that run with it go on."""
    if avatar_id in STOCK:
        raise AvatarNotDeletable
    await _find(ctx, caller.account_id, avatar_id)
    event = _event(e.AvatarDeleted(avatar_id), caller.account_id, request_id(request))
    try:
        await ctx.producer.send(AVATARS, event)
    except UnknownOutcome as unknown:
        raise LogUnavailable from unknown
    async with ctx.pool.connection() as connection:
        await avatars.deleted(connection, caller.account_id, avatar_id)
    return Response(status_code=204)


async def usable(ctx: Context, account_id: str, avatar_id: str) -> tuple[RuntimeType, str | None]:
    """(runtime type, built face) of an avatar that a session may use. Raises AvatarNotFound, AvatarNotReady."""
    if avatar_id in STOCK:
        return "avtr1", None
    try:
        (found,) = await _find(ctx, account_id, avatar_id)
    except AvatarNotFound:
        raise AvatarNotFound(param="avatar_id") from None
    if found.avatar is None or found.avatar.status == "processing":
        raise AvatarNotReady(param="avatar_id")
    if found.avatar.status == "failed":
        raise AvatarNotReady(f"This avatar could not be built: {found.avatar.failure_reason}", param="avatar_id")
    return found.avatar.runtime_type, found.avatar.face


# The upload


async def _upload(request: Request, ctx: Context, avatar_id: str) -> Upload:
    form = await _form(request)
    try:
        for name in form:
            if name not in _FIELDS:
                raise Unprocessable(f"{name} is not a field of this request.", code=f"{name}.unknown", param=name)
        name = _text(form, "name") or DEFAULT_NAME
        if len(name) > MOST_NAME:
            raise Unprocessable(f"name has more than {MOST_NAME} characters.", code="name.too_long", param="name")
        if CONTROLS.search(name):
            raise Unprocessable("name has a control character.", code="name.invalid", param="name")
        runtime_type = _text(form, "runtime_type") or "avtr1"
        if runtime_type not in ("avtr1", "mock"):
            raise Unprocessable("runtime_type is avtr1 or mock.", code="runtime_type.invalid", param="runtime_type")
        positions = _positions(_text(form, "positions"))
        image = form.get("image")
        if image is None:
            raise Unprocessable("image is required.", code="image.required", param="image")
        data = await image.read() if isinstance(image, UploadFile) else b""
    finally:
        await form.close()
    async with ctx.decoders:
        try:
            png, scale = await asyncio.to_thread(portrait.normalise, data, avatar_id)
        except BadImage as bad:
            raise Unprocessable(str(bad), code="image.invalid", param="image") from None
        asset = await asyncio.to_thread(ctx.assets.put, png)
    return Upload(name, runtime_type, asset, positions.scaled(scale) if positions else None)  # type: ignore[arg-type]


async def _form(request: Request) -> FormData:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidRequest("Send the avatar as multipart/form-data.", code="multipart.malformed")
    stream = bounded(request, portrait.MOST_BYTES + _AROUND_IMAGE)
    try:
        parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=8, max_part_size=_AROUND_IMAGE)
        return await parser.parse()
    except (MultiPartException, KeyError, ValueError) as broken:
        raise InvalidRequest(
            f"The body is not valid multipart/form-data: {broken}.", code="multipart.malformed"
        ) from None


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if isinstance(value, UploadFile):
        raise Unprocessable(f"{name} must be text.", code=f"{name}.invalid_type", param=name)
    return value


def _positions(text: str | None) -> Positions | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Positions)
    except msgspec.MsgspecError as wrong:
        raise Unprocessable(
            f"positions is JSON with eye_left, eye_right, mouth_left and mouth_right as [x, y]: {wrong}.",
            code="positions.invalid",
            param="positions",
        ) from None


# The log


def _event(data: e.AvatarEvent, account_id: str, correlation: str) -> Event:
    return new_event(data, source=SOURCE, subject=data.avatar_id, account=account_id, correlation=correlation)


async def _append_created(ctx: Context, event: Event, account_id: str, correlation: str) -> None:
    """Unknown outcome: a deletion goes behind it in the same producer, so that a late create changes nothing.

    Raises LogUnavailable. If the process dies in here, the admission is forgotten after a minute; should the create be
    in the log, the avatar is there, as if the answer had been lost on its way.
    """
    data = event.data
    assert isinstance(data, e.AvatarCreated)
    try:
        await ctx.producer.send(AVATARS, event)
        if data.runtime_type == "mock":  # there is nothing to build
            await ctx.producer.send(AVATARS, _event(e.AvatarReady(data.avatar_id, face=None), account_id, correlation))
    except UnknownOutcome as unknown:
        try:
            deletion = _event(e.AvatarDeleted(data.avatar_id), account_id, correlation)
            (await ctx.producer.enqueue(AVATARS, deletion, timeout_s=0.3)).add_done_callback(_ignore)
        except UnknownOutcome:
            pass
        async with ctx.pool.connection() as connection:
            await avatars.forget(connection, data.avatar_id)
        raise LogUnavailable from unknown


def _ignore(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()


# What is shown


async def _find(ctx: Context, account_id: str, avatar_id: str) -> list[Found]:
    async with ctx.pool.connection() as connection:
        found = await avatars.find(connection, account_id, avatar_id)
    if not found:
        raise AvatarNotFound
    return found


async def _shown(ctx: Context, account_id: str, found: list[Found]) -> list[dict[str, Any]]:
    try:
        key = await ctx.data_keys.of(account_id)
    except AccountErased:
        key = None
    shown = []
    for each in found:
        avatar = each.avatar
        if avatar is None:
            shown.append(orjson.loads(each.resource or ""))
            continue
        name = key.decrypt(avatar.name, bound_to(avatar.avatar_id, "name")) if key and avatar.name else ERASED
        shown.append(
            _resource(
                avatar.avatar_id, name, avatar.status, avatar.runtime_type, avatar.created_ms, avatar.failure_reason
            )
        )
    return shown


def _resource(
    avatar_id: str, name: str, status: str, runtime_type: RuntimeType, created_ms: int, reason: str | None
) -> dict[str, Any]:
    return AvatarResource(
        id=avatar_id,
        name=name,
        status=status,
        runtime_type=runtime_type,
        is_demo=False,
        created_at=to_wire(created_ms),
        failure_reason=reason,
    ).model_dump()


def _after(shown: list[dict[str, Any]], cursor: str) -> list[dict[str, Any]]:
    """What comes after the cursor, even if that avatar has been deleted meanwhile. Raises InvalidRequest."""
    stock = list(STOCK)
    if cursor in stock:
        return [each for each in shown if each["id"] in stock[stock.index(cursor) + 1 :]]
    if not cursor.startswith(f"{AVATAR}_"):
        raise InvalidRequest("starting_after is not an avatar id.", code="cursor.invalid", param="starting_after")
    return [each for each in shown if each["id"] in STOCK or each["id"] < cursor]


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status_code=status, headers=headers, media_type="application/json")
