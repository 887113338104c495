"""Hearing a person whom nothing has learned from: the reader of `tests/assets`, with the truth that alignment gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from bench import judge_voices
from faces import lips, sound
from faces.hearing import TICK
from faces.training import corpus
from faces.training.corpus import Clip, Corpus
from faces.training.train import scores
from faces.visemes import INDEX, SHAPES, VISEMES, Track

pytestmark = pytest.mark.nets

VISEMES_HEARD, APERTURE_HEARD = 0.56, 0.74
READER = Path(__file__).parents[1] / "assets" / "reader"


@pytest.fixture(scope="module")
def reader() -> Corpus:
    pcm = sound.read(READER.with_suffix(".flac"))
    truth = orjson.loads(READER.with_suffix(".json").read_bytes())
    ticks = corpus.CLIP_S * 25
    count = len(truth["visemes"]) // ticks
    visemes = np.array(truth["visemes"]).reshape(count, ticks)
    shapes = np.array([SHAPES[name] for name in VISEMES], np.float32)[visemes]
    shapes[..., 0] = np.array(truth["aperture"], np.float32).reshape(count, ticks)
    sounds = pcm[: count * ticks * TICK].reshape(count, -1)
    return corpus.features([Clip(*each) for each in zip(sounds, map(Track, visemes, shapes), strict=True)])


def test_a_person_is_heard(reader: Corpus) -> None:
    """Less than the judge's bars for persons, which are missed: what was reached is not lost."""
    heard = scores(lips.load(), reader)
    assert heard["visemes"] >= VISEMES_HEARD
    assert heard["aperture"] >= APERTURE_HEARD


@pytest.mark.parametrize("how", ["another clip's sound", "shuffled", "silence", "400 ms late"])
def test_another_sound_does_not_pass(reader: Corpus, how: str) -> None:
    """Neither for the judge nor nearly: a net that hears anything else than what was said."""
    mels = {
        "another clip's sound": reader.mels.roll(1, 0),
        "shuffled": reader.mels[:, torch.randperm(reader.mels.shape[1], generator=torch.Generator().manual_seed(1))],
        "silence": torch.full_like(reader.mels, float(np.log(1e-7))),
        "400 ms late": reader.mels.roll(40, 1),
    }[how]
    made = Corpus(mels, reader.visemes, reader.shapes)
    heard = scores(lips.load(), made)
    assert heard["visemes"] < VISEMES_HEARD - 0.15
    assert not heard["aperture"] >= APERTURE_HEARD - 0.15  # of silence there is no correlation
    verdicts = {row[0]: row[-1] for row in judge_voices.rows(lips.load(), judge_voices.READER, made)}
    assert verdicts[f"visemes, {judge_voices.READER}"] == "**no**"
    assert verdicts[f"aperture heard, correlation, {judge_voices.READER}"] == "**no**"


def test_the_truth_of_a_person_is_speech(reader: Corpus) -> None:
    """Loud where it says that something is said."""
    loud = reader.mels.reshape(*reader.visemes.shape, -1).mean(dim=2)
    silent = reader.visemes == INDEX["sil"]
    assert loud[~silent].mean() > loud[silent].mean() + 2
