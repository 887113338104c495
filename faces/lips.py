"""The audio net: log-mel frames in, the mouth's shape out, one step of 40 ms at a time, for any number of sessions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from faces.hearing import MELS
from faces.visemes import VISEMES

WEIGHTS = Path(__file__).parent / "weights" / "visemes.safetensors"
HISTORY = 8
"""Mel frames before a tick that its convolutions see."""
LOOKAHEAD_TICKS = 1
"""Step k says what the mouth does in tick k - 1: 40 ms of what follows are heard first."""
_HIDDEN = 128


@dataclass(frozen=True)
class Reading:
    """What the net says, per step: viseme logits […, 15] and aperture, roundness, closure in 0…1 […, 3]."""

    visemes: Tensor
    shapes: Tensor


class LipNet(nn.Module):
    """Causal convolutions from 100 to 25 Hz, a GRU of 128, linear heads."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(MELS, 96, 3),
            nn.GELU(),
            nn.Conv1d(96, 96, 3, stride=2),
            nn.GELU(),
            nn.Conv1d(96, _HIDDEN, 3, stride=2),
            nn.GELU(),
        )
        self.memory = nn.GRU(_HIDDEN, _HIDDEN, batch_first=True)
        self.visemes = nn.Linear(_HIDDEN, len(VISEMES))
        self.shapes = nn.Linear(_HIDDEN, 3)
        self.register_buffer("mean", torch.zeros(MELS))
        self.register_buffer("deviation", torch.ones(MELS))

    def forward(self, mels: Tensor, state: Tensor | None = None) -> tuple[Reading, Tensor]:
        """[batch, HISTORY + 4 n, MELS] → n steps, and the state [1, batch, 128] to go on from."""
        normal = (mels - self.mean) / self.deviation
        seen = self.convolutions(normal.transpose(1, 2)).transpose(1, 2)
        heard, state = self.memory(seen, state)
        return Reading(self.visemes(heard), torch.sigmoid(self.shapes(heard))), state


def load(device: torch.device | str = "cpu") -> LipNet:
    """The committed weights."""
    from safetensors.torch import load_file

    net = LipNet()
    net.load_state_dict(load_file(WEIGHTS))
    return net.to(device).eval()
