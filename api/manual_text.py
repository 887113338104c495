"""`/llms.txt`: what a language model, or a person in a hurry, has to know to call this API."""

from __future__ import annotations

import json

from api import examples, openapi, webhook_examples, webhooks
from schemas.jsons import JsonObject

_GUIDE = """\
# Greenroom

> A self-hosted realtime-avatar platform. A voice agent asks for an avatar with one HTTP call; a worker joins the
> caller's own LiveKit room, hears the agent and publishes a talking face. JSON over HTTP.

Base URL: where you found this file, such as http://127.0.0.1:8080; below it is $API. Everything is under /v1.
Authentication: `Authorization: Bearer sk_…` on every call, except where "open" stands below. `greenroom keys create`
makes a key. The scope that a key needs stands behind each call; write contains read.
All details: $API/openapi.json (OpenAPI 3.1, with examples), as a page: $API/docs.

## Main calls

The room is yours: mint a LiveKit token (roomJoin, canPublish, canPublishData; kind agent; attribute
lk.publish_on_behalf = your agent's identity) and send it along.

    curl "$API/v1/sessions" -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
      -H "Idempotency-Key: $(uuidgen)" -d '{create}'

The answer is 201 with status `queued` and an `id`. Wait for the webhook `session.first_frame`, or poll:

    curl "$API/v1/sessions/$ID" -H "Authorization: Bearer $KEY"

    curl -X POST "$API/v1/sessions/$ID/end" -H "Authorization: Bearer $KEY"

What happened, live, as server-sent events until the session is over:

    curl -N "$API/v1/sessions/$ID/events" -H "Authorization: Bearer $KEY" -H "Accept: text/event-stream"

A face of your own; poll its id until it is `ready`:

    curl "$API/v1/avatars" -H "Authorization: Bearer $KEY" -F image=@portrait.jpg -F name=Ada -F consent=true

Status: queued → starting → running → ending → ended; or failed (see `failure.code`); or canceled, before it started.
`protoface-sdk` and `livekit-plugins-protoface` work unmodified, with $API as their base URL; portraits are uploaded as
above where the installation asks for consent (422 `consent.required`), since they do not know that field.

## Every call

{operations}

Lists are newest first: `limit` 1 to 100, `starting_after` is the `next_cursor` of the page before.
Unknown fields of a body are refused. Times are UTC with milliseconds and Z.

## Errors

Every answer that is not 2xx is {{"error": {{"type", "code", "message", "param", "request_id"}}}}.
Switch on `code`; `message` says what to do; `param` is the dotted path of what is wrong. Retry 429 `rate_limited` and
every 503 after `Retry-After` seconds (10 at most), a create with the same Idempotency-Key. Retry no other 4xx as it is.

## Webhooks

    curl "$API/v1/webhook_endpoints" -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
      -d '{endpoint}'

The answer has the signing secret `whsec_…`, once. Deliveries are POSTs of
{{"type", "timestamp", "seq", "attempt", "data"}}, where `data` is the session as of the event, signed as Standard
Webhooks are (headers webhook-id, webhook-timestamp, webhook-signature). Answer 2xx within 15 s; a delivery may come
twice, with the same webhook-id. Types:

{types}
"""


def text(document: JsonObject) -> str:
    return _GUIDE.format(
        create=_json(examples.REQUESTS["create_session"]),
        endpoint=_json(webhook_examples.REQUESTS["create_webhook_endpoint"]),
        operations="\n".join(_line(operation) for operation in openapi.operations(document)),
        types="\n".join(f"- {kind}: {told}" for kind, told in webhooks.TOLD.items()),
    )


def _line(operation: openapi.Operation) -> str:
    told = operation.told
    return f"- {operation.method} {operation.path}: {told['summary']} ({told.get('x-scope', 'open')})"


def _json(example: JsonObject) -> str:
    return json.dumps(example, ensure_ascii=False)
