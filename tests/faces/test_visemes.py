"""The truth that the net learns and the judge uses."""

from __future__ import annotations

import numpy as np
import pytest

from faces import measure
from faces.motion import Lips
from faces.visemes import INDEX, Phone, Shape, Unmapped, track

pytestmark = pytest.mark.unit


def test_frames_show_the_middle_of_their_40_ms() -> None:
    spoken = [Phone("pau", 0, 0.4), Phone("aa", 0.4, 0.8), Phone("pau", 0.8, 1.2)]
    truth = track(spoken, 1.2, "flite")
    assert list(np.nonzero(truth.visemes == INDEX["aa"])[0]) == list(range(10, 20))
    assert truth.shapes[14, 0] == pytest.approx(1.0, abs=0.01)
    assert truth.shapes[2, 0] == pytest.approx(0.0, abs=0.01)
    assert 0.2 < truth.shapes[10, 0] < 1.0  # opening takes its time


def test_a_closure_is_never_blended_away() -> None:
    """/aba/ with a /b/ of 35 ms."""
    truth = track([Phone("aa", 0, 0.4), Phone("b", 0.4, 0.435), Phone("aa", 0.435, 0.8)], 0.8, "flite")
    closed = np.nonzero(truth.shapes[:, 2] == 1)[0]
    assert list(closed) == [10]
    assert truth.shapes[10, 0] == 0
    assert truth.shapes[8, 0] > 0.8


def test_diphthongs_are_two_shapes_and_h_is_what_follows() -> None:
    truth = track([Phone("h", 0, 0.2), Phone("aI", 0.2, 0.6)], 0.6, "espeak")
    assert set(truth.visemes[:10]) == {INDEX["aa"]}
    assert set(truth.visemes[10:]) == {INDEX["ih"]}


def test_an_unknown_phoneme_is_told() -> None:
    with pytest.raises(Unmapped):
        track([Phone("??", 0, 1)], 1, "flite")


def test_lips_take_two_frames_for_their_whole_way_and_none_for_a_closure() -> None:
    lips = Lips()
    opening = [lips.step(Shape(1.0, 0.1, 0.0))[0] for _ in range(3)]
    assert opening == [pytest.approx(0.55), 1.0, 1.0]
    assert list(lips.step(Shape(0.8, 0.1, 0.9))) == pytest.approx([0.0, 0.1, 0.8])
    assert lips.step(Shape(0.03, 0.1, 0.0))[0] == 0.0


def test_lag_and_correlation() -> None:
    draw = np.random.default_rng(1)
    signal = np.convolve(draw.normal(size=400), np.ones(5), "same")
    assert measure.lag(np.roll(signal, 3), signal) == pytest.approx(3, abs=0.2)
    assert measure.lag(signal, np.roll(signal, 2)) == pytest.approx(-2, abs=0.2)
    assert measure.correlation(signal, signal) == pytest.approx(1)
    assert measure.correlation(signal, np.zeros(400)) == 0
    assert abs(measure.correlation(signal, draw.normal(size=400))) < 0.2
