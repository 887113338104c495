"""`greenroom train visemes`: speech, training, weights, model card, learning curves. 15 minutes on two cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from faces.lips import WEIGHTS, LipNet
from faces.training import corpus as corpora
from faces.training import recordings
from faces.training.corpus import Corpus
from faces.training.kokoro import HELD_OUT
from faces.training.train import CLOSURE_WEIGHT, Curves, train

CARD = WEIGHTS.with_suffix(".md")
CURVES = Path(__file__).parents[2] / "docs" / "pictures" / "training.png"


@dataclass(frozen=True)
class Recipe:
    """Minutes of speech, epochs and the seed of everything that is drawn at random.

    All is learned from espeak-ng and flite, whose truth is exact and which cost nothing; then the net is refined with
    Kokoro, which is much nearer to what it will hear, and costs a minute of a core for each of its own."""

    espeak_minutes: float = 90
    flite_minutes: float = 50
    epochs: int = 100
    kokoro_minutes: float = 12
    kokoro_times: int = 2
    """How often each of its minutes is heard in an epoch."""
    kept_minutes: float = 10
    """Of espeak-ng and of flite each, while it is refined: so that nothing is forgotten."""
    refining_epochs: int = 25
    held_minutes: float = 4
    seed: int = 7


@dataclass(frozen=True)
class Done:
    net: LipNet
    curves: Curves
    seconds: float


Tell = Callable[[str, float, float], None]
"""What is done, how far, of how much."""


def held_out(recipe: Recipe) -> dict[str, Corpus]:
    """Speech that is never trained on: another synthesiser's voice, variants of espeak-ng's and voices of Kokoro's kept
    aside, and two persons."""
    kinds = (("unseen synthesiser", "judge"), ("held-out variants", "variants"), ("neural synthesiser", "neural"))
    made = {name: corpora.make(kind, recipe.held_minutes, recipe.seed + i) for i, (name, kind) in enumerate(kinds, 3)}
    made["a reader"] = corpora.joined(recordings.reader())
    made["an announcer"] = corpora.joined(recordings.announcer(recipe.held_minutes * 60, recipe.seed))
    return {name: corpora.features(clips) for name, clips in made.items()}


def make(recipe: Recipe, tell: Tell) -> Done:
    """Train and write everything. Raises Missing when a synthesiser is not installed."""
    began = time.monotonic()
    kinds = (
        ("espeak", recipe.espeak_minutes),
        ("flite", recipe.flite_minutes),
        ("kokoro", recipe.kokoro_minutes),
    )
    all_minutes = sum(minutes for _, minutes in kinds)
    made = 0.0

    def spoken(more: float) -> None:
        nonlocal made
        made += more
        tell("speaking", made, all_minutes)

    speech = [
        corpora.features(corpora.make(kind, minutes, recipe.seed + i, spoken))
        for i, (kind, minutes) in enumerate(kinds)
    ]
    held = held_out(recipe)
    epochs = recipe.epochs + recipe.refining_epochs
    net, curves = train(
        corpora.together(speech[:2]), held, recipe.epochs, recipe.seed, lambda e, *_: tell("training", e + 1, epochs)
    )
    net, more = train(
        refining(recipe, *speech), held, recipe.refining_epochs, recipe.seed + 1,
        lambda e, *_: tell("training", recipe.epochs + e + 1, epochs), net,
    )  # fmt: skip
    curves = curves.then(more)
    done = Done(net, curves, time.monotonic() - began)
    _write(done, recipe)
    return done


def refining(recipe: Recipe, espeak: Corpus, flite: Corpus, kokoro: Corpus) -> Corpus:
    """What the net is refined with."""
    kept = [corpora.first(each, recipe.kept_minutes) for each in (espeak, flite)]
    return corpora.together([*kept, *[kokoro] * recipe.kokoro_times])


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
    epochs = f"{recipe.epochs} + {recipe.refining_epochs}"
    columns = list(next(iter(done.curves.held.values()))[-1])
    return f"""# Model card: visemes

Log-mel features of speech in, the mouth's shape out, 25 times a second: 15 visemes, aperture, roundness, closure.
{parameters:,} parameters ({WEIGHTS.stat().st_size / 1e6:.2f} MB), 40 ms of lookahead. Made by `greenroom train visemes`
(seed {recipe.seed}, {epochs} epochs, {done.seconds / 60:.1f} minutes, torch {torch.__version__.split("+")[0]}).

**Trained on** speech that the training makes itself; nothing of it is a recording of a person:

| minutes | of | licence |
| --- | --- | --- |
| {recipe.espeak_minutes:.0f} | espeak-ng: seven accents of English, many variants | GPL 3 |
| {recipe.flite_minutes:.0f} | flite: kal16, awb, rms | BSD-like |
| {recipe.kokoro_minutes:.0f} | Kokoro: the English voices of `kokoro-js`, and mixtures with its others | Apache 2.0 |

espeak-ng and flite read word lists and made-up words, and say themselves when each phoneme is spoken. Then Kokoro, a
neural synthesiser, refines what was learned, beside {recipe.kept_minutes:.0f} minutes of each of the others. It reads
what the trigrams of pocketsphinx's language model give (BSD), and pocketsphinx aligns it; vowels that flite reduces are
taken as reduced. Throat length, loudness, microphone, room, telephone band and noise are varied all along; a frame of a
closure counts {CLOSURE_WEIGHT:.0f} times.

**Never trained on**: flite's `{corpora.JUDGE}`; espeak-ng's variants {", ".join(corpora.HELD_OUT_VARIANTS)};
Kokoro's {", ".join(HELD_OUT)}; and any person. A reader (LibriVox, in Debian's `pocketsphinx-testdata`, BSD)
and an announcer (Allison Smith, in Debian's `asterisk-core-sounds-en-g722`, CC BY-SA 3.0) are aligned the same way.

| per frame | {" | ".join(columns)} |
| --- |{" --- |" * len(columns)}
{rows}

**What it is for**: moving the lips of a drawn or photographed face to an agent's speech. **What it is not**: speech
recognition. It learned synthetic English; persons and other languages are heard through what they share with that.
It has no notion of who speaks, and stores nothing.
"""


def _draw(curves: Curves) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    left.plot(curves.loss, color="#444444")
    left.set(title="training loss", xlabel="epoch")
    colours = ("#c8606a", "#2f7f86", "#4b5685", "#b07d2b", "#555555")
    for (name, scores), colour in zip(curves.held.items(), colours, strict=True):
        for key, style in (("visemes", "-"), ("aperture", ":")):
            right.plot([s[key] for s in scores], style, color=colour, label=f"{key}, {name}")
    right.set(title="never trained on", xlabel="epoch", ylim=(0, 1))
    right.legend(fontsize=7)
    CURVES.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(CURVES, dpi=110, metadata={"Software": None})
    plt.close(figure)
