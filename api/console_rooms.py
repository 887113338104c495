"""Rooms of the local stack's LiveKit, for the console: made for a talk, looked into by whoever has a session there.

The console is a customer of the API like any other: it mints what a customer mints with LiveKit's SDK, with the key
pair that the operator gives it, and creates sessions by `POST /v1/sessions`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from api.base64url import encoded
from api.settings import ApiSettings
from schemas.jsons import JsonObject

AGENT, AVATAR = "agent", "avatar"
_TALK_S = 3600
"""A session of an hour can still move to another worker."""
_VIEW_S = 300
"""To enter; who is in stays."""
_OWN_METADATA = "canUpdateOwnMetadata"


@dataclass(frozen=True)
class LocalRooms:
    """`url` as workers reach it, `public_url` as browsers do."""

    url: str
    public_url: str
    key: str
    secret: str

    def is_ours(self, url: str) -> bool:
        """Whether a session's `transport.url` leads to this LiveKit."""
        return (place := _place(url)) is not None and place == _place(self.url)

    @property
    def origins(self) -> list[str]:
        """Where browsers find it: LiveKit's client speaks over a web socket, and asks by HTTP why that was refused."""
        parts = urlsplit(self.public_url)
        host = parts.netloc.rpartition("@")[2]
        return [f"{scheme}://{host}" for scheme in (parts.scheme, parts.scheme.replace("ws", "http", 1))]

    def for_talk(self, now_s: float) -> JsonObject:
        """A room that nobody knows of, and its tokens: the worker's, and that of the agent, who is in the browser."""
        room = f"console-{secrets.token_hex(8)}"
        worker = {"kind": "agent", "attributes": {"lk.publish_on_behalf": AGENT}}
        talks = {"canPublish": True, "canPublishData": True, "canSubscribe": True}
        return {
            "url": self.public_url,
            "worker_url": self.url,
            "room_name": room,
            "worker_token": self._token(room, AVATAR, now_s, _TALK_S, {**talks, _OWN_METADATA: True}, worker),
            "agent_token": self._token(room, AGENT, now_s, _TALK_S, talks),
        }

    def for_view(self, room: str, now_s: float) -> JsonObject:
        """To see and hear, and nothing else."""
        sees = {"canPublish": False, "canPublishData": False, "canSubscribe": True, "hidden": True}
        return {
            "url": self.public_url,
            "token": self._token(room, f"viewer-{secrets.token_hex(4)}", now_s, _VIEW_S, sees),
        }

    def _token(
        self, room: str, identity: str, now_s: float, lasts_s: int, grants: JsonObject, more: JsonObject | None = None
    ) -> str:
        """A JWT, as LiveKit takes it."""
        claims = {
            "iss": self.key,
            "sub": identity,
            "nbf": int(now_s) - 10,
            "exp": int(now_s) + lasts_s,
            "video": {"roomJoin": True, "room": room, **grants},
            **(more or {}),
        }
        signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
        mark = hmac.new(self.secret.encode(), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{encoded(mark)}"


def local_rooms(settings: ApiSettings) -> LocalRooms | None:
    """None: the operator gives the console no LiveKit, or not all of it."""
    url, key = settings.console_livekit_url, settings.console_livekit_key
    secret = settings.console_livekit_secret.get_secret_value()
    if not (url and key and secret):
        return None
    return LocalRooms(url, settings.console_livekit_public_url or url, key, secret)


def _place(url: str) -> tuple[str | None, int | None, str] | None:
    """One host may have several LiveKits, each below a path. None: what is no address of one, or has more in it."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"ws": 80, "wss": 443}.get(parts.scheme)
    except ValueError:
        return None
    if parts.query or parts.fragment or parts.username is not None:
        return None
    return parts.hostname, port, parts.path.rstrip("/")


def _part(content: JsonObject) -> str:
    return encoded(orjson.dumps(content))
