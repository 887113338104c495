"""How high a voice is heard to be."""

from __future__ import annotations

import numpy as np
import pytest

from faces.hearing import RATE, TICK
from faces.pitch import Ear

pytestmark = pytest.mark.nets


@pytest.mark.parametrize("hertz", [80, 110, 150, 220, 330])
def test_a_voices_height_is_heard_through_a_telephone(hertz: float) -> None:
    """Harmonics without the first of them, and a little noise."""
    t = np.arange(3 * TICK) / RATE
    voice = sum(np.sin(2 * np.pi * hertz * n * t + n) / n for n in range(2, int(3400 / hertz)))
    pcm = (3000 * voice + np.random.default_rng(1).normal(0, 100, len(t))).astype(np.int16)
    ear = Ear()
    heard = [ear.hear(pcm[k * TICK : (k + 1) * TICK]) for k in range(3)]
    assert heard[-1].pitch == pytest.approx(12 * np.log2(hertz / 55), abs=0.7)
    assert heard[-1].loudness == pytest.approx(float(pcm[-TICK:].astype(float).std()) / 32768, rel=0.01)


def test_noise_and_silence_have_none() -> None:
    ear = Ear()
    noise = np.random.default_rng(2).normal(0, 3000, (20, TICK)).astype(np.int16)
    assert sum(ear.hear(tick).pitch is not None for tick in noise) <= 1
    assert all(ear.hear(np.zeros(TICK, np.int16)).pitch is None for _ in range(3))
