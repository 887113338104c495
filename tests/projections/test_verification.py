"""Of which session a mark is, what lies between its spans, and what of it was billed: pure."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from events.session_state import State
from faces.mark.appearances import Appearance, Span
from faces.mark.code import coded
from faces.mark.keys import MarkKeyring
from projections.verification import Candidates, Reading, apart, billed_ms, breaks, in_ledger, laid_out, more_to_come
from schemas.ids import SESSION, USAGE, derived_id, new_id
from schemas.usage import UsageFacts
from schemas.verification import ShownSession, ShownSpan

pytestmark = pytest.mark.unit

KEYS = MarkKeyring(",".join(f"{name}:{base64.b64encode(name.encode() * 16).decode()}" for name in ("k2", "k1")))
IDS = [derived_id(SESSION, n, "one of many") for n in range(2000)]
"""The same in each run, as all chance here: one tag in thirty is too damaged by this much noise."""


def appearance(
    tag: int | None, of: int | None = None, key_id: str = "k1", noise: float = 1.0, seed: int = 3
) -> Appearance:
    """`of`: the tag that its soft bits are of; None: they are nothing but noise."""
    soft = np.random.default_rng(seed).normal(0, noise, 192) + (coded([of])[0] if of is not None else 0)
    return Appearance(key_id, tag, 12.0, (), (), soft)


def found(*shown: Appearance) -> list[str | None]:
    candidates = Candidates(shown, KEYS)
    for begin in range(0, len(IDS), 300):
        candidates.offer(IDS[begin : begin + 300])
    return candidates.found()


def tag(session_id: str, key_id: str = "k1") -> int:
    key = KEYS.get(key_id)
    assert key is not None
    return key.tag(session_id)


def test_a_tag_that_was_read_is_a_session_or_none() -> None:
    one, other = IDS[7], IDS[1999]
    assert found(appearance(tag(one)), appearance(tag(other, "k2"), key_id="k2")) == [one, other]
    assert found(appearance(tag(one, "k2"))) == [None]  # of another key
    assert found(appearance(tag(new_id(SESSION)))) == [None]


def test_a_tag_that_could_not_be_read_is_the_session_that_it_is_like() -> None:
    one = IDS[1234]
    assert found(appearance(None, tag(one)), appearance(None, tag(one), noise=1.5)) == [one, one]


def test_what_is_like_none_or_like_two_is_nobodys() -> None:
    assert found(*(appearance(None, seed=seed) for seed in range(50))) == [None] * 50
    both = Appearance("k1", None, 12.0, (), (), (coded([tag(IDS[1])])[0] + coded([tag(IDS[2])])[0]).astype(float))
    assert found(both) == [None]


def test_nobody_to_look_among() -> None:
    assert Candidates([appearance(None), appearance(5)], KEYS).found() == [None, None]


# Spans


def spread(*spans: tuple[str, float, float, float]) -> list[tuple[str, float, float, float]]:
    given = [(name, Span(begin, end, second)) for name, begin, end, second in spans]
    return [(name, span.from_s, span.to_s, span.second) for name, span in apart(given)]


def test_a_cut_lies_in_the_middle_of_what_both_sessions_cover() -> None:
    assert spread(("a", 0, 15, 40), ("b", 10, 34, 3)) == [("a", 0, 12.5, 40), ("b", 12.5, 34, 5.5)]
    assert spread(("b", 10, 34, 3), ("a", 0, 15, 40)) == [("a", 0, 12.5, 40), ("b", 12.5, 34, 5.5)]


@pytest.mark.parametrize(
    "spans",
    [
        [("a", 0, 30, 40), ("b", 0, 30, 3)],
        [("a", 0, 30, 40), ("b", 10, 45, 3)],
        [("a", 0, 10, 40), ("b", 10, 20, 3)],
        [("a", 0, 15, 40), ("a", 12, 30, 90)],
    ],
)
def test_side_by_side_or_one_behind_the_other_they_stay(spans: list[tuple[str, float, float, float]]) -> None:
    assert spread(*spans) == spans


# The ledger


def entry(attempt: int, n: int, from_ms: int, said_ms: int, billable_ms: int) -> UsageFacts:
    """`said_ms`: when the worker's reading was."""
    return UsageFacts(
        account_id="acct_1",
        attempt=attempt,
        avatar_id="av_demo",
        billable_ms=billable_ms,
        billed_as="standard",
        credit_us=0,
        event_id="evt_1",
        flags=(),
        frames=0,
        from_ms=from_ms,
        id=derived_id(USAGE, said_ms, str(attempt), str(n)),
        kind="interval",
        multiplier_milli=1000,
        n=n,
        object="usage_event",
        quality="standard",
        rate_card="2026-11",
        session_id=IDS[0],
        to_ms=from_ms + billable_ms,
    )


