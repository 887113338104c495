"""Training, small: the synthesisers give phonemes with their times, and a net learns from them."""

from __future__ import annotations

import ctypes.util
import shutil

import numpy as np
import pytest
import torch

from faces.training import corpus, flite, train
from faces.training.text import Sentences

missing = not (shutil.which("flite") and ctypes.util.find_library("espeak-ng"))
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(missing, reason="espeak-ng and flite are for training alone: make synthesisers (issue 4)"),
]


def test_text_is_seeded_and_varied() -> None:
    one, same = Sentences(1), Sentences(1)
    said = [one() for _ in range(200)]
    assert said == [same() for _ in range(200)]
    assert len(set(said)) > 180


@pytest.mark.parametrize("kind", ["espeak", "flite", "variants", "judge"])
def test_phonemes_lie_where_their_sound_is(kind: str) -> None:
    """Silence is where the truth says so."""
    (*_, clip) = corpus.make(kind, 0.2, 5)
    loud = np.abs(clip.pcm.astype(float)).reshape(len(clip.truth.visemes), -1).mean(axis=1)
    speaking = clip.truth.visemes != 0
    assert loud[speaking].mean() > 20 * (loud[~speaking].mean() + 1)


def test_the_clock_of_several_sentences() -> None:
    spoken = flite.say("One. Two. Three.", "rms")
    assert all(a.end <= b.start + 1e-6 for a, b in zip(spoken.phones, spoken.phones[1:], strict=False))
    assert spoken.phones[-1].end == pytest.approx(spoken.seconds, abs=0.05)


def test_a_net_learns_and_the_same_seed_gives_the_same_net() -> None:
    speech = corpus.features(corpus.make("flite", 6.5, 5))
    net, curves = train.train(speech, {"self": speech}, epochs=12, seed=3)
    assert curves.loss[-1] < 0.75 * curves.loss[0]
    right = train.scores(net, speech)
    wrong = train.scores(net, corpus.Corpus(speech.mels, speech.visemes.roll(1, 0), speech.shapes.roll(1, 0)))
    assert right["visemes"] > wrong["visemes"] + 0.1
    again, _ = train.train(speech, {}, epochs=1, seed=3)
    same, _ = train.train(speech, {}, epochs=1, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), same.state_dict().values(), strict=True))
