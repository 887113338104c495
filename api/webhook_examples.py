"""What the OpenAPI document shows of webhooks: of endpoints, of deliveries, and of what is sent."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import BaseModel

from api.examples import (
    ACCOUNT,
    CREATED,
    ENDED,
    ENDING,
    ERASED,
    LEDGER_ENTRY,
    MONTH,
    PROCESSING,
    QUEUED,
    READY,
    RUNNING,
    SESSION,
    STARTING,
)
from schemas.events import ENDPOINT_DISABLED, ENDPOINT_TEST, HEARTBEAT, THRESHOLD_REACHED, USAGE_RECORDED
from schemas.jsons import JsonObject
from schemas.sessions import Failure
from schemas.spending import ThresholdReached
from schemas.webhooks import (
    ReplayResource,
    WebhookAttempt,
    WebhookBody,
    WebhookDeliveryDetail,
    WebhookDeliveryList,
    WebhookDeliveryResource,
    WebhookEndpointList,
    WebhookEndpointResource,
    body_of,
)

_ENDPOINT = WebhookEndpointResource(
    id="we_01K8Z5A1B3C5D7E9F1G3H5J7K9",
    url="https://example.com/hook",
    events=["session.*"],
    description="",
    enabled=True,
    created_at=CREATED,
)
_NEW = _ENDPOINT.model_copy(update={"secret": "whsec_…"})
_DISABLED = _ENDPOINT.model_copy(
    update={
        "enabled": False,
        "disabled_reason": "failing",
        "disabled_at": ENDED,
        "failing_since": "2026-10-28T09:30:00.000Z",
    }
)
_DELIVERY = WebhookDeliveryResource(
    id="whd_01K8Z5Q3M5N7P9R1T3V5X7Z9B1",
    endpoint_id=_ENDPOINT.id,
    session_id=SESSION,
    event_id="evt_01K8Z5Q2N6X8Z0B2D4F6H8J0K2",
    type="session.created",
    status="delivered",
    reason=None,
    attempts=1,
    next_attempt_at=None,
    created_at=CREATED,
    finished_at=STARTING,
)

_SESSIONS = {
    "session.created": QUEUED,
    "session.starting": QUEUED.model_copy(update={"status": "starting", "started_at": STARTING}),
    "session.ending": ENDING,
    "session.ended": ENDING.model_copy(update={"status": "ended", "ended_at": ENDED}),
    "session.failed": QUEUED.model_copy(
        update={
            "status": "failed",
            "failed_at": ENDED,
            "failure": Failure(code="transport.unauthorized", message="LiveKit refused the worker token."),
        }
    ),
    "session.erased": ERASED,
    "session.canceled": QUEUED.model_copy(update={"status": "canceled", "ended_at": ENDED}),
}
_OTHERS: Mapping[str, BaseModel] = {
    USAGE_RECORDED: LEDGER_ENTRY,
    "avatar.ready": READY,
    "avatar.failed": PROCESSING.model_copy(update={"status": "failed", "failure_reason": "no_face"}),
    THRESHOLD_REACHED: ThresholdReached(
        object="usage_threshold",
        account_id=ACCOUNT,
        key_id=None,
        period_start=MONTH,
        threshold_credits=500,
        used_credits=500.5,
    ),
    ENDPOINT_DISABLED: _DISABLED,
    ENDPOINT_TEST: _ENDPOINT,
}


def webhook(kind: str) -> BaseModel:
    """What is sent of an event of this type."""
    if kind in _OTHERS:
        return _told(kind, None, None, _OTHERS[kind])
    if kind == HEARTBEAT:
        return _told(kind, None, 1, RUNNING, n=8)
    return _told(kind, 1 if kind == "session.created" else 4, 1, _SESSIONS.get(kind, RUNNING))


def _told(kind: str, seq: int | None, attempt: int | None, data: BaseModel, **further: int) -> BaseModel:
    told = {"type": kind, "timestamp": ENDED, "seq": seq, "attempt": attempt, **further}
    return body_of(kind).model_validate({**told, "data": data.model_dump(by_alias=True)})


_BODY = WebhookBody(type="session.created", timestamp=CREATED, seq=1, attempt=1, data=QUEUED).model_dump()

REQUESTS: Mapping[str, JsonObject] = MappingProxyType(
    {
        "create_webhook_endpoint": {"url": "https://example.com/hook", "events": ["session.*"]},
        "update_webhook_endpoint": {"enabled": True},
        "rotate_webhook_secret": {"previous_expires_in_seconds": 86_400},
        "replay_webhooks": {"since": CREATED},
    }
)
ANSWERS: Mapping[str, BaseModel] = MappingProxyType(
    {
        "create_webhook_endpoint": _NEW,
        "rotate_webhook_secret": _NEW,
        "get_webhook_endpoint": _ENDPOINT,
        "update_webhook_endpoint": _ENDPOINT,
        "list_webhook_endpoints": WebhookEndpointList(data=[_ENDPOINT], has_more=False, next_cursor=None),
        "test_webhook_endpoint": _DELIVERY.model_copy(
            update={"type": ENDPOINT_TEST, "session_id": None, "status": "pending", "attempts": 0, "finished_at": None}
        ),
        "replay_webhooks": ReplayResource(deliveries=42, through="41", has_more=False),
        "list_webhook_deliveries": WebhookDeliveryList(data=[_DELIVERY], has_more=False, next_cursor=None),
        "redeliver_webhook": _DELIVERY.model_copy(update={"status": "pending", "finished_at": None}),
        "get_webhook_delivery": WebhookDeliveryDetail(
            **_DELIVERY.model_dump(),
            body=_BODY,
            tried=[WebhookAttempt(n=1, at=CREATED, status=204, latency_ms=18, error=None, answer="")],
        ),
    }
)
"""By operation id."""
