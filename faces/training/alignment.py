"""When each phoneme of a recording is spoken: forced alignment of its words by pocketsphinx, every 10 ms.

Its dictionary knows no stress, so the vowel of "a", "the" and "about" is that of "cut" there, a wide open mouth. flite
says which of them are reduced.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.training import flite
from faces.training.speech import Missing
from faces.visemes import Phone

RATE = 16_000
_FRAME_S = 0.01
_PAUSES = ("SIL", "+")
_VOWELS = frozenset(["aa", "ae", "ah", "ao", "aw", "ax", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw"])
_SAID = {"a": ["ax"], "of": ["ax", "v"], "from": ["f", "r", "ax", "m"], "was": ["w", "ax", "z"], "us": ["ax", "s"]}
"""Words that flite stresses when they stand alone."""


class Unaligned(Exception):
    """The words are not in the dictionary, or are not what is heard."""


class Aligner:
    """One per process: it takes a second to load. Raises Missing."""

    def __init__(self) -> None:
        try:
            import pocketsphinx
        except ImportError:
            raise Missing("pocketsphinx is not installed: make voices") from None
        self._decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL")

    def align(self, pcm: NDArray[np.int16], text: str) -> list[Phone]:
        """`pcm`: mono at 16 kHz. flite's phoneme names, without gaps between them. Raises Unaligned."""
        said = words(text)
        if not said or (strange := [w for w in said if w not in dictionary()]):
            raise Unaligned(f"not in the dictionary: {', '.join(strange) if said else text!r}")
        try:
            self._decoder.set_align_text(" ".join(said))
            self._hear(pcm)
            self._decoder.set_alignment()
            self._hear(pcm)
            alignment = self._decoder.get_alignment()
        except RuntimeError as failed:
            raise Unaligned(str(failed)) from None
        if alignment is None:
            raise Unaligned(f"not what is heard: {text!r}")
        found: list[Phone] = []
        for word in alignment:
            phones = [(p.name, p.start * _FRAME_S, (p.start + p.duration) * _FRAME_S) for p in word]
            names = reduced(re.sub(r"\(\d+\)$", "", word.name), [name for name, _, _ in phones])
            found += [Phone(name, start, end) for name, (_, start, end) in zip(names, phones, strict=True)]
        return found

    def _hear(self, pcm: NDArray[np.int16]) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), full_utt=True)
        self._decoder.end_utt()


def words(text: str) -> list[str]:
    return [w for w in re.sub(r"[^a-z' ]", " ", text.lower().replace("’", "'")).split() if w.strip("'")]


@cache
def dictionary() -> frozenset[str]:
    """The words that can be aligned. Raises Missing."""
    try:
        import pocketsphinx
    except ImportError:
        raise Missing("pocketsphinx is not installed: make voices") from None
    path = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
    return frozenset(line.split(" ", 1)[0] for line in path.read_text(encoding="utf-8").splitlines())


def reduced(word: str, names: list[str]) -> list[str]:
    """The phonemes of a word as flite calls them, its reduced vowels among them. Of another pronunciation than
    flite's nothing is known."""
    plain = ["pau" if n.startswith(_PAUSES) else n.lower() for n in names]
    if "ah" not in plain:
        return plain
    other = [n for n in _pronounced(word) if n in _VOWELS]
    vowels = [i for i, n in enumerate(plain) if n in _VOWELS]
    if len(other) != len(vowels):
        return plain
    for i, name in zip(vowels, other, strict=True):
        if plain[i] == "ah" and name != "ah":
            plain[i] = "ax"
    return plain


@cache
def _pronounced(word: str) -> list[str]:
    return _SAID.get(word) or flite.phonemes([word])[0]
