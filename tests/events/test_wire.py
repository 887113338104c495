"""Envelope, sealing and metering."""

from __future__ import annotations

import base64
import os
from typing import Any

import msgspec
import pytest
from aiokafka.partitioner import DefaultPartitioner
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from events import codec
from events.codec import Event, Malformed, Unknown, decode, encode
from events.metering import GRACE_MS, Billed, charge
from events.sealing import (
    NO_KEYS,
    DataKey,
    Keyring,
    KeySet,
    SealError,
    data_key_id,
    new_worker_key,
    public_text,
    seal,
    sign_state,
    state_is_genuine,
    unseal,
)
from events.sessions import decode_session_event
from events.topics import SESSIONS, partition_of
from events.upcasting import UPCASTERS
from schemas.events import CATALOGUE, Meter, WorkerState
from schemas.times import from_wire, to_wire
from tests.builders import beat, created, event, record, session_id, task

pytestmark = pytest.mark.unit

SID = session_id()
ANOTHER = b"sess_01M8719NW012W9B892YXT9JH14"
TASK = task(session_id=SID, worker_token="secret-token", accepted_ms=0)


def test_an_event_survives_the_wire() -> None:
    for data in (created(SID), beat(SID, 3, 1200)):
        original = event(data)
        value, headers = encode(original)
        assert decode(record(original)) == original
        names = dict(headers)
        assert names["ce_specversion"] == b"1.0"
        assert names["ce_subject"] == SID.encode()
        assert names["ce_dataschema"] == f"urn:greenroom:{original.type}:1".encode()
        assert value == msgspec.json.encode(msgspec.json.decode(value), order="sorted")


CREATED = event(created(SID))
VALUE, HEADERS = encode(CREATED)


def header(name: str, value: bytes | None) -> list[tuple[str, bytes | None]]:
    """The headers of a valid event with one of them replaced."""
    return [(k, value if k == name else v) for k, v in HEADERS]


def without(name: str) -> list[tuple[str, bytes]]:
    return [(k, v) for k, v in HEADERS if k != name]


@pytest.mark.parametrize(
    "changes",
    [
        {"value": b"{"},
        {"value": None},
        {"value": b'{"session_id": 4}'},
        {"value": VALUE[:-1] + b',"more":' + b"[" * 2000 + b"]" * 2000 + b"}"},
        {"value": VALUE[:-1] + b',"more":' + b"[" * 65 + b"]" * 65 + b"}"},
        {"value": VALUE.replace(b'"attempt":1', b'"attempt":2147483647')},
        {"value": VALUE.replace(b'"attempt":1', b'"attempt":-1')},
        {"value": VALUE.replace(b'"attempt":1', b'"attempt":' + b"9" * 5000)},
        {"value": VALUE.replace(b"acct_1", b"acct\\u0000")},
        {"value": VALUE.replace(b"acct_1", b"acct_1\\n")},
        {"value": VALUE.replace(b"acct_1", b"a" * 3000)},
        {"value": VALUE.replace(b"acct_1", b"\xff")},
        {"headers": []},
        {"headers": without("ce_time")},
        {"headers": header("ce_time", None)},
        {"headers": header("ce_time", b"1969-12-31T23:59:59.999Z")},
        {"headers": header("ce_time", b"3000-01-01T00:00:00Z")},
        {"headers": header("ce_time", b"0001-01-01T00:00:00+23:59")},
        {"headers": header("ce_time", b"yesterday")},
        {"headers": header("ce_id", None)},
        {"headers": header("ce_id", b"")},
        {"headers": header("ce_id", b"evt_\x00")},
        {"headers": header("ce_id", b"e" * 129)},
        {"headers": header("ce_source", b"\xff")},
        {"headers": [*HEADERS, ("ce_account", b"\xff\xfe")]},
        {"headers": header("ce_type", b"session.starting")},
        {"headers": header("ce_dataschema", "urn:greenroom:session.created:²".encode())},
        {"headers": header("ce_dataschema", b"urn:greenroom:session.created:" + b"9" * 5000)},
        {"headers": header("ce_dataschema", b"urn:greenroom:session.created:" + b"9" * 90)},
        {"headers": header("ce_subject", ANOTHER)},
        {"key": ANOTHER},
        {"key": None},
        {"at": -1},
        {"at": 2**62},
    ],
    ids=lambda changes: "-".join(f"{k}:{str(v)[-40:]}" for k, v in changes.items()),
)
def test_what_can_never_be_read(changes: dict[str, Any]) -> None:
    """Each of these ended every consumer, or would have, on its way through fold and tables."""
    with pytest.raises(Malformed):
        decode(record(CREATED, **changes))


