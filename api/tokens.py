"""What can be told about a worker token without its secret. A token that does not parse is LiveKit's to judge."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from api.base64url import decoded
from api.errors import Unprocessable
from schemas.jsons import JsonObject
from schemas.sessions import LiveKitTransport

DEFAULT_IDENTITY = "greenroom-worker"
PARAM = "transport.worker_token"
_JOIN_WITHIN_S = 60


def claims(token: str) -> JsonObject | None:
    """The payload of a JWT, unverified; None when it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = orjson.loads(decoded(parts[1]))
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None


def check(transport: LiveKitTransport, now_s: float) -> str:
    """Returns the identity that the worker will have. Raises Unprocessable for a token that cannot work."""
    for problem in problems(transport, now_s):
        raise problem
    found = claims(transport.worker_token) or {}
    return _subject(found) or transport.worker_identity or DEFAULT_IDENTITY


def problems(transport: LiveKitTransport, now_s: float) -> Iterator[Unprocessable]:
    """Why it cannot work."""
    found = claims(transport.worker_token)
    if found is None:
        return
    expires = found.get("exp")
    if isinstance(expires, int | float) and expires <= now_s:
        yield _refuse("expired", "The token has expired. Mint a new one.")
    grants = _grants(found)
    if not grants.get("roomJoin"):
        yield _refuse("no_room_join", "The token does not grant roomJoin.")
    if grants.get("room") not in (None, "", transport.room_name):
        yield _refuse("wrong_room", "The token is for another room than transport.room_name.")
    if grants.get("canPublish") is False:
        yield _refuse("no_publish", "The token does not grant canPublish: no face could be shown.")
    if grants.get("canPublishData") is False:
        yield _refuse("no_publish_data", "The token does not grant canPublishData, by which playback is reported.")
    if _subject(found) and transport.worker_identity not in (None, _subject(found)):
        yield _refuse("identity_mismatch", "transport.worker_identity differs from the token's identity.")


def warnings(transport: LiveKitTransport, now_s: float, duration_s: int) -> Iterator[tuple[str, str]]:
    """(rule, what may go wrong) of a token that can work."""
    found = claims(transport.worker_token)
    if found is None:
        yield "opaque", "The token is no JWT: only the LiveKit server can say whether it is good."
        return
    expires = found.get("exp")
    if not isinstance(expires, int | float):
        yield "no_expiry", "The token never expires. Mint short-lived ones: it is needed for joining alone."
    elif expires <= now_s + _JOIN_WITHIN_S:
        yield "expires_soon", f"The token expires within {_JOIN_WITHIN_S} s: a worker may come too late to join."
    elif expires <= now_s + duration_s:
        yield (
            "expires_before_the_end",
            "Should the session have to move to another worker, it could not join again.",
        )
    if found.get("kind") != "agent":
        yield "kind", "The token's kind is not agent: clients will count the avatar as a person."
    attributes = found.get("attributes")
    if not isinstance(attributes, dict) or not attributes.get("lk.publish_on_behalf"):
        yield "no_publish_on_behalf", "Without lk.publish_on_behalf clients show agent and avatar as two participants."


def _grants(found: JsonObject) -> JsonObject:
    video = found.get("video")
    return video if isinstance(video, dict) else {}


def _subject(found: JsonObject) -> str | None:
    subject = found.get("sub")
    return subject if isinstance(subject, str) and subject else None


def _refuse(rule: str, message: str) -> Unprocessable:
    return Unprocessable(message, code=f"{PARAM}.{rule}", param=PARAM)
