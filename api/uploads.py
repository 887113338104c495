"""Taking a portrait in: slot, decoding, asset, log, in this order, and the way back from each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog
from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from api import forms
from api.context import Context
from api.errors import AvatarSlotsExceeded, LogUnavailable, Unprocessable
from events.codec import Event, new_event
from events.producer import EventProducer, UnknownOutcome
from events.sealing import field_aad
from events.topics import AVATARS
from faces.portrait import MOST_BYTES, UNREADABLE, BadImage
from projections import avatars
from schemas.avatars import (
    CONSENT,
    DEFAULT_NAME,
    MOST_NAME,
    AvatarResource,
    Background,
    Consent,
    Positions,
    RuntimeType,
    Shape,
    asked_for,
)
from schemas.events import AvatarCreated, AvatarDeleted, AvatarEvent, AvatarReady
from schemas.requests import CONTROLS
from schemas.times import from_wire
from store import uploads as rows
from store.accounts import Principal
from store.database import DatabaseUnreachable, Pool

log = structlog.get_logger()

T = TypeVar("T")

SOURCE = "greenroom/api"
FAILED_KEPT = 10
"""Failed avatars hold no slot: an account keeps its latest, and loses older ones to its next upload."""
_FIELDS = ("image", "name", "runtime_type", "positions", "shape", "background", "consent")
_STORE_WITHIN_S = 10.0
_GIVE_BACK_WITHIN_S = 3.0
_SWEEP_EVERY_S = 10.0


@dataclass(frozen=True)
class Upload:
    """A valid request, its picture not yet looked at."""

    image: UploadFile
    name: str
    runtime_type: RuntimeType
    positions: Positions | None
    shape: Shape = "square"
    background: Background | UploadFile | None = None
    consent: bool = False


# The request


@asynccontextmanager
async def read(request: Request, consent_required: bool) -> AsyncIterator[Upload]:
    """Pictures are in temporary files until the block ends. Raises InvalidRequest, Unprocessable, BodyTooLarge."""
    async with forms.read(request, _FIELDS, most_bytes=MOST_BYTES, max_files=2, max_fields=8) as form:
        yield _upload(form, consent_required)


def _upload(form: FormData, consent_required: bool) -> Upload:
    name = forms.text(form, "name") or DEFAULT_NAME
    if len(name) > MOST_NAME:
        raise Unprocessable(f"name has more than {MOST_NAME} characters.", code="name.too_long", param="name")
    if CONTROLS.search(name):
        raise Unprocessable("name has a control character.", code="name.invalid", param="name")
    runtime_type = forms.text(form, "runtime_type") or "avtr1"
    if runtime_type not in ("avtr1", "mock"):
        raise Unprocessable("runtime_type is avtr1 or mock.", code="runtime_type.invalid", param="runtime_type")
    positions = _positions(forms.text(form, "positions"))
    image = form.get("image")
    if image is None:
        raise Unprocessable("image is required.", code="image.required", param="image")
    if not isinstance(image, UploadFile):
        raise Unprocessable(UNREADABLE, code="image.invalid", param="image")
    shape = forms.text(form, "shape") or "square"
    if shape not in ("square", "portrait"):
        raise Unprocessable("shape is square or portrait.", code="shape.invalid", param="shape")
    background, consent = _background(form), _consent(form, consent_required)
    return Upload(image, name, runtime_type, positions, shape, background, consent)  # type: ignore[arg-type]


def _background(form: FormData) -> Background | UploadFile | None:
    said = form.get("background")
    if said is None or isinstance(said, UploadFile):
        return said
    if (asked := asked_for(said)) is None:
        raise Unprocessable(
            "background is blur, green, a colour such as #20304a, or a PNG or JPEG sent as a file.",
            code="background.invalid",
            param="background",
        )
    return asked


def _consent(form: FormData, required: bool) -> bool:
    said = forms.text(form, "consent")
    if said is not None and said != "true":
        raise Unprocessable(
            "consent is true, or left out: it cannot be given otherwise.", code="consent.invalid", param="consent"
        )
    if said is None and required:
        raise Unprocessable(
            "Send consent=true with the portrait. With it you say that the person shown has agreed to have it speak as"
            " an avatar, or that it shows nobody. docs/concepts/synthetic-media.md has the exact words.",
            code="consent.required",
            param="consent",
        )
    return said is not None


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


# There and back


async def take_in(ctx: Context, caller: Principal, correlation: str, upload: Upload, shown: AvatarResource) -> None:
    """`shown`: what is answered. Raises AvatarSlotsExceeded, Unprocessable, AtCapacity, LogUnavailable.

    1. a row for the avatar takes the slot; 2. the pictures are stored in the avatar's name; 3. the row is seen to be
    there still; 4. the log gets the upload. Whatever goes wrong after 1 is undone. If the process dies in here, nobody
    renews the row, and `sweep` of any API process undoes it after a minute.
    """
    avatar_id, account_id = shown.id, caller.account_id
    key = await ctx.data_keys.of(account_id)
    async with ctx.pool.connection() as connection:
        if not await rows.admit(connection, account_id, avatar_id, shown.model_dump_json()):
            raise AvatarSlotsExceeded
    sent = False
    try:
        asset, scale = await _stored(ctx, account_id, upload.image, avatar_id)
        background = upload.background
        if isinstance(background, UploadFile):
            await _renew(ctx, avatar_id)  # two pictures may take longer than a row is kept
            background = Background(
                "image", asset=(await _stored(ctx, account_id, background, avatar_id, "background"))[0]
            )
        await _forget_failed(ctx, account_id, correlation)
        await _renew(ctx, avatar_id)
        data = AvatarCreated(
            avatar_id,
            account_id=account_id,
            name=key.encrypt(upload.name, field_aad(avatar_id, "name")),
            runtime_type=upload.runtime_type,
            asset=asset,
            positions=upload.positions.scaled(scale) if upload.positions else None,
            shape=upload.shape,
            background=background,
            consent=Consent(caller.key_id, CONSENT) if upload.consent else None,
        )
        event = avatar_event(data, account_id, correlation)
        sent = True
        await _append(ctx, msgspec.structs.replace(event, time_ms=from_wire(shown.created_at)))
        async with ctx.pool.connection() as connection:
            if not await rows.acknowledged(connection, avatar_id):
                raise LogUnavailable  # we slept through our minute: the upload was undone
    except BaseException as failed:
        undoing = ctx.leaving.spawn(_undo(ctx, avatar_id, sent), "undo an upload")
        if not isinstance(failed, asyncio.CancelledError):  # the next request should find the slot free
            await asyncio.wait([undoing], timeout=_GIVE_BACK_WITHIN_S)
        raise


async def _renew(ctx: Context, avatar_id: str) -> None:
    """Raises LogUnavailable: it took so long that the upload was undone."""
    async with ctx.pool.connection() as connection:
        if not await rows.renew(connection, avatar_id):
            raise LogUnavailable


async def _stored(
    ctx: Context, account_id: str, image: UploadFile, avatar_id: str, field: str = "image"
) -> tuple[str, float]:
    """(name of the normalised picture, factor from the upload's pixels to its own)."""
    try:
        portrait, scale = await ctx.decoders.normalise(account_id, image, avatar_id)
    except BadImage as bad:
        code = "image.invalid" if field == "image" else "background.invalid"
        raise Unprocessable(str(bad), code=code, param=field) from None
    async with asyncio.timeout(_STORE_WITHIN_S):
        return await _on_disk(ctx, ctx.assets.put, portrait, avatar_id), scale


async def _on_disk(ctx: Context, work: Callable[..., T], *values: str | bytes) -> T:
    """In the one thread of the disk: a removal runs after the storing that it undoes, even if nobody waits for that."""
    return await asyncio.get_running_loop().run_in_executor(ctx.disk, work, *values)


async def _undo(ctx: Context, avatar_id: str, sent: bool) -> None:
    async with ctx.pool.connection() as connection:
        await rows.abandon(connection, avatar_id)
    if sent:
        return  # a create may be in the log: `sweep` puts a deletion behind it before it removes anything
    await _on_disk(ctx, ctx.assets.remove_owned, avatar_id)
    async with ctx.pool.connection() as connection:
        await rows.drop(connection, avatar_id)


async def sweep(ctx: Context) -> None:
    """For ever: undo uploads that were abandoned, or whose process died. Several APIs do each other no harm."""
    while True:
        await asyncio.sleep(_SWEEP_EVERY_S)
        try:
            async with ctx.pool.connection() as connection:
                left = await rows.left_behind(connection)
            for account_id, avatar_id in left:
                await ctx.producer.send(AVATARS, avatar_event(AvatarDeleted(avatar_id), account_id, avatar_id))
                await _on_disk(ctx, ctx.assets.remove_owned, avatar_id)
                async with ctx.pool.connection() as connection:
                    await rows.deleted(connection, account_id, avatar_id)
                log.info("upload undone", avatar_id=avatar_id)
        except (DatabaseUnreachable, UnknownOutcome, OSError) as failed:
            log.warning("uploads not swept", error=repr(failed))


# The log


def avatar_event(data: AvatarEvent, account_id: str, correlation: str) -> Event:
    return new_event(data, source=SOURCE, subject=data.avatar_id, account=account_id, correlation=correlation)


async def delete(ctx: Context, account_id: str, avatar_id: str, correlation: str) -> None:
    """Raises LogUnavailable."""
    try:
        await say_deleted(ctx.producer, ctx.pool, account_id, avatar_id, correlation)
    except UnknownOutcome as unknown:
        raise LogUnavailable from unknown


async def say_deleted(producer: EventProducer, pool: Pool, account_id: str, avatar_id: str, correlation: str) -> None:
    """If the process dies in between, the projection shows it a moment longer. Raises UnknownOutcome."""
    await producer.send(AVATARS, avatar_event(AvatarDeleted(avatar_id), account_id, correlation))
    async with pool.connection() as connection:
        await rows.deleted(connection, account_id, avatar_id)


async def _forget_failed(ctx: Context, account_id: str, correlation: str) -> None:
    async with ctx.pool.connection() as connection:
        surplus = await avatars.failed_beyond(connection, account_id, FAILED_KEPT)
    for avatar_id in surplus:
        await delete(ctx, account_id, avatar_id, correlation)


async def _append(ctx: Context, event: Event) -> None:
    """Unknown outcome: a deletion goes behind it in the same producer, so that a late create changes nothing.

    Raises LogUnavailable.
    """
    data = event.data
    assert isinstance(data, AvatarCreated)
    correlation = event.correlation or ""
    try:
        await ctx.producer.send(AVATARS, event)
        if data.runtime_type == "mock":  # there is nothing to build
            ready = AvatarReady(data.avatar_id, face=None)
            await ctx.producer.send(AVATARS, avatar_event(ready, data.account_id, correlation))
    except UnknownOutcome as unknown:
        deletion = avatar_event(AvatarDeleted(data.avatar_id), data.account_id, correlation)
        with contextlib.suppress(UnknownOutcome):  # `sweep` says it again
            (await ctx.producer.enqueue(AVATARS, deletion, timeout_s=0.3)).add_done_callback(_ignore)
        raise LogUnavailable from unknown


def _ignore(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()
