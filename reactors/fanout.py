"""What customers are told of their sessions, inserted with the checkpoint."""

from __future__ import annotations

import orjson

from events.sealing import DataKey
from events.session_state import State
from projections import names
from projections.folding import SessionChange, SessionsFolded
from projections.resources import resource
from projections.states import StoredStates
from reactors.telling import Told, tell
from schemas.events import PUBLIC
from schemas.times import to_wire
from store import admissions
from store.accounts import DataKeys
from store.database import Connection


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
        told = [
            _told(change, await self._keys.if_kept(_account(change.evolved.state)))
            for change in changes
            if change.event.subject not in abandoned
        ]
        await tell(connection, told)


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


def _told(change: SessionChange, key: DataKey | None) -> Told:
    event, state = change.event, change.evolved.state
    return Told(
        account_id=_account(state),
        event_id=event.id,
        time_ms=event.time_ms,
        type=change.evolved.transition or "",
        body=_body(change, key),
        session_id=state.session_id,
        seq=state.seq,
    )
