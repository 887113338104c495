"""How a customer is told of anything: an event in the account's feed, and a delivery to each endpoint that wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from projections import resources
from schemas.events import BY_NAME, ENDPOINT_DISABLED
from schemas.ids import EVENT, derived_id
from schemas.times import from_datetime
from store import deliveries, endpoints, feed
from store.database import Connection
from store.endpoints import Endpoint


@dataclass(frozen=True)
class Told:
    """`body`: JSON. `session_id` and `seq` give the order of deliveries; empty and 0 for what is of no session."""

    account_id: str
    event_id: str
    type: str
    body: bytes
    session_id: str = ""
    seq: int = 0


def wanted(kind: str, patterns: list[str]) -> bool:
    """Whether an endpoint's `events` name this type: exactly, or, unless it is BY_NAME, by `*` or a prefix."""
    return kind in patterns or (
        kind not in BY_NAME and any(p == "*" or (p.endswith(".*") and kind.startswith(p[:-1])) for p in patterns)
    )


async def tell(connection: Connection, told: Sequence[Told]) -> None:
    """In the caller's transaction, at its end: it holds the accounts' feeds until the commit."""
    if not told:
        return
    subscriptions = await endpoints.subscriptions(connection, {each.account_id for each in told})
    made = [
        delivery(endpoint_id, each)
        for each in told
        for endpoint_id, patterns in subscriptions.get(each.account_id, ())
        if wanted(each.type, patterns)
    ]
    if made:
        await deliveries.insert(connection, made)
    await feed.append(
        connection,
        [
            feed.New(each.account_id, each.event_id, each.type, each.session_id, each.seq, each.body)
            for each in told
            if each.type not in BY_NAME
        ],
    )


def erased(body: bytes) -> bytes:
    """What is told of the same event once its session is erased."""
    told = orjson.loads(body)
    if told["data"].get("object") == "session":
        resources.erase(told["data"])
    return orjson.dumps(told)


def told_disabled(endpoint: Endpoint) -> Told:
    """That we have disabled it: for the account's feed and its other endpoints."""
    assert endpoint.disabled_at is not None
    at_ms = from_datetime(endpoint.disabled_at)
    event_id = derived_id(EVENT, at_ms, endpoint.id, ENDPOINT_DISABLED)
    return Told(endpoint.account_id, event_id, ENDPOINT_DISABLED, endpoints.body(endpoint, ENDPOINT_DISABLED, at_ms))


def delivery(endpoint_id: str, told: Told) -> deliveries.New:
    return deliveries.New(
        id=deliveries.delivery_id(told.event_id, endpoint_id),
        endpoint_id=endpoint_id,
        account_id=told.account_id,
        session_id=told.session_id,
        event_id=told.event_id,
        type=told.type,
        seq=told.seq,
        body=told.body,
    )
