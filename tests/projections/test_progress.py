"""How far behind a consumer is told to be."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from projections.metrics import REGISTRY
from projections.progress import READY_LAG_S, Progress

pytestmark = pytest.mark.unit


class Told:
    """A consumer of its own name, and both clocks: monotonic seconds, and epoch ms 1,000,000 later."""

    def __init__(self, name: str) -> None:
        self.now = 100.0
        self.progress = Progress(name, clock=lambda: self.now, epoch_ms=self.epoch_ms)

    def epoch_ms(self) -> int:
        return int((self.now + 1_000_000) * 1000)

    def passes(self, seconds: float) -> None:
        self.now += seconds

    @property
    def lag(self) -> tuple[int, float]:
        return self.progress.behind, round(self.progress.lag_s, 6)


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Told:
    return Told(request.node.name)


def test_without_partitions_it_is_not_ready(told: Told) -> None:
    told.passes(7)
    assert told.lag == (0, 7.0)
    assert "has not been given its partitions" in str(told.progress.missing)


def test_who_is_given_none_is_ready_while_it_hears_of_the_log(told: Told) -> None:
    told.progress.bound({}, left=4)
    told.progress.saw({}, 0.0)
    assert told.lag == (0, 0.0)
    assert told.progress.missing is None


def test_a_quiet_log_is_no_lag(told: Told) -> None:
    told.progress.bound({0: 10, 1: 0}, left=0)
    told.progress.saw({0: 11, 1: 0}, 0.0)
    told.progress.advanced({0: 11}, {0: told.epoch_ms()})
    for _ in range(3600):
        told.passes(1)
        told.progress.saw({0: 11, 1: 0}, 0.2)
    assert told.lag == (0, 0.0)
    told.progress.saw({0: 12, 1: 0}, 0.0)  # the first event for an hour
    assert told.lag == (1, 0.2)


def test_a_partition_whose_end_is_not_known_yet_is_not_read_to_it(told: Told) -> None:
    told.progress.bound({0: 10, 1: 5}, left=0)
    told.progress.saw({0: 10}, 0.0)
    told.passes(3)
    assert told.lag == (0, 3.0)
    told.progress.saw({0: 10, 1: 5}, 0.0)
    assert told.lag == (0, 0.0)


def test_at_a_steady_distance_it_is_as_far_behind_as_that(told: Told) -> None:
    told.progress.bound({0: 0}, left=0)
    for n in range(600):
        told.progress.saw({0: 100 * (n + 1)}, 0.0)
        told.progress.advanced({0: 100 * n + 50}, {0: told.epoch_ms() - 2000})
        told.passes(1)
    assert told.lag == (50, 3.0)
    assert told.progress.missing is None


def test_events_that_never_pause_are_no_lag_when_all_are_stored(told: Told) -> None:
    """Each round begins with some that are not stored: with sixty sessions that say a heartbeat each five seconds it
    was further and further behind whenever somebody asked between two batches."""
    told.progress.bound({0: 0}, left=0)
    for n in range(1, 400):
        told.progress.saw({0: n}, 0.1)
        assert told.progress.behind == 1
        told.progress.advanced({0: n}, {0: told.epoch_ms()})
        assert told.lag == (0, 0.0)
        told.passes(0.3)
    told.passes(6)
    assert told.lag == (0, 6.4), "when nothing is heard any more it counts from what was heard"


def test_the_partition_that_is_furthest_behind_counts(told: Told) -> None:
    """Not one that is quiet, however old its last event is."""
    told.progress.bound({0: 0, 1: 0, 2: 0}, left=0)
    told.progress.saw({0: 5, 1: 5, 2: 5}, 0.0)
    old, now = told.epoch_ms() - 3_600_000, told.epoch_ms()
    told.passes(500)
    told.progress.advanced({0: 5, 1: 4, 2: 4}, {0: old, 1: now + 400_000, 2: now + 480_000})
    assert told.lag == (2, 100.0)


def test_what_stands_still_is_further_and_further_behind(told: Told) -> None:
    told.progress.bound({0: 0}, left=0)
    told.progress.saw({0: 0}, 0.0)
    told.progress.saw({0: 40}, 0.0)
    told.passes(READY_LAG_S - 1)
    assert told.progress.missing is None
    told.passes(2)
    told.progress.saw({0: 40}, 0.0)
    assert told.lag == (40, READY_LAG_S + 1)
    assert "61 s behind" in str(told.progress.missing)


def test_hearing_nothing_of_kafka_is_a_lag(told: Told) -> None:
    """Also of a log that ended where we stand: nobody knows whether it still does."""
    told.progress.bound({0: 7}, left=0)
    told.progress.saw({0: 7}, 0.0)
    for _ in range(30):
        told.passes(1)
        told.progress.saw({0: 7}, heard_s=told.now - 100)
    assert told.lag == (0, 30.0)


def test_who_hears_seldom_is_not_behind_in_between(told: Told) -> None:
    """`greenroom live` asks for the end of the log each 5 s."""
    progress = Progress(f"{told.progress.name}-seldom", 5.0, lambda: told.now, told.epoch_ms)
    progress.bound({0: 7}, left=0)
    progress.saw({0: 7}, 0.0)
    told.passes(9)
    assert progress.lag_s == 0
    told.passes(1)
    assert progress.lag_s == 10


def test_what_was_dropped_counts_as_it_is_stored(told: Told) -> None:
    told.progress.bound({0: 0}, left=0)
    told.progress.saw({0: 10}, 0.0)
    told.progress.advanced({0: 10}, {0: told.epoch_ms()})
    assert told.progress.behind == 0
    told.progress.bound({0: 4}, left=0)  # it was another's
    assert told.progress.behind == 6


@pytest.mark.parametrize("skew_s", [-3600, 3600])
def test_a_clock_that_is_wrong_by_an_hour_makes_no_lag_that_is_more_than_the_time_since_the_end(
    told: Told, skew_s: int
) -> None:
    """The log's times are the broker's."""
    told.progress.bound({0: 0}, left=0)
    told.progress.saw({0: 0}, 0.0)
    told.progress.advanced({0: 5}, {0: told.epoch_ms() + skew_s * 1000})
    told.progress.saw({0: 9}, 0.0)
    told.passes(2)
    assert told.lag == (4, 0.0 if skew_s > 0 else 2.0)


def test_metrics_say_the_same(told: Told) -> None:
    told.progress.bound({0: 0, 1: 0}, left=3)
    told.progress.saw({0: 6, 1: 0}, 0.0)
    told.passes(9)
    told.progress.folded(4, 1, 0.02)
    text, name = generate_latest(REGISTRY).decode(), told.progress.name
    for line in (
        f'greenroom_projection_lag_events{{consumer="{name}"}} 6.0',
        f'greenroom_projection_lag_seconds{{consumer="{name}"}} 9.0',
        f'greenroom_projection_partitions{{consumer="{name}",state="owned"}} 2.0',
        f'greenroom_projection_partitions{{consumer="{name}",state="standby"}} 3.0',
        f'greenroom_projection_events_total{{consumer="{name}",outcome="accepted"}} 4.0',
        f'greenroom_projection_events_total{{consumer="{name}",outcome="refused"}} 1.0',
    ):
        assert line in text
