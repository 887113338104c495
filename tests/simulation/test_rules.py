"""The simulator finds what it should: each rule that is broken on purpose falls, and a story is told the same again."""

from __future__ import annotations

import pytest

from tests.simulation.broken import RULES, breaking
from tests.simulation.world import Result, run

pytestmark = pytest.mark.unit

MOST = 1000
"""Seeds that are tried when the one that is known does not find it any more: the stories have changed."""


def found(rule: str) -> Result | None:
    with breaking(rule):
        results = (run(seed) for seed in (RULES[rule].seed, *range(MOST)))
        return next((result for result in results if result.broken is not None), None)


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_found(rule: str) -> None:
    result = found(rule)
    assert result is not None
    assert result.broken is not None
    assert result.broken.promise == RULES[rule].promise
    assert run(result.seed).broken is None  # it was the rule


def test_a_seed_is_a_story() -> None:
    """With rules that hold and with one that does not: to the millisecond, ids and all."""
    once, again = run(7, listens=True), run(7, listens=True)
    assert once.story == again.story
    assert once.story != run(8, listens=True).story
