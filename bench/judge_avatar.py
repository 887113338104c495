"""`make judge-avatar`: what the face does, against what was said, on voices never trained on. Exit 1: a bar is missed.

The audio net is judged by its visemes; the face by the pixels of its frames. Each figure has a control that must fail.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from bench import judge_faces
from bench.common import report
from faces import face as faces
from faces import lips, measure
from faces.hearing import TICK
from faces.neural import NeuralRenderer
from faces.training import corpus
from faces.training.corpus import Clip
from faces.training.speech import Missing
from faces.training.train import scores
from faces.visemes import INDEX
from schemas.avatars import STOCK

MINUTES = 3.0
SEED = 90_001
"""Other sentences than training's own held-out ones."""
SIDE = 512
SHIFT_TICKS = 10
_CLOSED = 0.02
"""Mouth widths under which lips touch."""
_EARLY_MS, _LATE_MS = -125.0, 45.0

out = Console(stderr=True)


@dataclass(frozen=True)
class Bar:
    what: str
    value: float
    least: float
    shown: str = ".3f"

    @property
    def held(self) -> bool:
        return self.value >= self.least

    def row(self) -> list[str]:
        return [self.what, f"{self.value:{self.shown}}", f"≥ {self.least:g}", "yes" if self.held else "**no**"]


@dataclass(frozen=True)
class Seen:
    """Mouth openings from the pixels, per clip and frame, and what was said."""

    gaps: list[NDArray[np.float64]]
    clips: list[Clip]

    @property
    def truths(self) -> list[NDArray[np.float32]]:
        return [clip.truth.shapes[:, 0] for clip in self.clips]

    def correlation(self, truths: list[NDArray[np.float32]] | None = None) -> float:
        return measure.correlation(np.concatenate(self.gaps), np.concatenate(truths or self.truths))

    def offsets(self, truths: list[NDArray[np.float32]] | None = None) -> NDArray[np.float64]:
        """Milliseconds by which the picture comes after the sound, per clip."""
        return np.array([measure.lag(g, t, 16) * 40 for g, t in zip(self.gaps, truths or self.truths, strict=True)])


def watch(renderer: NeuralRenderer, name: str, clips: list[Clip], side: int = SIDE) -> Seen:
    """All clips spoken by one face, in one batch."""
    face = faces.stock(name)
    streams = [renderer.open(face, side, seed) for seed in range(len(clips))]
    gaps: list[list[float]] = [[] for _ in clips]
    silence = np.zeros(TICK, np.int16)
    ticks = len(clips[0].truth.visemes)
    for k in range(ticks + 1):
        for stream, clip in zip(streams, clips, strict=True):
            stream.push(clip.pcm[k * TICK : (k + 1) * TICK] if k < ticks else silence)
        for i, frame in enumerate(renderer.step(streams)):
            if frame is not None:
                gaps[i].append(measure.gap(frame, side, face.landmarks))
    return Seen([np.array(g) for g in gaps], clips)


def silences(renderer: NeuralRenderer) -> float:
    """Share of frames with a closed mouth while nothing is said: digital silence, and a room's noise at -60 dB."""
    draw = np.random.default_rng(SEED)
    quiet = np.zeros(TICK * 500, np.int16)
    noise = (draw.normal(0, 32768 * 10 ** (-60 / 20), TICK * 500)).astype(np.int16)
    closed = []
    for pcm in (quiet, noise):
        stream = renderer.open(faces.stock("av_demo"), SIDE, 1)
        for k in range(500):
            stream.push(pcm[k * TICK : (k + 1) * TICK])
            (frame,) = renderer.step([stream])
            if frame is not None:
                closed.append(measure.gap(frame, SIDE, faces.stock("av_demo").landmarks) < _CLOSED)
    return float(np.mean(closed))


def heard(name: str, clips: list[Clip], bars: tuple[float, float, float]) -> tuple[list[Bar], list[list[str]]]:
    """The net's bars, and the control: the same net, judged by what another clip says."""
    net = lips.load()
    made = corpus.features(clips)
    right = scores(net, made)
    wrong = scores(net, corpus.Corpus(made.mels, made.visemes.roll(1, 0), made.shapes.roll(1, 0)))
    keys = ("visemes", "six", "closure recall")
    labels = ("visemes", "six shapes", "bilabial closure recall")
    found = [Bar(f"{label}, {name}", right[k], bar) for k, label, bar in zip(keys, labels, bars, strict=True)]
    controls = [
        control(f"{label}, {name}, another clip's truth", wrong[k], wrong[k] >= bar)
        for k, label, bar in zip(keys, labels, bars, strict=True)
    ]
    return found, controls


