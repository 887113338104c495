"""The fold of avatars.v1: total, and the first verdict counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.avatars import Avatar, evolve
from events.codec import new_event
from events.fold import Evolved
from schemas.events import AvatarCreated, AvatarDeleted, AvatarEvent, AvatarFailed, AvatarReady, Encrypted

pytestmark = pytest.mark.unit

ID = "av_01JDXXXXXXXXXXXXXXXXXXXXXX"
CREATED = AvatarCreated(ID, "acct_1", Encrypted("x", "k"), "avtr1", "a" * 64, None)
READY = AvatarReady(ID, "f" * 64)
FAILED = AvatarFailed(ID, "No face was found.")
DELETED = AvatarDeleted(ID)


def after(*data: AvatarEvent, subject: str = ID) -> Avatar | None:
    avatar = None
    for each in data:
        outcome = evolve(avatar, new_event(each, source="t", subject=subject), 0)
        avatar = outcome.state if isinstance(outcome, Evolved) else avatar
    return avatar


def status(*data: AvatarEvent) -> str | None:
    avatar = after(*data)
    return avatar.status if avatar else None


def test_the_ways_of_an_avatar() -> None:
    assert status(CREATED) == "processing"
    assert status(CREATED, READY) == "ready"
    assert status(CREATED, FAILED) == "failed"
    assert status(CREATED, READY, DELETED) == "deleted"


def test_the_first_verdict_counts_and_nothing_comes_back() -> None:
    assert status(CREATED, FAILED, READY) == "failed"
    assert status(CREATED, READY, FAILED) == "ready"
    assert status(READY) is None
    assert status(DELETED, CREATED, READY) == "deleted"


def test_a_deleted_avatar_keeps_only_what_the_builder_must_remove() -> None:
    avatar = after(CREATED, READY, DELETED)
    assert avatar is not None
    assert (avatar.asset, avatar.face, avatar.name) == ("a" * 64, "f" * 64, None)


def test_an_event_of_another_subject_changes_nothing() -> None:
    assert after(CREATED, subject="av_other") is None


@given(st.lists(st.sampled_from([CREATED, READY, FAILED, DELETED]), max_size=8))
def test_deleted_is_for_ever(events: list[AvatarEvent]) -> None:
    found = after(*events)
    assert (found is None) == (CREATED not in events and DELETED not in events)
    assert (found is not None and found.status == "deleted") == (DELETED in events)
