"""The mouth's shapes: the 15 visemes of the OVR set, what each looks like, and which phoneme is which.

Phoneme names of two synthesisers are known here: espeak-ng's mnemonics and flite's (the CMU set).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FPS = 25
"""Frames a second, of the model and of the video."""

VISEMES = ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "ih", "oh", "ou")
INDEX = {name: index for index, name in enumerate(VISEMES)}

SIX = {
    "rest": ("sil",),
    "closed": ("PP",),
    "lip on teeth": ("FF",),
    "narrow": ("TH", "DD", "kk", "CH", "SS", "nn", "RR"),
    "open": ("aa", "E", "ih"),
    "round": ("oh", "ou"),
}
"""The visemes by what a viewer can tell apart at a glance."""
SIX_OF: NDArray[np.int64] = np.array([next(i for i, g in enumerate(SIX.values()) if name in g) for name in VISEMES])


class Shape(NamedTuple):
    """A mouth, each in 0…1: how far open, how round (lips narrowed and forward), how firmly closed."""

    aperture: float
    roundness: float
    closure: float


SHAPES: dict[str, Shape] = {
    "sil": Shape(0.00, 0.10, 0.0),
    "PP": Shape(0.00, 0.15, 1.0),
    "FF": Shape(0.10, 0.10, 0.0),
    "TH": Shape(0.22, 0.05, 0.0),
    "DD": Shape(0.24, 0.05, 0.0),
    "kk": Shape(0.30, 0.10, 0.0),
    "CH": Shape(0.20, 0.60, 0.0),
    "SS": Shape(0.14, 0.00, 0.0),
    "nn": Shape(0.22, 0.05, 0.0),
    "RR": Shape(0.26, 0.45, 0.0),
    "aa": Shape(1.00, 0.05, 0.0),
    "E": Shape(0.65, 0.00, 0.0),
    "ih": Shape(0.42, 0.00, 0.0),
    "oh": Shape(0.70, 0.70, 0.0),
    "ou": Shape(0.34, 1.00, 0.0),
}


@dataclass(frozen=True)
class Phone:
    """A phoneme in speech, seconds from its start."""

    name: str
    start: float
    end: float


_FLITE = {
    "pau": ["sil"],
    "aa": ["aa"], "ae": ["aa"], "ah": ["aa"], "ao": ["oh"], "aw": ["aa", "ou"], "ax": ["ih"], "axr": ["RR"],
    "ay": ["aa", "ih"], "eh": ["E"], "er": ["RR"], "ey": ["E", "ih"], "ih": ["ih"], "iy": ["ih"], "ow": ["oh", "ou"],
    "oy": ["oh", "ih"], "uh": ["ou"], "uw": ["ou"],
    "b": ["PP"], "p": ["PP"], "m": ["PP"], "f": ["FF"], "v": ["FF"], "th": ["TH"], "dh": ["TH"],
    "d": ["DD"], "t": ["DD"], "g": ["kk"], "k": ["kk"], "ng": ["kk"],
    "ch": ["CH"], "jh": ["CH"], "sh": ["CH"], "zh": ["CH"], "s": ["SS"], "z": ["SS"],
    "n": ["nn"], "l": ["nn"], "r": ["RR"], "w": ["ou"], "y": ["ih"], "hh": ["*"],
}  # fmt: skip
"""Two visemes share the time of a diphthong; `*` has no shape of its own and takes that of what follows."""

_ESPEAK = {
    "_": ["sil"], "_:": ["sil"], "_!": ["sil"], "_|": ["sil"], "_::": ["sil"],
    "p": ["PP"], "b": ["PP"], "m": ["PP"], "f": ["FF"], "v": ["FF"], "T": ["TH"], "D": ["TH"],
    "t": ["DD"], "d": ["DD"], "t#": ["DD"], "t2": ["DD"], "*": ["DD"], "t[": ["DD"], "?": ["*"],
    "k": ["kk"], "g": ["kk"], "N": ["kk"], "x": ["kk"],
    "tS": ["CH"], "dZ": ["CH"], "S": ["CH"], "Z": ["CH"], "s": ["SS"], "z": ["SS"], "z#": ["SS"],
    "n": ["nn"], "n-": ["nn"], "l": ["nn"], "l#": ["nn"], "@L": ["nn"], "r": ["RR"], "r-": ["RR"], "r/": ["RR"],
    "w": ["ou"], "w#": ["ou"], "j": ["ih"], "h": ["*"], ";": ["*"],
    "a": ["aa"], "a#": ["ih"], "aa": ["aa"], "A": ["aa"], "A:": ["aa"], "A@": ["aa"], "V": ["aa"], "Va": ["aa"],
    "0": ["oh"], "0#": ["ih"], "O": ["oh"], "O:": ["oh"], "O@": ["oh"], "o@": ["oh"], "o": ["oh"], "O2": ["oh"],
    "oU": ["oh", "ou"], "OI": ["oh", "ih"], "aI": ["aa", "ih"], "aU": ["aa", "ou"], "eI": ["E", "ih"],
    "aI2": ["aa", "ih"], "IR": ["RR"], "VR": ["RR"], "aI@": ["aa", "ih", "RR"], "aI3": ["aa", "ih", "RR"],
    "aU@": ["aa", "ou", "RR"],
    "E": ["E"], "e": ["E"], "e:": ["E"], "E2": ["E"], "E#": ["E"], "e@": ["E", "RR"], "3": ["RR"], "3:": ["RR"],
    "i": ["ih"], "i:": ["ih"], "I": ["ih"], "I2": ["ih"], "I#": ["ih"], "i@": ["ih", "RR"], "i@3": ["ih", "RR"],
    "@": ["ih"], "@2": ["ih"], "@5": ["ih"], "@-": ["ih"],
    "u": ["ou"], "u:": ["ou"], "U": ["ou"], "U@": ["ou", "RR"], "yu:": ["ou"],
}  # fmt: skip

_REDUCED = {"ax": 0.34, "@": 0.34, "@2": 0.34, "@5": 0.34, "@-": 0.25, "a#": 0.34, "0#": 0.34, "iy": 0.34, "i": 0.34}
"""Vowels that open less than their viseme says."""

_RATE = 100


class Unmapped(Exception):
    """A phoneme that no viseme is known for."""


@dataclass(frozen=True)
class Track:
    """What a mouth does, per video frame: viseme indices [n] and `Shape` values [n, 3]."""

    visemes: NDArray[np.int64]
    shapes: NDArray[np.float32]


def track(phones: list[Phone], seconds: float, names: str) -> Track:
    """The truth for speech whose phonemes are known. Frame k shows the middle of its 40 ms.

    Shapes are blended over time as a mouth does it (25 ms to either side), but a closure is never blended away: lips
    touch during /p b m/, however short. `names`: `espeak` or `flite`. Raises Unmapped.
    """
    segments = _segments(phones, _ESPEAK if names == "espeak" else _FLITE)
    steps = int(np.ceil(seconds * _RATE)) + 8
    labels = np.zeros(steps, np.int64)
    shapes = np.tile(np.array(SHAPES["sil"], np.float32), (steps, 1))
    for viseme, aperture, start, end in segments:
        a, b = round(start * _RATE), max(round(start * _RATE) + 1, round(end * _RATE))
        labels[a:b] = INDEX[viseme]
        shapes[a:b] = SHAPES[viseme]
        if aperture is not None:
            shapes[a:b, 0] = aperture
    smooth = np.stack([_blend(shapes[:, i]) for i in range(3)], axis=1)
    held = shapes[:, 2] > 0
    near = np.convolve(held, np.ones(3), "same") > 0
    smooth[near, 0] *= 0.5
    smooth[held] = SHAPES["PP"]
    frames = int(seconds * FPS)
    middle = (np.arange(frames) * (_RATE // FPS)) + _RATE // FPS // 2
    closed = np.stack([held[np.clip(middle + d, 0, steps - 1)] for d in (-1, 0)]).any(axis=0)
    picked = smooth[middle].astype(np.float32)
    picked[closed] = SHAPES["PP"]
    visemes = labels[middle]
    visemes[closed] = INDEX["PP"]
    return Track(visemes, picked)


def _segments(phones: list[Phone], table: dict[str, list[str]]) -> list[tuple[str, float | None, float, float]]:
    """(viseme, own aperture, start, end), diphthongs cut, `*` given the shape of its neighbour."""
    found: list[tuple[str, float | None, float, float]] = []
    for phone in phones:
        if phone.name not in table:
            raise Unmapped(phone.name)
        parts = table[phone.name]
        length = (phone.end - phone.start) / len(parts)
        for i, part in enumerate(parts):
            found.append((part, _REDUCED.get(phone.name), phone.start + i * length, phone.start + (i + 1) * length))
    for i in range(len(found) - 1, -1, -1):
        if found[i][0] == "*":
            after = found[i + 1] if i + 1 < len(found) else ("sil", None, 0.0, 0.0)
            found[i] = (after[0], after[1], found[i][2], found[i][3])
    return found


def _blend(values: NDArray[np.float32]) -> NDArray[np.float32]:
    t = np.arange(-6, 7)
    kernel = np.exp(-0.5 * (t / 2.5) ** 2)
    padded = np.pad(values, 6, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), "valid").astype(np.float32)
