"""When a worker may act."""

from __future__ import annotations

import pytest

from workers.lease import phase

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("age", "expected"), [(0, "valid"), (9.9, "valid"), (10, "expired"), (59.9, "expired"), (60, "over")]
)
def test_lease(age: float, expected: str) -> None:
    assert phase(100.0, 100.0 + age) == expected
