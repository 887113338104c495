"""What a face does by itself: on sounds that are made up, tick by tick."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from faces.life import Life, seed_of
from faces.poses import YAW
from faces.prosody import SILENT, Sound
from schemas.moods import MOODS, Mood

pytestmark = pytest.mark.unit

YAW_OF, PITCH_OF, BROW, LID, GAZE, SMILE = 0, 1, 4, 5, 6, 8
FLAT = 13.0
"""Semitones above 55 Hz: a usual voice."""
SEEDS = range(8)


def speech(seconds: float, seed: int = 0) -> list[Sound]:
    """Phrases of two seconds with syllables that go up and down, and pauses between them."""
    draw = np.random.default_rng(seed)
    said: list[Sound] = []
    while len(said) < seconds * 25:
        height = FLAT + draw.normal(0, 1.5)
        said += [
            Sound(float(0.1 + 0.06 * np.sin(k / 2) + draw.uniform(0, 0.03)), float(height + 3 * np.sin(k / 5) - k / 20))
            for k in range(50)
        ]
        said += [SILENT] * 12
    return said[: round(seconds * 25)]


def lived(sounds: Iterable[Sound], seed: int = 1, mood: Mood = "neutral") -> NDArray[np.float64]:
    """[frames, what a bearing is]"""
    life = Life(seed)
    life.cue(mood, False)
    return np.array([life.step(sound) for sound in sounds])


def test_the_same_session_is_drawn_again() -> None:
    one, same, other = (lived(speech(20), seed_of(name)) for name in ("sess_a", "sess_a", "sess_b"))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_head_turns_as_people_do_and_jerks_at_nothing(seed: int) -> None:
    steps = lived(speech(30, seed), seed)
    yaw = np.degrees(YAW * steps[:, YAW_OF])
    assert 8 <= np.ptp(yaw) <= 17
    assert np.abs(yaw).max() <= 10
    assert np.abs(np.diff(yaw)).max() * 25 < 45  # degrees a second
    assert np.abs(np.diff(steps[:, [YAW_OF, PITCH_OF, 2, 3, BROW, SMILE]], axis=0)).max() < 0.3


def test_blinks_come_as_often_as_peoples_and_are_whole() -> None:
    lids = np.concatenate([lived(speech(60, seed), seed)[:, LID] for seed in SEEDS])
    shut = int(((lids[1:] == 1) & (lids[:-1] < 1)).sum()) / len(SEEDS)
    assert 14 <= shut <= 40
    assert set(np.unique(lids)) <= {0.0, 0.1, 0.35, 0.45, 0.7, 1.0}


def stressed(pitch: float, loudness: float) -> NDArray[np.float64]:
    """After a second of even voice one syllable is as given; mean over lives, less that of the same without it."""
    even = [Sound(0.08, FLAT)] * 25
    syllable = [Sound(loudness, pitch)] * 5
    after = [Sound(0.08, FLAT)] * 10
    kinds = (even + syllable + after, even + [Sound(0.08, FLAT)] * 5 + after)
    with_it, without = (np.mean([lived(kind, seed) for seed in range(40)], axis=0) for kind in kinds)
    return np.asarray((with_it - without)[25:])


@pytest.mark.parametrize(("pitch", "loudness"), [(FLAT + 5, 0.08), (FLAT, 0.17)], ids=["higher", "louder"])
def test_a_stressed_syllable_nods_and_lifts_the_brows(pitch: float, loudness: float) -> None:
    more = stressed(pitch, loudness)
    assert more[:, PITCH_OF].max() > 0.12
    assert more[:, BROW].max() > 0.1
    assert not stressed(FLAT + 1, 0.082).any()


def phrase(end: float) -> NDArray[np.float64]:
    """Two seconds that end at `end` semitones above their usual height, and a second of silence."""
    said = [Sound(0.1, FLAT)] * 44 + [Sound(0.1, FLAT + end)] * 6
    return np.array([lived([*said, *[SILENT] * 25], seed)[44:] for seed in range(40)])


def test_a_sentence_ends_with_a_blink_and_a_question_with_lifted_brows() -> None:
    fallen, risen = phrase(-3), phrase(5)
    blinked = (fallen[:, 6:20, LID] == 1).any(axis=1).mean()
    before = (fallen[:, :6, LID] == 1).any(axis=1).mean()
    assert blinked > 0.6 > 2 * before
    assert risen[:, 12:24, BROW].mean() > fallen[:, 12:24, BROW].mean() + 0.3


def jumps(gaze: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(np.diff(gaze))


def test_eyes_jump_and_rest_and_large_jumps_are_corrected_and_often_blinked_over() -> None:
    steps = np.concatenate([lived(speech(60, seed), seed) for seed in SEEDS])
    still = steps[:, GAZE] + 0.6 * steps[:, YAW_OF]  # as if the head did not turn
    moved = jumps(still)
    assert (moved < 1e-9).mean() > 0.9
    large = np.flatnonzero(moved > 0.2)
    assert len(large) > 20
    corrected = [bool(((moved[at + 3 : at + 9] > 0.01) & (moved[at + 3 : at + 9] < 0.2)).any()) for at in large]
    assert np.mean(corrected) > 0.7
    shut = np.array([steps[at : at + 5, LID].max() == 1 for at in large])
    anywhere = np.convolve(steps[:, LID] == 1, np.ones(5), "valid") > 0
    assert shut.mean() > 2 * anywhere.mean()


def test_eyes_stay_with_the_viewer_when_the_head_turns() -> None:
    steps = np.concatenate([lived(speech(30, seed), seed) for seed in SEEDS])
    assert np.corrcoef(steps[:, YAW_OF], steps[:, GAZE])[0, 1] < -0.5
    assert np.abs(steps[:, GAZE]).max() <= 1


def listened(seed: int, pauses: bool) -> NDArray[np.float64]:
    """Silence of its own; somebody else speaks for three seconds and, if so, pauses for two, six times."""
    life, steps = Life(seed), []
    for _ in range(6):
        for k in range(125):
            life.cue("neutral", not pauses or k < 75)
            steps.append(life.step(SILENT))
    return np.array(steps)


def test_who_listens_looks_steadily_and_nods_when_the_other_pauses() -> None:
    alone = np.concatenate([lived([SILENT] * 750, seed) for seed in SEEDS])
    heard = np.concatenate([listened(seed, pauses=False) for seed in SEEDS])
    gazes = [steps[:, GAZE] + 0.6 * steps[:, YAW_OF] for steps in (alone, heard)]
    assert gazes[1].std() < 0.5 * gazes[0].std()
    pitch = np.array([listened(seed, pauses=True)[:, PITCH_OF].reshape(6, 125) for seed in SEEDS])
    quick = np.abs(np.diff(pitch, axis=2))
    assert quick[..., 75:95].max(axis=2).mean() > 4 * quick[..., 40:74].max(axis=2).mean()


def test_moods_look_different_and_change_within_a_second() -> None:
    rests = {mood: lived([SILENT] * 100, mood=mood)[-1, [SMILE, BROW, 9]] for mood in MOODS}
    for i, one in enumerate(MOODS):
        for other in MOODS[i + 1 :]:
            assert np.abs(rests[one] - rests[other]).max() > 0.1, (one, other)
    life = Life(1)
    before = [life.step(SILENT).smile for _ in range(25)]
    life.cue("cheerful", False)
    after = [life.step(SILENT).smile for _ in range(50)]
    assert after[0] - before[-1] < 0.1
    assert after[-1] > 0.5
