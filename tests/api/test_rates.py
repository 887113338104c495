"""Attempts of a key, counted by a process for itself."""

from __future__ import annotations

import pytest

from api.errors import RateLimited
from api.rates import Attempts
from tests.builders import Clock

pytestmark = pytest.mark.unit


def taken(attempts: Attempts, most: int, key: str = "key_1", creates_per_minute: int = 10) -> int:
    """How many of `most` were let through."""
    count = 0
    try:
        for _ in range(most):
            attempts.take(key, creates_per_minute)
            count += 1
    except RateLimited:
        pass
    return count


def test_a_minutes_attempts_at_once_and_then_as_they_come() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    assert taken(attempts, 1000) == 60
    clock.now += 1
    assert taken(attempts, 1000) == 1
    clock.now += 10
    assert taken(attempts, 1000) == 10
    clock.now += 3600
    assert taken(attempts, 1000) == 60


def test_what_is_counted_for_itself() -> None:
    assert taken(Attempts(Clock(), per_create=1), 1000) == 10


def test_each_key_has_its_own() -> None:
    attempts = Attempts(Clock())
    assert taken(attempts, 1000) == 60
    assert taken(attempts, 1000, "key_2", 1) == 6


def test_the_answer_says_when() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    taken(attempts, 6, creates_per_minute=1)
    with pytest.raises(RateLimited) as refused:
        attempts.take("key_1", 1)
    assert refused.value.retry_after == 10
    assert refused.value.headers == {
        "RateLimit-Limit": "6",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "60",
    }
    clock.now += 10
    attempts.take("key_1", 1)


def test_keys_that_are_full_again_are_forgotten() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for n in range(20_000):
        attempts.take(f"key_{n}", 10)
        clock.now += 0.01
    assert len(attempts._full_at) <= 10_000
