"""Standing by: when a fenced projection takes its partitions back. An injected clock, no server."""

from __future__ import annotations

import pytest

from projections.checkpoints import PATIENCE_S, Bound, Claim
from tests.builders import Clock

pytestmark = pytest.mark.unit


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def claim(clock: Clock) -> Claim:
    """Of partition 0, just lost at offset 10."""
    claim = Claim("usage", "sessions.v1", "me", clock)
    claim.take({0: Bound(1, 10), 1: Bound(4, 20)})
    claim.take({0: Bound(2, 10), 1: Bound(4, 20)})
    return claim


def test_an_owner_that_moves_is_left_alone(claim: Claim, clock: Clock) -> None:
    for offset in range(10, 500):
        clock.now += PATIENCE_S - 1
        assert not claim.stands(0, Bound(2, offset), 1000)


def test_an_owner_that_does_not_move_is_given_up(claim: Claim, clock: Clock) -> None:
    assert not claim.stands(0, Bound(2, 10), 1000)
    clock.now += PATIENCE_S
    assert not claim.stands(0, Bound(2, 10), 1000)
    clock.now += 0.1
    assert claim.stands(0, Bound(2, 10), 1000)


def test_nothing_more_to_read_is_no_idleness(claim: Claim, clock: Clock) -> None:
    for _ in range(5):
        clock.now += 2 * PATIENCE_S
        assert not claim.stands(0, Bound(2, 10), 10)
    assert not claim.stands(0, Bound(2, 10), 11)  # a record: its time begins now


def test_an_owner_that_has_just_bound_gets_its_time(claim: Claim, clock: Clock) -> None:
    for generation in range(3, 20):
        clock.now += PATIENCE_S + 1
        assert not claim.stands(0, Bound(generation, 10), 1000)


def test_the_generation_says_what_is_lost(claim: Claim) -> None:
    assert claim.bound == {1: Bound(4, 20)}
    assert set(claim.lost) == {0}


def test_what_is_lost_stays_so_until_it_is_assigned_anew(claim: Claim) -> None:
    claim.take({0: Bound(2, 99), 1: Bound(4, 30)})
    assert (claim.bound, set(claim.lost)) == ({1: Bound(4, 30)}, {0})
    claim.renew()
    claim.take({0: Bound(3, 99), 1: Bound(5, 30)})
    assert (set(claim.bound), claim.lost) == ({0, 1}, {})
