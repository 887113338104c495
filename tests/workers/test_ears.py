"""Who is heard."""

from __future__ import annotations

import pytest

from workers.ears import Choice

pytestmark = pytest.mark.unit


def test_the_first_who_publishes_is_heard_for_the_session() -> None:
    choice = Choice(None)
    assert choice.wants("ann", "t1")
    assert not choice.wants("bob", "t2")
    assert not choice.wants("ann", "t3")  # one at a time
    assert not choice.ended("t2")
    assert choice.ended("t1")
    assert not choice.wants("bob", "t2")
    assert choice.wants("ann", "t3")
    choice.begin()  # another connection
    assert not choice.wants("bob", "t4")
    assert choice.wants("ann", "t5")


def test_the_pinned_participant_is_heard_and_nobody_else() -> None:
    choice = Choice("ann")
    assert not choice.wants("bob", "t1")
    assert choice.wants("ann", "t2")
