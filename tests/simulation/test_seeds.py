"""A thousand stories, in each of which something goes wrong and every promise is kept. One that fails: run
`python -m tests.simulation SEED`."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.world import run

pytestmark = pytest.mark.seeds

SEEDS = 1000


def test_whatever_goes_wrong_every_promise_is_kept() -> None:
    statuses, broken = Counter[str](), dict[int, str]()
    for seed in range(SEEDS):
        result = run(seed)
        statuses.update(result.statuses)
        if result.broken is not None:
            broken[seed] = str(result.broken)
    assert broken == {}
    assert statuses.keys() == {"ended", "failed", "canceled"}