def test_a_reason_holds_no_byte_of_the_record() -> None:
    for changes in (
        {"value": VALUE.replace(b'"standard"', b'"secret-value"')},
        {"headers": header("ce_time", b"secret-value")},
        {"headers": header("ce_id", b"secret-value" * 20)},
        {"headers": header("ce_source", b"secret-value\xff")},
    ):
        with pytest.raises(Malformed) as caught:
            decode(record(CREATED, **changes))
        assert "secret" not in str(caught.value)


def test_whether_a_record_can_be_read_does_not_depend_on_who_reads() -> None:
    """Python's own limit counts from the caller: two consumers could bill differently."""
    nested = record(CREATED, value=VALUE[:-1] + b',"more":' + b"[" * 60 + b"]" * 60 + b"}")

    def deeper(levels: int) -> Event:
        return deeper(levels - 1) if levels else decode(nested)

    assert deeper(0) == deeper(500) == CREATED


def test_brackets_within_texts_do_not_count() -> None:
    assert decode(record(CREATED, value=VALUE[:-1] + b',"more":"' + b"[{" * 100 + b'\\""}')) == CREATED


def test_a_null_header_that_nobody_needs_is_none() -> None:
    assert decode(record(CREATED, headers=[*HEADERS, ("ce_correlation", None)])).correlation is None


def test_a_session_event_outside_of_its_keys_partition_has_no_place_in_its_order() -> None:
    fine = record(CREATED)
    assert decode_session_event(fine) == CREATED
    with pytest.raises(Malformed, match="partition"):
        decode_session_event(record(CREATED, partition=(fine.partition + 1) % SESSIONS.partitions))


def test_the_partition_of_a_key_is_kafkas() -> None:
    """Against aiokafka's own partitioner, which our producer uses."""
    choose, places = DefaultPartitioner(), list(range(SESSIONS.partitions))
    for key in (session_id().encode(), b"", b"x", "schön".encode()):
        assert partition_of(key) == choose(key, places, places)


@pytest.mark.parametrize("schema", ["urn:greenroom:session.created:2", "urn:greenroom:session.danced:1", "urn:x"])
def test_newer_and_foreign_types_are_unknown_not_malformed(schema: str) -> None:
    with pytest.raises(Unknown):
        decode(record(CREATED, headers=header("ce_dataschema", schema.encode())))


def test_an_upcaster_that_finds_another_shape_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "session.created", CATALOGUE["session.created"]._replace(version=2))
    monkeypatch.setattr(codec, "_NAME_OF_SCHEMA", {})
    monkeypatch.setitem(UPCASTERS, ("session.created", 1), lambda content: {**content, "plan": content["plan"]})
    assert decode(record(CREATED)) == CREATED
    for value in (b"[]", b"4", b"{}", b"null"):
        with pytest.raises(Malformed):
            decode(record(CREATED, value=value))


def test_unknown_fields_of_a_known_version_are_ignored() -> None:
    original = event(beat(SID, 1, 10))
    more = msgspec.json.encode({**msgspec.json.decode(encode(original)[0]), "new_field": 1})
    assert decode(record(original, value=more)).data == beat(SID, 1, 10)


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


def test_a_sessions_key_opens_with_its_accounts_and_for_that_session_alone() -> None:
    account, other = (DataKey.of(name, os.urandom(32)) for name in ("acct_1", "acct_2"))
    wrapped = account.wrap(DataKey.generate(), SID)
    key = account.unwrap(wrapped, SID)
    hidden = key.encrypt("demo-room", "aad")
    assert key.key_id == hidden.key_id == data_key_id(SID)
    assert KeySet(account, key).decrypt(hidden, "aad") == "demo-room"
    for keys in (NO_KEYS, KeySet(account)):
        with pytest.raises(SealError):
            keys.decrypt(hidden, "aad")
    for who, whose in ((other, SID), (account, "sess_another")):
        with pytest.raises(SealError):
            who.unwrap(wrapped, whose)


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


def test_a_reading_beyond_the_bound_is_cut_and_never_divides_by_zero() -> None:
    """The broker's clock went back by more than the grace: the bound is negative, and the first reading is 0."""
    assert charge(Meter(0, 0, 0), 1000, 10_000, Billed()).total == Billed()
    assert charge(Meter(0, 7, 0), 1000, 10_000, Billed()) == charge(Meter(0, 7, 0), 1000, 1000 + GRACE_MS + 1, Billed())
    assert charge(Meter(0, 7, 0), 1000, 10_000, Billed()).flags == ("bounded",)
