"""The table of shapes."""

from __future__ import annotations

import numpy as np
import pytest

from faces.shapes import points as at
from faces.shapes import table

pytestmark = pytest.mark.unit


def test_both_sides_of_the_head_are_alike() -> None:
    other, flip = table.mirror(), np.array([-1, 1, 1])
    assert np.array_equal(other[other], np.arange(468))
    assert np.allclose(table.neutral()[other] * flip, table.neutral(), atol=1e-3)
    shapes = table.shapes()
    for name in ("mouthSmile", "eyeBlink", "browDown"):
        assert np.allclose(shapes[f"{name}Left"][other] * flip, shapes[f"{name}Right"], atol=1e-3)


def test_the_outer_corners_of_the_mouth_are_where_it_is_widest() -> None:
    x = table.neutral()[list(at.LIPS), 0]
    assert (at.LIPS[int(x.argmin())], at.LIPS[int(x.argmax())]) == at.MOUTH
    for i in at.MOUTH:
        assert abs(table.neutral()[i, 0]) > 0.35
