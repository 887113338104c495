"""What live windows count: for any log the same as a second computation of it, and never more rows than they may
have."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.codec import Event
from events.fold import Evolved
from projections.latencies import bucket
from projections.live import FOLD, Add, Seen, minute_of
from projections.windows import window, windows
from schemas.events import (
    SessionAssigned,
    SessionAudioStalled,
    SessionEndRequested,
    SessionErased,
    SessionEvent,
    SessionFailed,
    UsageAdjusted,
)
from schemas.live import WINDOW_MS
from tests.builders import T0, beat, created, event, life
from tests.projections.windows_again import differences, latencies_wrong

pytestmark = pytest.mark.unit

MINUTE = T0 // WINDOW_MS * WINDOW_MS
HOUR_MS = 3_600_000


def _of(sid: str) -> list[SessionEvent]:
    """All that may be said of a session, in an order in which much of it is accepted."""
    return [
        *life(sid, beats=4, account=f"acct_{sid}")[:-2],
        SessionAudioStalled(sid, 1, "wrk_1", 0),
        SessionAssigned(sid, 2, "wrk_2", "worker_lost", 5),
        beat(sid, 1, 700, attempt=2, worker="wrk_2"),
        SessionEndRequested(sid, "api", "api_request"),
        SessionFailed(sid, 2, "worker_lost", "", expected_seq=6),
        *life(sid, beats=4)[-2:],
        SessionErased(sid),
        UsageAdjusted(sid, -5, "a gift", "ops"),
    ]


@st.composite
def _logs(draw: st.DrawFn) -> list[tuple[Event, int]]:
    """Some sessions, interleaved, each event at a time of its own up to an hour off, some of them twice."""
    queues = [_of(sid) for sid in ("s1", "s2", "s3")]
    append_ms, log = T0, list[tuple[Event, int]]()
    for choice in draw(st.lists(st.integers(0, 11), max_size=60)):
        queue = queues[choice % 3]
        if not queue:
            continue
        append_ms += draw(st.integers(0, 40_000))
        if log and choice == 11:
            log.append((draw(st.sampled_from(log))[0], append_ms))
            continue
        skew = draw(st.sampled_from([0, -200, -30_000, -119_999, -120_001, -HOUR_MS, 5_000, HOUR_MS]))
        log.append((event(queue.pop(0), at=append_ms + skew), append_ms))
    return log


def _rows(log: list[tuple[Event, int]]) -> list[tuple[int, str, str, str, int]]:
    sums: Counter[tuple[int, str, str, str]] = Counter()
    seen: dict[str, Seen] = {}
    for item, append_ms in log:
        outcome = FOLD.evolve(seen.get(item.subject), item, append_ms)
        if isinstance(outcome, Evolved):
            seen[item.subject] = outcome.state
            for add in outcome.state.adds:
                sums[add[:4]] += add.value
    return [(*place, value) for place, value in sums.items()]


@given(_logs())
def test_sums_are_what_the_whole_log_says(log: list[tuple[Event, int]]) -> None:
    rows = _rows(log)
    assert not differences(rows, log)
    assert all(value >= 0 for *_, value in rows)


@given(st.integers(T0 - 2 * HOUR_MS, T0 + 2 * HOUR_MS))
def test_a_closed_window_is_closed(time_ms: int) -> None:
    minute_ms, late = minute_of(time_ms, T0)
    assert minute_ms + WINDOW_MS > T0 - 120_000  # its end was not passed by more than the lateness
    assert minute_ms <= T0
    assert late == (time_ms < T0 - 120_000)


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=300))
def test_percentiles_are_within_one_percent(values: list[int]) -> None:
    assert not latencies_wrong(Counter(map(bucket, values)), values)


def test_a_stored_state_has_lost_nothing_and_adds_nothing() -> None:
    from projections.live import LiveProjection

    outcome = FOLD.evolve(None, event(created("s1")), T0)
    assert isinstance(outcome, Evolved)
    seen = outcome.state
    assert Add(MINUTE, "account", "acct_1", "starts", 1) in seen.adds
    again = LiveProjection.form.load(LiveProjection.form.dump(seen))
    assert (again.state, again.minute_ms, again.adds) == (seen.state, seen.minute_ms, ())


def test_what_is_erased_later_is_no_news_of_a_session() -> None:
    seen: Seen | None = None
    for data in (created("s1"), SessionFailed("s1", 1, "start_timeout", "", expected_seq=1), SessionErased("s1")):
        outcome = FOLD.evolve(seen, event(data), T0)
        assert isinstance(outcome, Evolved)
        assert bool(outcome.state.adds) == (not isinstance(data, SessionErased))
        seen = outcome.state


def test_a_hopping_window_is_the_sum_of_its_minutes() -> None:
    minutes = {
        MINUTE + n * WINDOW_MS: {"starts": n + 1, "active:running": n, f"first_frame:{bucket(100 * (n + 1))}": 1}
        for n in range(5)
    }
    found = window(minutes, MINUTE, 5)
    assert (found.starts, found.active, found.first_frame.count) == (15, {"running": 4}, 5)
    assert found.first_frame.p50_ms == pytest.approx(300, rel=0.01)
    assert (found.from_ms, found.to_ms, found.closes_ms) == (MINUTE, MINUTE + 300_000, MINUTE + 420_000)


def test_windows_end_with_the_minute_of_now() -> None:
    found = windows({MINUTE: {"starts": 1}}, MINUTE + 59_999, 3, 1)
    assert [each.from_ms - MINUTE for each in found] == [-2 * WINDOW_MS, -WINDOW_MS, 0]
    assert [each.starts for each in found] == [0, 0, 1]


def _running(sid: str) -> list[tuple[Event, int]]:
    """A session that runs, all of it in the first minute."""
    return [(event(data, at=MINUTE + n), MINUTE + n) for n, data in enumerate(life(sid, beats=2)[:-2])]


def test_a_session_that_is_adjusted_while_it_runs_is_active_in_that_minute() -> None:
    """The adjustment is the first that is heard of it in the second minute, and adds nothing there itself."""
    later = MINUTE + WINDOW_MS
    log = _running("s1")
    log.append((event(UsageAdjusted("s1", -5, "a gift", "ops"), at=later), later))
    log.append((event(beat("s1", 3, 3000), at=later + 5_000), later + 5_000))
    assert not differences(_rows(log), log)


def test_no_count_is_negative_after_an_adjustment() -> None:
    later = MINUTE + WINDOW_MS
    log = _running("s1")
    log.append((event(UsageAdjusted("s1", -5, "a gift", "ops"), at=later), later))
    log.append((event(SessionEndRequested("s1", "api", "api_request"), at=later + 5_000), later + 5_000))
    assert not [row for row in _rows(log) if row[-1] < 0]
