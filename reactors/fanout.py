"""What customers are told: an event in their account's feed, and a delivery for each endpoint that wants it, both
inserted with the checkpoint."""

from __future__ import annotations

import orjson

from events.sealing import DataKey
from events.session_state import State
from projections import names
from projections.folding import SessionChange, SessionsFolded
from projections.resources import resource
from projections.states import StoredStates
from schemas.events import PUBLIC
from schemas.ids import WEBHOOK_DELIVERY, derived_id
from schemas.times import to_wire
from store import admissions, deliveries, endpoints, feed
from store.accounts import AccountErased, DataKeys
from store.database import Connection


def wanted(kind: str, patterns: list[str]) -> bool:
    """Whether an endpoint's `events` name this type: exactly, by `*`, or by a prefix such as `session.*`."""
    return any(p in ("*", kind) or (p.endswith(".*") and kind.startswith(p[:-1])) for p in patterns)


class FanOut(StoredStates):
    """It writes what must be sent; `greenroom deliver` sends it."""

    name = names.WEBHOOKS

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys

    async def apply(self, connection: Connection, folded: SessionsFolded) -> None:
        changes = [c for c in folded.changes if _public(c)]
        if changes:
            await self._fan_out(connection, changes)
        await self.save(connection, folded)

    async def _fan_out(self, connection: Connection, changes: list[SessionChange]) -> None:
        abandoned = await admissions.abandoned(connection, [c.event.subject for c in changes])
        told = [change for change in changes if change.event.subject not in abandoned]
        subscriptions = await endpoints.subscriptions(connection, {_account(c.evolved.state) for c in told})
        events: list[feed.New] = []
        made: list[deliveries.New] = []
        for change in told:
            kind, account_id = change.evolved.transition or "", _account(change.evolved.state)
            body = _body(change, await self._key(account_id))
            events.append(feed.New(account_id, change.event.id, kind, body))
            matching = (e for e, patterns in subscriptions.get(account_id, ()) if wanted(kind, patterns))
            made.extend(_delivery(endpoint_id, change, body) for endpoint_id in matching)
        if made:
            await deliveries.insert(connection, made)
        if events:  # last: it holds the accounts' feeds until the commit
            await feed.append(connection, events)

    async def _key(self, account_id: str) -> DataKey | None:
        try:
            return await self._keys.of(account_id)
        except AccountErased:
            return None


def _public(change: SessionChange) -> bool:
    return change.evolved.transition in PUBLIC and not change.evolved.state.hidden


def _account(state: State) -> str:
    assert state.created is not None  # public transitions have one
    return state.created.account_id


def _body(change: SessionChange, key: DataKey | None) -> bytes:
    """Frozen now: a late retry tells what was true then."""
    state = change.evolved.state
    return orjson.dumps(
        {
            "type": change.evolved.transition,
            "timestamp": to_wire(state.last_ms),
            "seq": state.seq,
            "attempt": state.attempt,
            "data": resource(state, key),
        }
    )


def _delivery(endpoint_id: str, change: SessionChange, body: bytes) -> deliveries.New:
    event, state = change.event, change.evolved.state
    return deliveries.New(
        id=derived_id(WEBHOOK_DELIVERY, event.time_ms, event.id, endpoint_id),
        endpoint_id=endpoint_id,
        account_id=_account(state),
        session_id=state.session_id,
        event_id=event.id,
        type=change.evolved.transition or "",
        seq=state.seq,
        body=body,
    )
