"""What a story leaves behind: coroutines of killed processes, closed in the middle of whatever they did."""

from __future__ import annotations

import gc
import warnings
from asyncio import events
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A coroutine that such a one had just made was never awaited. It is to be said here, and not in another test."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        yield
        gc.collect()
    assert events._get_running_loop() is None