def control(what: str, value: float, passed: bool) -> list[str]:
    return [what, f"{value:.3f}", "must fail", "**no**" if passed else "fails"]


def shown(avatar: str, name: str, seen: Seen) -> tuple[list[Bar], list[list[str]], bool]:
    offsets = seen.offsets()
    what = f"{avatar}, {name}"
    labels = np.concatenate([clip.truth.visemes for clip in seen.clips])
    still = np.concatenate(seen.truths) < 0.01
    closed = np.concatenate(seen.gaps)[still & (labels == INDEX["sil"])] < _CLOSED
    bars = [
        Bar(f"aperture from pixels, correlation, {what}", seen.correlation(), 0.80),
        Bar(f"mouth closed in pauses, {what}", float(closed.mean()), 0.95),
    ]
    median, first, last = float(np.median(offsets)), float(offsets.min()), float(offsets.max())
    within = abs(median) <= 20 and first >= _EARLY_MS and last <= _LATE_MS
    row = [
        f"picture after sound, {what}",
        f"median {median:+.0f} ms, {first:+.0f} … {last:+.0f}",
        "median ≤ 20, all −125 … +45",
        "yes" if within else "**no**",
    ]
    others = [*seen.truths[1:], seen.truths[0]]
    late = [np.roll(truth, -SHIFT_TICKS) for truth in seen.truths]
    shifted = seen.offsets(late)
    rows = [
        row,
        control(f"… shuffled: another truth, {what}", (s := seen.correlation(others)), s >= 0.8),
        control(f"… shifted by {SHIFT_TICKS * 40} ms, {what}", seen.correlation(late), seen.correlation(late) >= 0.8),
        [
            f"… offset when shifted by {SHIFT_TICKS * 40} ms, {what}",
            f"median {np.median(shifted):+.0f} ms",
            "must fail",
            "fails" if np.median(shifted) > _LATE_MS else "**no**",
        ],
    ]
    return bars, rows, within


def main() -> int:
    try:
        with out.status("speaking"):
            sets = {
                "held-out variants": corpus.make("variants", MINUTES, SEED),
                "unseen synthesiser": corpus.make("judge", MINUTES, SEED + 1),
            }
    except Missing as missing:
        out.print(f"{missing} (make synthesisers)", style="red")
        return 2
    levels = {"held-out variants": (0.80, 0.85, 0.80), "unseen synthesiser": (0.60, 0.78, 0.55)}
    renderer = NeuralRenderer("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[list[str]] = []
    for name, clips in sets.items():
        bars, controls = heard(name, clips, levels[name])
        rows += [bar.row() for bar in bars] + controls
    for avatar in STOCK:
        for name, clips in sets.items():
            with out.status(f"rendering {avatar}, {name}"):
                bars, more, _ = shown(avatar, name, watch(renderer, avatar, clips))
            rows += [bar.row() for bar in bars] + more
    with out.status("judging the faces by their landmarks"):
        spoken = np.concatenate([clip.pcm for clip in sets["unseen synthesiser"]])
        rows += judge_faces.rows(renderer, spoken)
    rows.append(Bar("mouth closed in silence and in noise of −60 dB", silences(renderer), 0.95).row())
    report(
        "avatar",
        "The face against what was said",
        ["", "measured", "bar", "held"],
        rows,
        [
            f"{MINUTES:.0f} minutes of each kind of speech, made for this run (seed {SEED}); frames of {SIDE}².",
            "Accuracies are shares of all frames, pauses included. The face is measured on the pixels of its frames:"
            " the height between the lips (`faces/measure.py`), against the aperture that the synthesiser's own phoneme"
            " times give.",
            "What a face does with what it is told is seen by another release of the landmark net than built it"
            f" (`bench/judge_faces.py`): {judge_faces.SECONDS} s of speech, one frame in {judge_faces.EVERY},"
            " distances in eye spans. A drawn face's mouth is where it was drawn: what the judge sees elsewhere is its"
            " error. Only two portraits of the public domain ship in"
            " packages: the pictures of the last rows are these two, and each mirrored, tilted, without colour, half as"
            " bright, and smaller.",
            f"Device: {renderer.device}. Speed is in render.md.",
        ],
        command="make judge-avatar",
    )
    return int(any("**no**" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
