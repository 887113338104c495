"""What can be told about a worker token without its secret. A token that does not parse is LiveKit's to judge."""

from __future__ import annotations

import base64
import binascii

import orjson

from api.errors import Unprocessable
from schemas.jsons import JsonObject
from schemas.sessions import LiveKitTransport

DEFAULT_IDENTITY = "greenroom-worker"
_PARAM = "transport.worker_token"


def claims(token: str) -> JsonObject | None:
    """The payload of a JWT, unverified; None when it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    return payload if isinstance(payload, dict) else None


def check(transport: LiveKitTransport, now_s: float) -> str:
    """Returns the identity that the worker will have. Raises Unprocessable for a token that cannot work."""
    found = claims(transport.worker_token)
    if found is None:
        return transport.worker_identity or DEFAULT_IDENTITY
    expires = found.get("exp")
    if isinstance(expires, int | float) and expires <= now_s:
        raise _refuse("expired", "The token has expired. Mint a new one.")
    video = found.get("video")
    grants: JsonObject = video if isinstance(video, dict) else {}
    if not grants.get("roomJoin"):
        raise _refuse("no_room_join", "The token does not grant roomJoin.")
    if grants.get("room") not in (None, "", transport.room_name):
        raise _refuse("wrong_room", "The token is for another room than transport.room_name.")
    if grants.get("canPublish") is False:
        raise _refuse("no_publish", "The token does not grant canPublish: no face could be shown.")
    if grants.get("canPublishData") is False:
        raise _refuse("no_publish_data", "The token does not grant canPublishData, by which playback is reported.")
    subject = found.get("sub")
    if isinstance(subject, str) and subject:
        if transport.worker_identity not in (None, subject):
            raise _refuse("identity_mismatch", "transport.worker_identity differs from the token's identity.")
        return subject
    return transport.worker_identity or DEFAULT_IDENTITY


def _refuse(rule: str, message: str) -> Unprocessable:
    return Unprocessable(message, code=f"{_PARAM}.{rule}", param=_PARAM)
