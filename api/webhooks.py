"""The `webhooks` of the OpenAPI document: what is sent to an endpoint, an entry for each public event type."""

from __future__ import annotations

from api import examples
from schemas.events import PUBLIC, THRESHOLD_REACHED
from schemas.jsons import JsonObject
from schemas.webhooks import ThresholdBody, WebhookBody

TAG = "Webhook deliveries"

TOLD = {
    "session.created": "A session was created, and waits for its worker.",
    "session.starting": "A worker has the session and is about to join the room.",
    "session.first_frame": "The face can be seen: the session is `running`, and billed from here on.",
    "session.expiring": "The session is about to reach its `max_duration_seconds`.",
    "session.audio_stalled": "Reserved: no worker says it yet.",
    "session.audio_resumed": "Reserved: no worker says it yet.",
    "session.synthetic_audio_started": "Nobody came within 10 s, so the face speaks a tone of its own.",
    "session.ending": "The session's end has begun: the last frames are being published.",
    "session.ended": "The session is over; `usage` is what is billed.",
    "session.failed": "The session could not go on: `failure` says why.",
    "session.canceled": "The session was ended before it had started.",
    THRESHOLD_REACHED: "A threshold of `PUT /v1/limits` is reached. Once a month each.",
}
"""In the order of a session's life."""

_HEADERS = {
    "webhook-id": "The same in every retry: drop what you have seen.",
    "webhook-timestamp": "Seconds since 1970 of this attempt; part of what is signed.",
    "webhook-signature": "`v1,` and an HMAC-SHA256, as Standard Webhooks has it. Verify it with the endpoint's secret.",
}


def documented() -> JsonObject:
    assert set(TOLD) == {*PUBLIC, THRESHOLD_REACHED}
    return {kind: {"post": _operation(kind, told)} for kind, told in TOLD.items()}


def _operation(kind: str, told: str) -> JsonObject:
    only = {"type": "object", "required": ["type"], "properties": {"type": {"const": kind}}}
    model = ThresholdBody if kind == THRESHOLD_REACHED else WebhookBody
    schema = {"allOf": [{"$ref": f"#/components/schemas/{model.__name__}"}, only]}
    example = examples.shown(examples.webhook(kind))
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
