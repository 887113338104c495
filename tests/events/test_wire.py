"""Envelope, sealing and metering."""

from __future__ import annotations

import base64
import os

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from events.codec import Malformed, Unknown, decode, encode
from events.metering import GRACE_MS, Billed, charge
from events.sealing import (
    DataKey,
    Keyring,
    SealError,
    new_worker_key,
    public_text,
    seal,
    sign_state,
    state_is_genuine,
    unseal,
)
from schemas.assignments import Task
from schemas.events import Meter, WorkerState
from schemas.times import from_wire, to_wire
from tests.builders import beat, created, event, session_id

pytestmark = pytest.mark.unit

SID = session_id()
TASK = Task(
    session_id=SID,
    account_id="acct_1",
    url="wss://x",
    room_name="r",
    worker_identity="i",
    worker_token="secret-token",
    audio_source="data_stream",
    subscribe_to_identity=None,
    synthetic_audio_if_no_input=False,
    avatar_id="av_demo",
    quality="mock",
    max_duration_ms=1000,
    idle_timeout_ms=1000,
    accepted_ms=0,
)


def test_an_event_survives_the_wire() -> None:
    for data in (created(SID), beat(SID, 3, 1200)):
        original = event(data)
        value, headers = encode(original)
        assert decode(value, headers) == original
        names = dict(headers)
        assert names["ce_specversion"] == b"1.0"
        assert names["ce_subject"] == SID.encode()
        assert names["ce_dataschema"] == f"urn:greenroom:{original.type}:1".encode()
        assert value == msgspec.json.encode(msgspec.json.decode(value), order="sorted")


def test_bytes_that_are_no_event() -> None:
    value, headers = encode(event(created(SID)))
    for broken in ((b"{", headers), (None, headers), (value, []), (b'{"session_id": 4}', headers)):
        with pytest.raises(Malformed):
            decode(*broken)
    without_time = [(k, v) for k, v in headers if k != "ce_time"]
    with pytest.raises(Malformed):
        decode(value, without_time)


@pytest.mark.parametrize("schema", ["urn:greenroom:session.created:2", "urn:greenroom:session.danced:1", "urn:x"])
def test_newer_and_foreign_types_are_unknown_not_malformed(schema: str) -> None:
    value, headers = encode(event(created(SID)))
    with pytest.raises(Unknown):
        decode(value, [(k, schema.encode() if k == "ce_dataschema" else v) for k, v in headers])


def test_unknown_fields_of_a_known_version_are_ignored() -> None:
    value, headers = encode(event(beat(SID, 1, 10)))
    more = msgspec.json.encode({**msgspec.json.decode(value), "new_field": 1})
    assert decode(more, headers).data == beat(SID, 1, 10)


@given(st.integers(0, 4_000_000_000_000))
def test_times_survive_the_wire(time_ms: int) -> None:
    assert from_wire(to_wire(time_ms)) == time_ms


def test_a_task_opens_for_its_worker_and_attempt_alone() -> None:
    key = new_worker_key()
    sealed = seal(TASK, 1, "wrk_1", public_text(key))
    assert "secret-token" not in sealed
    assert unseal(sealed, SID, 1, "wrk_1", key) == TASK
    for sid, attempt, worker, own in (
        (SID, 2, "wrk_1", key),
        (SID, 1, "wrk_2", key),
        (SID, 1, "wrk_1", new_worker_key()),
    ):
        with pytest.raises(SealError):
            unseal(sealed, sid, attempt, worker, own)
    with pytest.raises(SealError):
        unseal("AAAA", SID, 1, "wrk_1", key)


def test_a_worker_state_is_genuine_only_under_the_join_secret() -> None:
    state = WorkerState("wrk_1", "ready", 2, ["mock"], "cpu", "k", 3, [(SID, 1)], [], "0", 0, "")
    signed = sign_state(state, "join")
    assert state_is_genuine(signed, "join")
    assert not state_is_genuine(signed, "other")
    assert not state_is_genuine(state, "join")
    assert not state_is_genuine(msgspec.structs.replace(signed, public_key="mine"), "join")
    assert not state_is_genuine(sign_state(state, ""), "")


def test_master_keys_rotate() -> None:
    old, new = Keyring.generate("k1"), Keyring.generate("k2")
    key_id, sealed = Keyring(old).wrap(b"plain", "context")
    both = Keyring(f"{new},{old}")
    assert both.unwrap(key_id, sealed, "context") == b"plain"
    assert both.wrap(b"x", "c")[0] == "k2"
    with pytest.raises(SealError):
        both.unwrap(key_id, sealed, "another context")
    with pytest.raises(SealError):
        Keyring(new).unwrap(key_id, sealed, "context")
    for wrong in ("", "k1:short", f"k1:{base64.b64encode(b'x').decode()}"):
        with pytest.raises(SealError):
            Keyring(wrong)


def test_erasable_fields_open_in_their_place_alone() -> None:
    key = DataKey("dk_1", AESGCM(os.urandom(32)))
    hidden = key.encrypt("demo-room", f"{SID}.room_name")
    assert "demo-room" not in hidden.enc
    assert key.decrypt(hidden, f"{SID}.room_name") == "demo-room"
    with pytest.raises(SealError):
        key.decrypt(hidden, f"{SID}.url")
    with pytest.raises(SealError):
        DataKey("dk_2", AESGCM(os.urandom(32))).decrypt(hidden, f"{SID}.room_name")


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 10_000)), min_size=1, max_size=20)
)
def test_no_sequence_of_readings_bills_more_than_passed(readings: list[tuple[int, int, int]]) -> None:
    """Whatever a worker claims: never negative, never beyond the bound, flagged exactly when it claimed too much."""
    billed, now = Billed(), 0
    for claimed_ms, frames, passed_ms in readings:
        now += passed_ms
        cost = charge(Meter(claimed_ms, frames, 0), now, 0, billed)
        assert cost.ms >= 0
        assert cost.frames >= 0
        assert cost.total.ms == billed.ms + cost.ms <= now + GRACE_MS
        assert bool(cost.flags) == (claimed_ms > now + GRACE_MS)
        billed = cost.total
