"""The `webhooks` of the OpenAPI document: what is sent to an endpoint, an entry for each public event type."""

from __future__ import annotations

from api import examples, webhook_examples
from schemas.events import ENDPOINT_DISABLED, ENDPOINT_TEST, HEARTBEAT, SUBSCRIBABLE, THRESHOLD_REACHED, USAGE_RECORDED
from schemas.jsons import JsonObject
from schemas.webhooks import body_of

TAG = "Webhook deliveries"

TOLD = {
    "session.created": "A session was created, and waits for its worker.",
    "session.starting": "A worker has the session and is about to join the room.",
    "session.first_frame": "The face can be seen: the session is `running`, and billed from here on.",
    "session.expiring": "The session is about to reach its `max_duration_seconds`.",
    "session.audio_stalled": "Speech has begun, and nothing of it has come for 3 s. The face stays, and is silent.",
    "session.audio_resumed": "A stall is over: there is sound again, or the utterance that stalled has ended.",
    "session.synthetic_audio_started": "Nobody came within 10 s, so the face speaks a tone of its own.",
    "session.ending": "The session's end has begun: the last frames are being published.",
    "session.ended": "The session is over; `usage` is what is billed.",
    "session.failed": "The session could not go on: `failure` says why.",
    "session.canceled": "The session was ended before it had started.",
    "session.erased": "What can identify people is gone from the session, for ever. Do so with what you keep of it.",
    HEARTBEAT: "Every 5 s of a session, with `usage` as it is. To endpoints that name it exactly; tried twice at most.",
    USAGE_RECORDED: "A new entry in the ledger. To endpoints that name it exactly.",
    THRESHOLD_REACHED: "A threshold of `PUT /v1/limits` is reached. Once a month each.",
    "avatar.ready": "The avatar is built: sessions can have it.",
    "avatar.failed": "The avatar could not be built: `failure_reason` says why.",
    ENDPOINT_DISABLED: "We have disabled an endpoint of yours: `disabled_reason`. Sent to the others, and in the feed.",
    ENDPOINT_TEST: "On request, to that endpoint alone. Tried once.",
}
"""What a session tells in the order of its life, then what others do."""

_HEADERS = {
    "webhook-id": "The same in every retry: drop what you have seen.",
    "webhook-timestamp": "Seconds since 1970 of this attempt; part of what is signed.",
    "webhook-signature": "`v1,` and an HMAC-SHA256, as Standard Webhooks has it. Verify it with the endpoint's secret.",
}


def documented() -> JsonObject:
    assert set(TOLD) == {*SUBSCRIBABLE, ENDPOINT_TEST}
    return {kind: {"post": _operation(kind, told)} for kind, told in TOLD.items()}


def _operation(kind: str, told: str) -> JsonObject:
    only = {"type": "object", "required": ["type"], "properties": {"type": {"const": kind}}}
    schema = {"allOf": [{"$ref": f"#/components/schemas/{body_of(kind).__name__}"}, only]}
    example = examples.shown(webhook_examples.webhook(kind))
    return {
        "operationId": f"on_{kind.replace('.', '_')}",
        "summary": kind,
        "description": told,
        "tags": [TAG],
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": {
            "2XX": {"description": "Within 15 s: received, whatever the body says."},
            "410": {"description": "Disables the endpoint."},
            "default": {"description": "Tried again: after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h."},
        },
    }
