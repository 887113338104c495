"""Whose silence means that it is lost, on a clock of the test's."""

from __future__ import annotations

import pytest

from reactors.presence import LOST_AFTER_S, PASS_S, Presence

pytestmark = pytest.mark.unit

FLEET = [f"wrk_{n}" for n in range(8)]


class Reader:
    """The directory's loop: a pass every 0.2 s, each worker heard every second, the end asked for in each pass."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.presence = Presence()
        self.lost: set[str] = set()

    def read(self, seconds: float, heard: list[str]) -> None:
        until = self.now + seconds
        while self.now < until:
            self.presence.passes(self.now)
            asked_at = self.now
            if int(self.now * 5) % 5 == 0:
                for worker_id in heard:
                    self.presence.heard(worker_id, self.now)
            self.presence.reached(asked_at, self.now)
            self.lost |= set(self.presence.silent())
            self.now += 0.2


@pytest.fixture
def reader() -> Reader:
    made = Reader()
    made.read(20, FLEET)
    assert made.presence.judges
    assert made.lost == set()
    return made


def test_who_is_silent_while_all_is_read_is_lost(reader: Reader) -> None:
    reader.read(LOST_AFTER_S - 1, FLEET[1:])
    assert reader.lost == set()
    reader.read(2, FLEET[1:])
    assert reader.lost == {FLEET[0]}


def test_a_stall_of_the_reader_is_nobodys_silence(reader: Reader) -> None:
    """13 s in which nothing was read; then one buffered fetch that held the records of half of the fleet."""
    reader.now += 13
    reader.read(0.2, FLEET[:4])
    reader.read(LOST_AFTER_S - 1, FLEET)
    assert reader.lost == set()
    reader.read(20, FLEET)
    assert reader.lost == set()


def test_a_pass_that_takes_long_is_a_stall_too(reader: Reader) -> None:
    """A database that does not answer, in the middle of a pass."""
    for _ in range(6):
        reader.read(0.2, [])
        reader.now += 2.5
    assert reader.lost == set()


def test_a_way_to_the_end_that_takes_long_is_a_break(reader: Reader) -> None:
    """Kafka answers slowly: what was the end when it was asked for says nothing of now."""
    asked_at = reader.now
    for _ in range(15):
        reader.now += 1
        reader.presence.passes(reader.now)
    reader.presence.reached(asked_at, reader.now)
    assert not reader.presence.at_end
    assert reader.presence.silent() == []


def test_an_outage_begins_anew(reader: Reader) -> None:
    reader.now += 1
    reader.presence.broken()
    assert not reader.presence.at_end
    reader.read(LOST_AFTER_S - 1, [])
    assert reader.lost == set()
    reader.read(2, [])
    assert reader.lost == set(FLEET)


def test_a_burial_that_had_to_wait_does_not_happen(reader: Reader) -> None:
    """A database that answers late, between the finding and the burial: somebody may have come back."""
    reader.read(LOST_AFTER_S + 1, FLEET[1:])
    assert reader.presence.silent() == FLEET[:1]
    assert not reader.presence.stale(reader.now)
    assert reader.presence.stale(reader.now + PASS_S + 0.1)


def test_what_is_forgotten_is_not_told_again(reader: Reader) -> None:
    for worker_id in FLEET:
        reader.presence.forget(worker_id)
    reader.read(30, [])
    assert reader.lost == set()
