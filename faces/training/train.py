"""Training of the audio net, seeded; the voices are varied further on their log-mel features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from faces.hearing import MELS
from faces.lips import HISTORY, LOOKAHEAD_TICKS, LipNet
from faces.training.corpus import Corpus
from faces.visemes import INDEX, SIX_OF, VISEMES

CLOSURE_WEIGHT = 3.0
_BATCH = 48
_RATE = 4e-3
REFINING_RATE = 2e-3


@dataclass
class Curves:
    """Per epoch: training loss, and what the held-out sets say."""

    loss: list[float] = field(default_factory=list)
    held: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def then(self, more: Curves) -> Curves:
        return Curves(self.loss + more.loss, {name: self.held[name] + scores for name, scores in more.held.items()})


def train(
    corpus: Corpus,
    held: dict[str, Corpus],
    epochs: int,
    seed: int,
    tell: Callable[[int, float, dict[str, float]], None] = lambda *_: None,
    net: LipNet | None = None,
) -> tuple[LipNet, Curves]:
    """`held` is looked at, never learned from, and nothing is chosen by it: the last epoch is the net. `net`: one that
    has learned already goes on from there, in smaller steps."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    rate = REFINING_RATE if net else _RATE
    if net is None:
        net = LipNet()
        net.mean.copy_(corpus.mels.mean(dim=(0, 1)))
        net.deviation.copy_(corpus.mels.std(dim=(0, 1)))
    steps = epochs * (len(corpus.mels) // _BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    curves = Curves(held={name: [] for name in held})
    weights = torch.ones(len(VISEMES))
    weights[INDEX["PP"]] = 1.5
    for epoch in range(epochs):
        net.train()
        order = torch.randperm(len(corpus.mels), generator=draw)
        total = 0.0
        for chosen in order[: len(order) // _BATCH * _BATCH].view(-1, _BATCH):
            loss = _loss(net, vary(corpus.mels[chosen], draw), corpus.visemes[chosen], corpus.shapes[chosen], weights)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        curves.loss.append(total / max(1, len(order) // _BATCH))
        for name, other in held.items():
            curves.held[name].append(scores(net, other))
        first = next(iter(held), None)
        tell(epoch, curves.loss[-1], curves.held[first][-1] if first else {})
    return net.eval(), curves


def run(net: LipNet, mels: Tensor) -> tuple[Tensor, Tensor]:
    """Whole clips: (visemes [n, t, 15], shapes [n, t, 3]), aligned with the truth; the last tick is its neighbour."""
    reading, _ = net(nn.functional.pad(mels, (0, 0, HISTORY, 0), mode="replicate"))
    return tuple(  # type: ignore[return-value]
        torch.cat([x[:, LOOKAHEAD_TICKS:], x[:, -LOOKAHEAD_TICKS:]], dim=1) for x in (reading.visemes, reading.shapes)
    )


def _loss(net: LipNet, mels: Tensor, visemes: Tensor, shapes: Tensor, weights: Tensor) -> Tensor:
    logits, said = run(net, mels)
    kind = nn.functional.cross_entropy(logits.flatten(0, 1), visemes.flatten(), weights, label_smoothing=0.05)
    form = nn.functional.smooth_l1_loss(said[..., :2], shapes[..., :2], beta=0.1)
    closed = nn.functional.binary_cross_entropy(
        said[..., 2], shapes[..., 2], weight=1 + (CLOSURE_WEIGHT - 1) * shapes[..., 2]
    )
    return kind + 4 * form + closed


@torch.no_grad()
def scores(net: LipNet, corpus: Corpus) -> dict[str, float]:
    """Shares of frames that are right."""
    net.eval()
    logits, shapes = run(net, corpus.mels)
    said, true = logits.argmax(-1).flatten(), corpus.visemes.flatten()
    six = torch.from_numpy(SIX_OF)
    closed = true == INDEX["PP"]
    heard_closed = shapes[..., 2].flatten() > 0.5
    pair = torch.stack([shapes[..., 0].flatten(), corpus.shapes[..., 0].flatten()])
    return {
        "visemes": float((said == true).float().mean()),
        "six": float((six[said] == six[true]).float().mean()),
        "closure recall": float(heard_closed[closed].float().mean()),
        "closure precision": float(closed[heard_closed].float().mean()),
        "aperture": float(torch.corrcoef(pair)[0, 1]),
    }


def vary(mels: Tensor, draw: torch.Generator) -> Tensor:
    """Another throat, loudness, microphone, room and noise for every clip."""
    n = len(mels)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=draw) * (high - low) + low

    def sometimes(share: float) -> Tensor:
        return (torch.rand(n, 1, 1, generator=draw) < share).float()

    power = torch.exp(_throat(mels, 1 + uniform(-0.16, 0.18) * sometimes(0.7)[:, 0, 0]))
    loud = power.mean(dim=(1, 2), keepdim=True)
    echo = power.clone()
    for i in range(1, 12):
        echo[:, i:] += power[:, :-i] * 0.75**i * 0.12
    power = torch.lerp(power, echo, sometimes(0.3))
    bumps = nn.functional.interpolate(uniform(-1.6, 1.6, 1, 6), MELS, mode="linear", align_corners=True)
    power = power * torch.exp(bumps * sometimes(0.7))
    telephone = 1 - sometimes(0.2) * (torch.arange(MELS) > 28).float()
    colour = torch.exp(nn.functional.interpolate(uniform(-2, 2, 1, 4), MELS, mode="linear", align_corners=True))
    noise = -torch.log(torch.rand(mels.shape, generator=draw) + 1e-9) * colour
    power = (power + noise * loud * torch.exp(uniform(-10, -3.5, 1, 1)) * sometimes(0.6)) * telephone
    return torch.log(power * torch.exp(uniform(-5, 2, 1, 1)) + 1e-7)


def _throat(mels: Tensor, factor: Tensor) -> Tensor:
    """Bands moved along the frequency axis, per clip."""
    at = (torch.arange(MELS) * factor[:, None]).clamp(0, MELS - 1.001)
    low = at.floor().long()
    share = (at - low)[:, None, :]
    index = low[:, None, :].expand(-1, mels.shape[1], -1)
    return mels.gather(2, index) * (1 - share) + mels.gather(2, index + 1) * share
