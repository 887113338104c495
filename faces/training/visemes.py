"""`greenroom train visemes`: speech, training, weights, model card, learning curves. About 7 minutes on two cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from faces.lips import WEIGHTS, LipNet
from faces.training import corpus as corpora
from faces.training.corpus import Corpus
from faces.training.train import CLOSURE_WEIGHT, Curves, train

CARD = WEIGHTS.with_suffix(".md")
CURVES = Path(__file__).parents[2] / "docs" / "pictures" / "training.png"


@dataclass(frozen=True)
class Recipe:
    """Minutes of speech, epochs and the seed of everything that is drawn at random."""

    espeak_minutes: float = 90
    flite_minutes: float = 50
    held_minutes: float = 4
    epochs: int = 100
    seed: int = 7


@dataclass(frozen=True)
class Done:
    net: LipNet
    curves: Curves
    seconds: float


Tell = Callable[[str, float, float], None]
"""What is done, how far, of how much."""


def held_out(recipe: Recipe) -> dict[str, Corpus]:
    """Speech that is never trained on: another synthesiser's voice, and espeak-ng's variants kept aside."""
    return {
        name: corpora.features(corpora.make(kind, recipe.held_minutes, recipe.seed + i))
        for i, (name, kind) in enumerate((("unseen synthesiser", "judge"), ("held-out variants", "variants")), 2)
    }


def make(recipe: Recipe, tell: Tell) -> Done:
    """Train and write everything. Raises Missing when a synthesiser is not installed."""
    began = time.monotonic()
    minutes = recipe.espeak_minutes + recipe.flite_minutes
    made = 0.0

    def spoken(more: float) -> None:
        nonlocal made
        made += more
        tell("speaking", made, minutes)

    clips = corpora.make("espeak", recipe.espeak_minutes, recipe.seed, spoken)
    clips += corpora.make("flite", recipe.flite_minutes, recipe.seed + 1, spoken)
    held = held_out(recipe)
    net, curves = train(
        corpora.features(clips), held, recipe.epochs, recipe.seed, lambda e, *_: tell("training", e + 1, recipe.epochs)
    )
    done = Done(net, curves, time.monotonic() - began)
    _write(done, recipe)
    return done


def _write(done: Done, recipe: Recipe) -> None:
    from safetensors.torch import save

    WEIGHTS.parent.mkdir(exist_ok=True)
    WEIGHTS.write_bytes(save(dict(done.net.state_dict())))
    CARD.write_text(_card(done, recipe))
    _draw(done.curves)


def _card(done: Done, recipe: Recipe) -> str:
    parameters = sum(p.numel() for p in done.net.parameters())
    rows = "\n".join(
        f"| {name} | " + " | ".join(f"{value:.3f}" for value in scores[-1].values()) + " |"
        for name, scores in done.curves.held.items()
    )
    columns = list(next(iter(done.curves.held.values()))[-1])
    return f"""# Model card: visemes

Log-mel features of speech in, the mouth's shape out, 25 times a second: 15 visemes, aperture, roundness, closure.
{parameters:,} parameters ({WEIGHTS.stat().st_size / 1e6:.2f} MB), 40 ms of lookahead. Made by `greenroom train visemes`
(seed {recipe.seed}, {recipe.epochs} epochs, {done.seconds / 60:.1f} minutes, torch {torch.__version__.split("+")[0]}).

**Trained on** {recipe.espeak_minutes:.0f} minutes of espeak-ng (seven accents of English, many voice variants) and
{recipe.flite_minutes:.0f} minutes of flite (kal16, awb, rms), made by the training itself from word lists; no recording
of any person's speech by us is in it. Throat length, loudness, microphone, room, telephone band and noise are varied
during training; a frame of a closure counts {CLOSURE_WEIGHT:.0f} times.

**Never trained on**: flite's `{corpora.JUDGE}`, and espeak-ng's variants {", ".join(corpora.HELD_OUT_VARIANTS)}.

| per frame | {" | ".join(columns)} |
| --- |{" --- |" * len(columns)}
{rows}

**What it is for**: moving the lips of a drawn or photographed face to an agent's speech. **What it is not**: speech
recognition. It learned synthetic English; real voices and other languages are heard through what they share with that.
It has no notion of who speaks, and stores nothing.
"""


def _draw(curves: Curves) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    left.plot(curves.loss, color="#444444")
    left.set(title="training loss", xlabel="epoch")
    for (name, scores), style in zip(curves.held.items(), ("-", "--"), strict=True):
        for key, colour in (("visemes", "#2f7f86"), ("six", "#c8606a"), ("closure recall", "#4b5685")):
            right.plot([s[key] for s in scores], style, color=colour, label=f"{key}, {name}")
    right.set(title="never trained on", xlabel="epoch", ylim=(0, 1))
    right.legend(fontsize=7)
    CURVES.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(CURVES, dpi=110, metadata={"Software": None})
    plt.close(figure)
