"""Sentences of common words, in the order in which words are used: drawn from the trigrams of pocketsphinx's language
model, so that little words stand and are swallowed where they are in speech. Few of them mean anything."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faces.training.alignment import dictionary
from faces.training.speech import Missing

if TYPE_CHECKING:
    from pocketsphinx import NGramModel

_COMMON = 12_000
"""Words that are drawn from. Rarer ones are names, and spoken otherwise than the dictionary says."""
_CANDIDATES = 60
_LOG_BASE = 1.0001


class Prose:
    """An endless, seeded supply. Raises Missing."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        self._words, self._usual = _vocabulary()
        self._rare = random.Random(seed)  # noqa: S311

    def __call__(self) -> str:
        said: list[str] = []
        for _ in range(int(self._draw.integers(5, 15))):
            # One in eight whatever came before, so that every sound meets others.
            said.append(self._rare.choice(self._words) if self._draw.random() < 0.125 else self._next(said))
            if len(said) > 3 and self._draw.random() < 0.07 and not said[-1].endswith(","):
                said[-1] += ","
        return " ".join(said).rstrip(",") + str(self._draw.choice(list("....?!")))

    def _next(self, said: list[str]) -> str:
        """Drawn from words as they are used alone, then by how much likelier each is after the last two."""
        chosen = self._draw.choice(len(self._words), _CANDIDATES, p=self._usual)
        before = [word.rstrip(",") for word in reversed(said[-2:])]
        after = _likely([[self._words[i], *before] for i in chosen])
        share = after / self._usual[chosen]
        return self._words[int(self._draw.choice(chosen, p=share / share.sum()))]


def _likely(grams: list[list[str]]) -> NDArray[np.float64]:
    """Of each first word after those that follow it in the list, the last one spoken first."""
    return _LOG_BASE ** np.array([_model().prob(gram) for gram in grams], np.float64)


@cache
def _model() -> NGramModel:
    try:
        import pocketsphinx
    except ImportError:
        raise Missing("pocketsphinx is not installed: make voices") from None
    path = Path(pocketsphinx.get_model_path()) / "en-us" / "en-us.lm.bin"
    return pocketsphinx.NGramModel(pocketsphinx.Config(), pocketsphinx.LogMath(), str(path))


@cache
def _vocabulary() -> tuple[list[str], NDArray[np.float64]]:
    """The common words of the dictionary, and the share of each."""
    words = sorted(word for word in dictionary() if word.replace("'", "").isalpha())
    shares = _likely([[word] for word in words])
    common = np.sort(np.argsort(-shares)[:_COMMON])
    return [words[i] for i in common], shares[common] / shares[common].sum()
