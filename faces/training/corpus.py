"""The speech that the net learns from, and the speech that it is judged by: seeded, made in a minute, never stored."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray

from faces.hearing import HOP, RATE, TAIL, TICK, LogMel
from faces.sound import to_48k
from faces.training import flite, kokoro
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


def joined(spoken: Iterable[Spoken], gaps_s: Iterable[float] = repeat(0.0)) -> list[Clip]:
    """Each of them once, one after the other, cut into clips of CLIP_S; what fills no clip at the end is left out.
    `gaps_s`: the silence before each."""
    parts: list[NDArray[np.int16]] = []
    phones: list[Phone] = []
    at = 0
    for each, gap_s in zip(spoken, gaps_s, strict=False):
        sound = to_48k(each.pcm, each.rate)
        silence = np.zeros(int(gap_s * RATE), np.int16)
        start = (at + len(silence)) / RATE
        phones += [
            Phone("pau", at / RATE, start),
            *(replace(p, start=p.start + start, end=p.end + start) for p in each.phones),
        ]
        parts += [silence, sound]
        at += len(silence) + len(sound)
    count = at // (CLIP_S * RATE)
    pcm = np.concatenate(parts)[: count * CLIP_S * RATE].reshape(count, -1)
    truth = track(phones, count * CLIP_S, "flite")
    return [
        Clip(sound, Track(visemes, shapes))
        for sound, visemes, shapes in zip(
            pcm, truth.visemes.reshape(count, -1), truth.shapes.reshape(count, -1, 3), strict=True
        )
    ]


def _kokoro(seconds: float, seed: int, held_out: bool) -> list[Clip]:
    pick = np.random.default_rng(seed)
    say = kokoro.Speaker(seed, held_out)
    spoken: list[Spoken] = []
    while sum(each.seconds for each in spoken) < seconds:
        spoken.append(say())
    # Kokoro is silent for a third of a second before and after each sentence, as it is.
    return joined(spoken, iter(lambda: float(pick.exponential(0.3)) if pick.random() < 0.3 else 0.0, None))


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
    if kind in ("kokoro", "neural"):
        return _kokoro(seconds, seed, held_out=kind == "neural")
    say = {
        "espeak": lambda: espeak_voice(_VARIANTS.split(), seed),
        "flite": lambda: flite_voice(_FLITE_VOICES, seed),
        "variants": lambda: espeak_voice(HELD_OUT_VARIANTS, seed),
        "judge": lambda: flite_voice([JUDGE], seed),
    }[kind]()
    return list(clips(say, seconds, seed))


def make(kind: str, minutes: float, seed: int, tell: Callable[[float], None] = lambda _: None) -> list[Clip]:
    """`kind`: espeak, flite, kokoro (trained on), variants, judge, neural (never). `tell` gets minutes done. Raises
    Missing."""
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


def together(parts: list[Corpus]) -> Corpus:
    return Corpus(*(torch.cat([getattr(part, of) for part in parts]) for of in ("mels", "visemes", "shapes")))


def first(corpus: Corpus, minutes: float) -> Corpus:
    clips = round(minutes * 60 / CLIP_S)
    return Corpus(corpus.mels[:clips], corpus.visemes[:clips], corpus.shapes[:clips])
