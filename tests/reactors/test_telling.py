"""What is told of a session once it is erased."""

from __future__ import annotations

import os

import pytest
from msgspec import structs

from events.fold import Evolved
from events.sealing import NO_KEYS, DataKey, KeySet, field_aad
from events.session_state import State
from events.sessions import evolve
from projections.resources import resource
from reactors.telling import erased
from schemas import webhooks
from schemas.events import Encrypted, EventTransport
from tests.builders import T0, created, event

pytestmark = pytest.mark.unit

SID = "sess_01JDXXXXXXXXXXXXXXXXXXXXXX"


@pytest.mark.parametrize("agent", ["agent", None])
def test_a_body_that_was_stored_becomes_what_would_be_told_without_the_key(agent: str | None) -> None:
    key = DataKey.of(SID, os.urandom(32))

    def hidden(name: str, text: str) -> Encrypted:
        return key.encrypt(text, field_aad(SID, name))

    transport = EventTransport(
        "livekit",
        hidden("url", "wss://a"),
        hidden("room_name", "room"),
        hidden("worker_identity", "face"),
        "data_stream",
        hidden("subscribe_to_identity", agent) if agent else None,
        False,
    )
    data = structs.replace(created(SID), transport=transport, metadata=hidden("metadata", '{"k":"v"}'))
    outcome = evolve(None, event(data), T0)
    assert isinstance(outcome, Evolved)
    with_key, without = (_body(outcome.state, keys) for keys in (KeySet(key), NO_KEYS))
    assert b"room" in with_key
    assert erased(with_key) == erased(without) == without


def _body(state: State, keys: KeySet) -> bytes:
    return webhooks.body("session.created", T0, resource(state, keys), seq=1, attempt=1)


def test_the_word_of_the_erasure_itself_is_not_changed_by_another() -> None:
    outcome = evolve(None, event(created(SID)), T0)
    assert isinstance(outcome, Evolved)
    state = outcome.state
    state.erased_ms = T0
    body = _body(state, NO_KEYS)
    assert b"_avatar.erased_at" in body
    assert erased(body) == body


def test_what_is_of_no_session_stays() -> None:
    body = webhooks.body("usage.recorded", T0, {"object": "usage_event", "session_id": SID})
    assert erased(body) == body
