"""The speech that the net learns from, and the speech that it is judged by: seeded, made in a minute, never stored."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from faces.hearing import HOP, RATE, TAIL, TICK, LogMel
from faces.sound import to_48k
from faces.training import flite
from faces.training.espeak import Espeak
from faces.training.speech import Spoken
from faces.training.text import Sentences
from faces.visemes import FPS, Phone, Track, track

CLIP_S = 8
_ACCENTS = ["en-us", "en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"]
_VARIANTS = """
    Alex Alicia Andrea Andy Annie Diogo Gene Gene2 Henrique Hugo Lee Marco Mario Michael Mike Nguyen Storm Tweaky adam
    anika announcer antonio aunty belinda benjamin boris caleb croak david ed edward edward2 f1 f2 f4 f5 grandma grandpa
    gustave iven iven2 iven3 iven4 kaukovalta klatt klatt2 klatt3 klatt4 klatt5 klatt6 linda m1 m2 m3 m5 m6 m7 m8
    marcelo max michel miguel norbert pablo paul pedro quincy rob robert sandro steph2 steph3 victor whisperf zac
"""
HELD_OUT_VARIANTS = ["f3", "m4", "Denis", "Jacky", "john", "shelby", "steph", "travis"]
"""Never trained on."""
_FLITE_VOICES = ["kal16", "awb", "rms"]
JUDGE = "slt"
"""The flite voice that is never trained on: the only woman's among them, and of another kind than espeak-ng's."""


@dataclass(frozen=True)
class Clip:
    """`pcm`: int16 48 kHz, whole ticks. `truth`: per tick."""

    pcm: NDArray[np.int16]
    truth: Track


@dataclass(frozen=True)
class Corpus:
    """Stacked clips: log-mel [n, 4 t, 40], visemes [n, t], shapes [n, t, 3]."""

    mels: torch.Tensor
    visemes: torch.Tensor
    shapes: torch.Tensor

    @property
    def minutes(self) -> float:
        return self.visemes.numel() / FPS / 60


Say = Callable[[], Spoken]


def clips(say: Say, seconds: float, seed: int) -> Iterator[Clip]:
    """Speech with silences between, cut into clips of CLIP_S."""
    pick = np.random.default_rng(seed)
    for _ in range(max(1, round(seconds / CLIP_S))):
        parts: list[NDArray[np.int16]] = []
        phones: list[Phone] = []
        at = 0.0
        names = ""
        while at < CLIP_S:
            spoken = say()
            names = spoken.names
            gap = round(float(pick.exponential(0.35) if pick.random() < 0.8 else pick.uniform(0.8, 2.0)), 3)
            sound = to_48k(spoken.pcm, spoken.rate)
            parts += [np.zeros(int(gap * RATE), np.int16), sound]
            phones += [
                Phone("pau" if names == "flite" else "_", at, at + gap),
                *(replace(p, start=p.start + at + gap, end=p.end + at + gap) for p in spoken.phones),
            ]
            at = sum(map(len, parts)) / RATE
        truth = track(phones, CLIP_S, names)
        yield Clip(np.concatenate(parts)[: CLIP_S * RATE], truth)


def espeak_voice(variants: list[str], seed: int) -> Say:
    """Another variant, accent, rate and pitch for every sentence."""
    pick, sentences, espeak = random.Random(seed), Sentences(seed), Espeak()  # noqa: S311

    def say() -> Spoken:
        voice = f"{pick.choice(_ACCENTS)}+{pick.choice(variants)}"
        rate, pitch, spread = pick.randint(120, 230), pick.randint(20, 80), pick.randint(20, 80)
        return espeak.say(sentences(), voice, rate, pitch, spread)

    return say


def flite_voice(voices: list[str], seed: int) -> Say:
    pick, sentences = random.Random(seed), Sentences(seed)  # noqa: S311

    def say() -> Spoken:
        voice = pick.choice(voices)
        # Played faster or slower, a voice has another throat: its formants move with the rate.
        throat = pick.uniform(0.85, 1.3) if voice != JUDGE else 1.0
        spoken = flite.say(sentences(), voice, stretch=pick.uniform(0.8, 1.3) * throat)
        phones = [replace(p, start=p.start / throat, end=p.end / throat) for p in spoken.phones]
        return Spoken(spoken.pcm, round(spoken.rate * throat), phones, spoken.names)

    return say


def _piece(job: tuple[str, float, int]) -> list[Clip]:
    kind, seconds, seed = job
    say = {
        "espeak": lambda: espeak_voice(_VARIANTS.split(), seed),
        "flite": lambda: flite_voice(_FLITE_VOICES, seed),
        "variants": lambda: espeak_voice(HELD_OUT_VARIANTS, seed),
        "judge": lambda: flite_voice([JUDGE], seed),
    }[kind]()
    return list(clips(say, seconds, seed))


def make(kind: str, minutes: float, seed: int, tell: Callable[[float], None] = lambda _: None) -> list[Clip]:
    """`kind`: espeak, flite (both trained on), variants, judge (neither). `tell` gets minutes done. Raises Missing."""
    jobs = [(kind, 60.0, seed * 10_000 + i) for i in range(max(1, round(minutes)))]
    found: list[Clip] = []
    with ProcessPoolExecutor() as pool:
        for piece in pool.map(_piece, jobs):
            found += piece
            tell(1)
    return found


def features(found: list[Clip]) -> Corpus:
    mel = LogMel()
    mels = []
    for clip in found:
        pcm = torch.from_numpy(clip.pcm.astype(np.float32) / 32768)
        mels.append(mel(torch.nn.functional.pad(pcm, (TAIL, 0))))
    assert all(len(m) * HOP == len(c.truth.visemes) * TICK for m, c in zip(mels, found, strict=True))
    return Corpus(
        torch.stack(mels),
        torch.from_numpy(np.stack([c.truth.visemes for c in found])),
        torch.from_numpy(np.stack([c.truth.shapes for c in found])),
    )
