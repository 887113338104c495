"""What a command writes into the pages is what it would write today."""

from __future__ import annotations

from typing import get_args

import pytest

from api.errors import _RULES
from events.session_state import TERMINAL
from schemas.events import SUBSCRIBABLE, TYPE_OF, EndReason, FailureCode
from tests.builders import life
from tools import error_codes, session_states
from tools.made import DOCS, made
from tools.transitions import Transition, kinds_of_events, transitions

pytestmark = pytest.mark.unit


def test_generated_parts_are_current() -> None:
    for path, content in made():
        assert path.read_text() == content, f"{path.name} has drifted: make pages"


def test_every_rule_is_explained() -> None:
    assert set(error_codes.RULES) == {*_RULES.values(), "invalid", "invalid_type"}


def test_every_failure_and_every_end_of_a_session_is_explained() -> None:
    errors, worker = (DOCS / "reference" / "errors.md").read_text(), (DOCS / "reference" / "worker.md").read_text()
    assert not [code for code in get_args(FailureCode) if f"\n| `{code}` |" not in errors]
    assert not [reason for reason in get_args(EndReason) if f"`{reason}`" not in worker]


def test_every_transition_of_a_session_is_found() -> None:
    """Each kind of event is accepted somewhere, and a whole life is among them."""
    found = transitions()
    assert {move.type for move in found} == {TYPE_OF[kind] for kind in kinds_of_events()}
    assert {TYPE_OF[type(data)] for data in life("sess_1")} <= {move.type for move in found}
    assert Transition("starting", "session.first_frame", "running") in found
    assert not [move for move in found if move.before in TERMINAL and move.before != move.after]


def test_every_transition_of_a_session_is_drawn() -> None:
    moves = {(before, name) for (before, _), names in session_states.moves().items() for name in names}
    for move in transitions():
        name = move.type.removeprefix("session.")
        assert move.before == move.after or {(move.before, name), ("live", name)} & moves


def test_every_public_type_is_told_to_subscribers() -> None:
    """By its name without `session.`; an end that cancels is told as `canceled`."""
    silent = {TYPE_OF[kind] for kind in kinds_of_events()} - SUBSCRIBABLE
    page = (DOCS / "reference" / "webhooks.md").read_text()
    assert not [
        name for name in SUBSCRIBABLE if f"`{name.removeprefix('session.')}`" not in page and f"`{name}`" not in page
    ]
    assert not [name for name in silent if f"`{name}`" in page]