AT = 1_790_000_000_000
PLAYED = [
    entry(1, 1, AT, AT + 5_000, 5_000),
    entry(1, 2, AT + 5_000, AT + 10_000, 0),  # out of its room
    entry(1, 3, AT + 5_000, AT + 15_000, 5_000),  # shown as from 5 s on, played from 10 s on
    entry(2, 1, AT + 20_000, AT + 25_000, 5_000),  # another worker, five seconds later
]


def test_entries_are_laid_out_as_they_were_played() -> None:
    assert laid_out(PLAYED) == [
        Reading(AT, AT + 5_000, 5_000),
        Reading(AT + 5_000, AT + 10_000, 0),
        Reading(AT + 10_000, AT + 15_000, 5_000),
        Reading(AT + 20_000, AT + 25_000, 5_000),
    ]


@pytest.mark.parametrize(
    ("from_s", "to_s", "billed", "told"),
    [
        (0, 5, 5.0, "billed"),
        (1, 4, 3.0, "billed"),
        (5, 10, 0.0, "not_billed"),
        (2, 12, 5.0, "partly"),
        (10, 15, 5.0, "billed"),
        (10, 25, 10.0, "partly"),
        (15, 20, 0.0, "not_billed"),
        (40, 50, 0.0, "not_billed"),
    ],
)
def test_what_of_some_seconds_is_in_the_ledger(from_s: int, to_s: int, billed: float, told: str) -> None:
    found_ms = billed_ms(laid_out(PLAYED), AT + from_s * 1000, AT + to_s * 1000)
    assert found_ms == billed * 1000
    assert in_ledger(found_ms, (to_s - from_s) * 1000, False) == told


def test_what_a_running_session_has_not_told_yet_is_pending() -> None:
    assert in_ledger(0, 5_000, True) == "pending"
    assert in_ledger(4_000, 5_000, True) == "billed"


def test_a_session_of_which_the_ledger_knows_less_than_the_session_itself_is_pending() -> None:
    """Two projections: the one of the ledger may be behind, or its session be parked."""
    state = State(new_id(SESSION))
    assert more_to_come(state, [], AT)
    state.status, state.billed_ms = "ended", 10_000
    assert more_to_come(state, laid_out(PLAYED[:1]), AT + 30_000)
    assert not more_to_come(state, laid_out(PLAYED[:3]), AT + 30_000)


def test_a_reading_bills_no_more_than_its_time() -> None:
    assert billed_ms([Reading(0, 5_000, 7_000)], 0, 1_000) == 1_000
    assert billed_ms([Reading(0, 0, 7_000)], 0, 1_000) == 0


# What lies between


def session(session_id: str, *spans: tuple[float, float, float]) -> ShownSession:
    """Spans: (from, to, the session's second at from)."""
    return ShownSession(
        id=session_id,
        account_id="acct_1",
        avatar_id="av_demo",
        quality="standard",
        score=20.0,
        spans=[
            ShownSpan(
                from_=begin,
                to=end,
                session_from=second,
                session_to=second + end - begin,
                began_at="",
                ended_at="",
                ledger="billed",
                billed_seconds=0,
            )
            for begin, end, second in spans
        ],
    )


def told(*shown: ShownSession, to: float = 30) -> list[tuple[str, float, float, float | None]]:
    return [(each.kind, each.from_, each.to, each.skipped_seconds) for each in breaks(shown, 0, to)]


def test_one_whole_session_has_no_breaks() -> None:
    assert told(session("a", (0.1, 29.9, 5))) == []


def test_something_cut_out_and_something_put_in() -> None:
    assert told(session("a", (0, 10, 5), (10, 20, 45), (25, 30, 60))) == [("cut", 10, 10, 30), ("gap", 20, 25, None)]


def test_seconds_that_come_again() -> None:
    assert told(session("a", (0, 15, 5), (15, 30, 5))) == [("cut", 15, 15, -15)]


def test_two_sessions_one_after_the_other() -> None:
    assert told(session("a", (0, 15, 5)), session("b", (15.5, 30, 90))) == [("cut", 15, 15.5, None)]


def test_two_sessions_side_by_side_are_no_cut() -> None:
    assert told(session("a", (0, 30, 5)), session("b", (0, 30, 90))) == []


def test_before_between_and_behind() -> None:
    assert told(session("a", (5, 10, 5), (18, 22, 18))) == [
        ("gap", 0, 5, None),
        ("gap", 10, 18, None),
        ("gap", 22, 30, None),
    ]


def test_nothing_shown_has_no_breaks() -> None:
    assert told() == []
