"""`/console`: the web console, its log-in, and what it alone asks for."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import HTMLResponse, Response

from api import answers, auth, avatars, bodies, console_speech, cookies, reading
from api.console_errors import ForeignRoom, NotJoined, PortraitNotFound
from api.console_files import Files
from api.console_rooms import LocalRooms, local_rooms
from api.context import Context, Ctx
from faces import still
from faces.assets import MissingAsset
from schemas.avatars import STOCK
from schemas.requests import Strict, Text
from store.accounts import Principal

router = APIRouter(prefix="/console", include_in_schema=False)
files = Files()

_NOT_BUILT = """<!doctype html><html lang="en"><title>Greenroom console</title><h1>The console is not built yet</h1>
<p>Run <code>make web</code> in Greenroom's folder, once; then load this page again. Nothing has to be restarted.
<p>It needs the network the first time. <code>docs/reference/console.md</code> says more; the API works without.
"""


class LogIn(Strict):
    """Body of `POST /console/login`."""

    key: Annotated[Text, Field(min_length=1, max_length=512)]


@router.post("/login")
async def log_in(request: Request, ctx: Ctx) -> Response:
    """The cookie for a key. Raises CrossSite, ConsoleInsecure, KeyInvalid or KeyRevoked."""
    cookies.check_origin(request, request.method)
    cookies.is_secure(request)  # before the key is looked at
    asked = bodies.validate(bodies.parse(await bodies.read(request)), LogIn)
    digest = auth.digest_of(ctx, asked.key.strip())
    await auth.of_digest(ctx, digest)
    value = cookies.sealed(ctx.keyring, digest, time.time())
    return Response(status_code=204, headers={"Set-Cookie": cookies.setting(request, value), **answers.NEVER_KEPT})


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Whoever is logged in or not: the browser forgets the cookie."""
    cookies.check_origin(request, request.method)
    return Response(status_code=204, headers={"Set-Cookie": cookies.setting(request, ""), **answers.NEVER_KEPT})


@router.get("/me")
async def me(request: Request, ctx: Ctx) -> Response:
    """Whom the page speaks for, and what it can offer. Any key may ask, whatever its scopes."""
    found = await auth.known(request, ctx)
    rooms = local_rooms(ctx.settings)
    told = {
        "account_id": found.account_id,
        "key_id": found.key_id,
        "plan": found.plan,
        "scopes": list(found.scopes),
        "livekit_url": rooms.public_url if rooms else None,
        "speech": console_speech.synthesiser() is not None,
    }
    return answers.json(told, headers=answers.NEVER_KEPT)


def _rooms(ctx: Context) -> LocalRooms:
    """Raises ForeignRoom: no room is the console's."""
    rooms = local_rooms(ctx.settings)
    if rooms is None:
        raise ForeignRoom
    return rooms


@router.post("/rooms")
async def make_room(request: Request, ctx: Ctx) -> Response:
    """A room of the local stack, with the tokens for a session in it. Raises ForeignRoom, or RateLimited: a key gets
    as many as it may create sessions."""
    caller = await auth.allowed(request, ctx, "sessions:write")
    rooms = _rooms(ctx)
    ctx.rooms.take(caller.key_id, caller.creates_per_minute)
    return answers.json(rooms.for_talk(time.time()), headers=answers.NEVER_KEPT)


_IN_ROOM = ("running", "ending")


class View(Strict):
    """Body of `POST /console/view`."""

    session_id: Annotated[Text, Field(min_length=1, max_length=64)]


@router.post("/view")
async def view(request: Request, ctx: Ctx) -> Response:
    """A token to look into the room of a session. Raises SessionNotFound, ForeignRoom or NotJoined.

    Accounts share the local LiveKit, and anybody can name anybody's room in a create. That a worker has entered it
    shows that the account had a token for it: LiveKit has taken it, and one for another room is refused at the create.
    It shows no more of later: a room may have other people in it once the session is over. Whoever looks in is hidden
    from the room, so it takes a key that may act.
    """
    caller = await auth.allowed(request, ctx, "sessions:write")
    asked = bodies.validate(bodies.parse(await bodies.read(request)), View)
    rooms = _rooms(ctx)
    shown = await reading.shown(ctx, caller.account_id, await reading.find(ctx, caller.account_id, asked.session_id))
    if not rooms.is_ours(shown["transport"]["url"]):
        raise ForeignRoom
    if shown["first_frame_at"] is None or shown["status"] not in _IN_ROOM:
        raise NotJoined
    return answers.json(rooms.for_view(shown["transport"]["room_name"], time.time()), headers=answers.NEVER_KEPT)


class Speech(Strict):
    """Body of `POST /console/speech`."""

    text: Annotated[Text, Field(min_length=1, max_length=console_speech.MOST_CHARACTERS)]


@router.post("/speech")
async def speech(request: Request, ctx: Ctx) -> Response:
    """The text as WAV, where a synthesiser is there and free; else Overloaded. Raises RateLimited."""
    caller = await auth.allowed(request, ctx, "sessions:write")
    ctx.speeches.take(caller.key_id, console_speech.PER_MINUTE)
    asked = bodies.validate(bodies.parse(await bodies.read(request)), Speech)
    return Response(await console_speech.spoken(asked.text), media_type="audio/wav", headers=answers.NEVER_KEPT)


@router.get("/avatars/{avatar_id}/portrait")
async def portrait(avatar_id: str, request: Request, ctx: Ctx) -> Response:
    """PNG. Raises AvatarNotFound or PortraitNotFound."""
    caller = await auth.allowed(request, ctx, "avatars:read")
    try:
        picture = await _picture(ctx, caller, avatar_id)
    except (MissingAsset, still.NoPortrait):
        raise PortraitNotFound from None
    kept = {"Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}
    return Response(picture, media_type="image/png", headers=kept)


async def _picture(ctx: Context, caller: Principal, avatar_id: str) -> bytes:
    if avatar_id in STOCK:
        return await asyncio.to_thread(still.of_stock, avatar_id)
    (found,) = await avatars.find(ctx, caller.account_id, avatar_id)
    if found.avatar is None:  # the projection has not got it yet
        raise PortraitNotFound
    if found.avatar.face is not None:
        return still.of_face(await asyncio.to_thread(ctx.assets.get, found.avatar.face))
    if found.avatar.asset is None:
        raise PortraitNotFound
    return await asyncio.to_thread(ctx.assets.get, found.avatar.asset)


@router.get("")
@router.get("/{path:path}")
async def page(request: Request, ctx: Ctx, path: str = "") -> Response:
    """A file of the console, or its page for whatever address of it."""
    found = files.at(path)
    guards = _guards(local_rooms(ctx.settings))
    if found is None:
        if path.startswith("assets/"):  # of an older build, by an open page: it loads itself anew
            return Response(status_code=404, headers=answers.NEVER_KEPT)
        return HTMLResponse(_NOT_BUILT, status_code=503, headers={**answers.NEVER_KEPT, **guards})
    headers = {"Cache-Control": found.kept, "ETag": found.etag, "Vary": "Accept-Encoding", **guards}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    if found.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, media_type=found.type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(found.content, media_type=found.type, headers=headers)


def _guards(rooms: LocalRooms | None) -> dict[str, str]:
    """Nothing from elsewhere, no inline script or style, no frame around it. Rooms may be anybody's, so any LiveKit is
    reached over wss; over ws the local stack's alone."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "img-src": "'self' blob: data:",
        "media-src": "'self' blob:",
        "connect-src": " ".join(["'self'", "wss:", *(rooms.origins if rooms else ())]),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    }
