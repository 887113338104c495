"""Who was paused and has no lease any more."""

from __future__ import annotations

import pytest

from workers.watch import must_leave

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("pause", "lease", "leaves"),
    [(0.1, "valid", False), (30, "valid", False), (2.1, "expired", True), (1.9, "expired", False), (0, "over", True)],
)
def test_a_paused_process_without_a_lease_leaves(pause: float, lease: str, leaves: bool) -> None:
    assert must_leave(pause, lease) is leaves  # type: ignore[arg-type]
