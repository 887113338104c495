"""What a command writes into the pages is what it would write today."""

from __future__ import annotations

from typing import get_args

import pytest

from api.errors import _RULES
from schemas.events import EndReason, FailureCode
from tools import error_codes
from tools.made import DOCS, made

pytestmark = pytest.mark.unit


def test_generated_parts_are_current() -> None:
    for path, content in made():
        assert path.read_text() == content, f"{path.name} has drifted: make pages"


def test_every_rule_is_explained() -> None:
    assert set(error_codes.RULES) == {*_RULES.values(), "invalid", "invalid_type"}


def test_every_failure_and_every_end_of_a_session_is_explained() -> None:
    errors, worker = (DOCS / "errors.md").read_text(), (DOCS / "worker.md").read_text()
    assert not [code for code in get_args(FailureCode) if f"\n| `{code}` |" not in errors]
    assert not [reason for reason in get_args(EndReason) if f"`{reason}`" not in worker]
