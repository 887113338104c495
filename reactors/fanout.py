"""What customers are told of their sessions and avatars, inserted with the checkpoint; `greenroom deliver` sends it."""

from __future__ import annotations

import msgspec

from events.avatars import Avatar
from events.sealing import KeySet
from events.session_state import State
from projections import avatars, names
from projections.folding import Change, Folded, SessionChange, SessionsFolded
from projections.resources import ledger_entry, resource
from projections.states import Form, SessionStates, StoredStates
from projections.summaries import entry_of
from reactors.telling import Told, tell
from schemas import webhooks
from schemas.events import HEARTBEAT, PUBLIC, USAGE_RECORDED, SessionHeartbeat
from store import admissions, endpoints
from store.data_keys import DataKeys
from store.database import Connection


class FanOut(SessionStates):
    name = names.WEBHOOKS

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys

    async def apply(self, connection: Connection, folded: SessionsFolded) -> None:
        shown = [change for change in folded.changes if not change.evolved.state.hidden]
        opted = await endpoints.opted_in(connection, {_account(change.evolved.state) for change in shown})
        changes = [c for c in shown if c.evolved.transition in PUBLIC or _account(c.evolved.state) in opted]
        if changes:
            await self._fan_out(connection, changes)
        await self.save(connection, folded)

    async def _fan_out(self, connection: Connection, changes: list[SessionChange]) -> None:
        abandoned = await admissions.abandoned(connection, [c.event.subject for c in changes])
        accounts = {c.event.subject: _account(c.evolved.state) for c in changes}
        keys = await self._keys.for_telling(connection, accounts)
        told = [
            each
            for change in changes
            if change.event.subject not in abandoned
            for each in _told(change, keys[change.event.subject])
        ]
        await tell(connection, told)


def _account(state: State) -> str:
    assert state.created is not None  # those that are shown have one
    return state.created.account_id


def _told(change: SessionChange, keys: KeySet) -> list[Told]:
    """A body is frozen now: a late retry tells what was true then."""
    event, state, usage = change.event, change.evolved.state, change.evolved.usage
    told = []
    if change.evolved.transition in PUBLIC:
        kind, shown = change.evolved.transition, resource(state, keys)
        body = webhooks.body(kind, state.last_ms, shown, seq=state.seq, attempt=state.attempt)
        told.append(_of_session(state, event.id, kind, body))
    if isinstance(event.data, SessionHeartbeat):
        shown = resource(state, keys)
        body = webhooks.body(HEARTBEAT, state.last_ms, shown, attempt=state.attempt, n=event.data.n)
        told.append(_of_session(state, event.id, HEARTBEAT, body))
    if usage is not None:
        body = webhooks.body(USAGE_RECORDED, change.append_ms, ledger_entry(entry_of(change)))
        told.append(_of_session(state, usage.facts.id, USAGE_RECORDED, body))
    return told


def _of_session(state: State, event_id: str, kind: str, body: bytes) -> Told:
    return Told(_account(state), event_id, kind, body, session_id=state.session_id, seq=state.seq)


class AvatarFanOut(StoredStates[Avatar]):
    """It keeps states of its own: what the avatars' projection has read is not what was told."""

    name = names.AVATAR_WEBHOOKS
    form = Form(
        msgspec.json.Encoder().encode, msgspec.json.Decoder(Avatar).decode, lambda avatar: avatar.status != "processing"
    )

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys

    async def apply(self, connection: Connection, folded: Folded[Avatar]) -> None:
        decided = [change for change in folded.changes if change.evolved.transition in PUBLIC]
        keys = await self._keys.for_telling(connection, {c.event.subject: _owner(c.evolved.state) for c in decided})
        await tell(connection, [_told_of_avatar(change, keys[change.event.subject]) for change in decided])
        await self.save(connection, folded)


def _owner(avatar: Avatar) -> str:
    assert avatar.account_id is not None  # one that was created
    return avatar.account_id


def _told_of_avatar(change: Change[Avatar], keys: KeySet) -> Told:
    avatar, kind = change.evolved.state, change.evolved.transition
    assert kind is not None
    data = avatars.resource(avatar, keys).model_dump()
    return Told(_owner(avatar), change.event.id, kind, webhooks.body(kind, change.event.time_ms, data))
