"""How a customer is told of anything: an event in the account's feed, and a delivery to each endpoint that wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.ids import WEBHOOK_DELIVERY, derived_id
from store import deliveries, endpoints, feed
from store.database import Connection


@dataclass(frozen=True)
class Told:
    """`body`: JSON. `session_id` and `seq` give the order of deliveries; empty and 0 for what is of no session."""

    account_id: str
    event_id: str
    time_ms: int
    type: str
    body: bytes
    session_id: str = ""
    seq: int = 0


def wanted(kind: str, patterns: list[str]) -> bool:
    """Whether an endpoint's `events` name this type: exactly, by `*`, or by a prefix such as `session.*`."""
    return any(p in ("*", kind) or (p.endswith(".*") and kind.startswith(p[:-1])) for p in patterns)


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
    await feed.append(connection, [feed.New(each.account_id, each.event_id, each.type, each.body) for each in told])


def delivery(endpoint_id: str, told: Told) -> deliveries.New:
    return deliveries.New(
        id=derived_id(WEBHOOK_DELIVERY, told.time_ms, told.event_id, endpoint_id),
        endpoint_id=endpoint_id,
        account_id=told.account_id,
        session_id=told.session_id,
        event_id=told.event_id,
        type=told.type,
        seq=told.seq,
        body=told.body,
    )
