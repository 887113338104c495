"""Ids are ULIDs, as the library makes them."""

from __future__ import annotations

import os
import time

import pytest
from ulid import ULID

from schemas.ids import EVENT, SESSION, _ulid, derived_id, new_id

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("time_ms", [0, 1, 1_764_000_000_123, 2**48 - 1])
def test_the_text_is_that_of_the_library(time_ms: int) -> None:
    for random in (bytes(10), b"\xff" * 10, *(os.urandom(10) for _ in range(100))):
        assert _ulid(time_ms, random) == str(ULID(time_ms.to_bytes(6, "big") + random))


def test_a_new_id_is_of_this_moment_and_never_the_same() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id(SESSION) for _ in range(1000)]
    assert len(set(made)) == 1000
    moments = [ULID.from_str(each.removeprefix("sess_")).milliseconds for each in made]
    assert before <= min(moments) <= max(moments) <= time.time_ns() // 1_000_000


def test_a_derived_id_is_the_same_in_every_replay() -> None:
    assert derived_id(EVENT, 1_764_000_000_123, "a", "b") == "evt_01KAV9FT3VB6S73BGVQJRX67A1"
    assert derived_id(EVENT, 1_764_000_000_123, "ab") != derived_id(EVENT, 1_764_000_000_123, "a", "b")


@pytest.mark.parametrize("time_ms", [-1, 2**48])
def test_a_time_beyond_48_bits_has_no_id(time_ms: int) -> None:
    with pytest.raises(OverflowError):
        derived_id(EVENT, time_ms, "a")
