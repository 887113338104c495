"""Of `make judge-avatar`: hearing on voices that nobody made for it. A reader and an announcer, who are persons, and a
neural synthesiser's voices that were kept aside. The truth is forced alignment, which errs itself. Exit 1: a bar is
missed. `python -m bench.judge_voices` is this part alone, in two minutes."""

from __future__ import annotations

import sys

import numpy as np
from rich.console import Console

from bench.common import report
from faces import lips, measure
from faces.lips import LipNet
from faces.sound import resample
from faces.training import alignment, corpus, flite, recordings
from faces.training.alignment import Aligner, Unaligned
from faces.training.corpus import Clip, Corpus
from faces.training.prose import Prose
from faces.training.speech import Missing
from faces.training.train import scores
from faces.visemes import track

READER, ANNOUNCER, NEURAL = "a reader", "an announcer", "a neural synthesiser"
ANNOUNCER_S = 600.0
NEURAL_MINUTES = 1.0
SEED = 90_003
ALIGNED = 20
"""Sentences."""
BARS = {"visemes": 0.62, "aperture": 0.80}
_LABELS = {
    "visemes": "visemes",
    "aperture": "aperture heard, correlation",
    "six": "six shapes",
    "closure recall": "bilabial closure recall",
    "closure precision": "bilabial closure precision",
}

out = Console(stderr=True)


def voices(seed: int) -> dict[str, list[Clip]]:
    """Raises Missing."""
    return {
        READER: corpus.joined(recordings.reader()),
        ANNOUNCER: corpus.joined(recordings.announcer(ANNOUNCER_S, seed)),
        NEURAL: corpus.make("neural", NEURAL_MINUTES, seed),
    }


def rows(net: LipNet, name: str, made: Corpus) -> list[list[str]]:
    """What is right of what the net hears, and the same net against what another clip says, which must fail."""
    right = scores(net, made)
    wrong = scores(net, Corpus(made.mels, made.visemes.roll(1, 0), made.shapes.roll(1, 0)))
    found = []
    for key, label in _LABELS.items():
        what = f"{label}, {name}"
        if (bar := BARS.get(key)) is None:
            found.append([what, f"{right[key]:.3f}", "", "–"])
            continue
        found.append([what, f"{right[key]:.3f}", f"≥ {bar:g}", "yes" if right[key] >= bar else "**no**"])
        failed = "fails" if wrong[key] < bar else "**no**"
        found.append([f"{what}, another clip's truth", f"{wrong[key]:.3f}", "must fail", failed])
    return found


def aligner(seed: int) -> list[list[str]]:
    """How good the truth is: alignment of flite's speech, against flite's own times."""
    align, prose = Aligner(), Prose(seed)
    own, found = [], []
    for _ in range(ALIGNED):
        text = prose()
        said = flite.say(text, corpus.JUDGE)
        try:
            phones = align.align(resample(said.pcm, said.rate, alignment.RATE), text)
        except Unaligned:
            continue
        own.append(track(said.phones, said.seconds, said.names))
        found.append(track(phones, said.seconds, said.names))
    same = np.concatenate([a.visemes == b.visemes for a, b in zip(own, found, strict=True)]).mean()
    opened = [np.concatenate([each.shapes[:, 0] for each in each_way]) for each_way in (own, found)]
    what = "of the alignment itself, against flite's own times"
    return [
        [f"visemes, {what}", f"{same:.3f}", "", "–"],
        [f"aperture, correlation, {what}", f"{measure.correlation(*opened):.3f}", "", "–"],
    ]


def main() -> int:
    try:
        with out.status("speaking and aligning"):
            heard = {name: corpus.features(clips) for name, clips in voices(SEED).items()}
            truth = aligner(SEED)
    except Missing as missing:
        out.print(f"{missing} (make synthesisers voices)", style="red")
        return 2
    net = lips.load()
    judged = [row for name, made in heard.items() for row in rows(net, name, made)]
    minutes = ", ".join(f"{name} {made.minutes:.1f}" for name, made in heard.items())
    report(
        "hearing",
        "What is heard of persons",
        ["", "measured", "bar", "held"],
        [*judged, *truth],
        [
            f"Minutes: {minutes}. Shares of all frames, pauses included.",
            "The reader (LibriVox) and the announcer (Asterisk's prompts) are persons, of whom nothing is learned; the"
            " neural synthesiser is Kokoro, with voices that training leaves out. Their truth is pocketsphinx's"
            " alignment, which errs, too, as the last rows say: so what is right is understated.",
        ],
        command="make judge-avatar",
    )
    return int(any("**no**" in row for row in judged))


if __name__ == "__main__":
    sys.exit(main())
