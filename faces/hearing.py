"""Log-mel features of speech at 48 kHz, the same for a whole recording and for a stream of 40 ms ticks."""

from __future__ import annotations

import torch
from torch import Tensor

RATE = 48_000
HOP = 480
WINDOW = 1_200
TICK = 1_920
MELS = 40
_FFT = 2_048
_LOW, _HIGH = 80.0, 7_600.0
_FLOOR = 1e-7
"""Power under which everything is silence: about -70 dB of full scale, below a telephone's noise."""
TAIL = WINDOW - HOP
"""Samples of the past that the first window of a tick still needs."""


class LogMel:
    """25 ms windows every 10 ms, 40 bands from 80 Hz to 7.6 kHz: agents send 8 kHz to 48 kHz, all of it is in there."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._window = torch.hann_window(WINDOW, device=device)
        self._bands = _mel_bands().to(device)

    def __call__(self, pcm: Tensor) -> Tensor:
        """[…, TAIL + n * HOP] samples in -1…1 → […, n, MELS]; window i ends with sample TAIL + (i + 1) * HOP."""
        frames = pcm.unfold(-1, WINDOW, HOP) * self._window
        power = torch.fft.rfft(frames, _FFT).abs().square() / WINDOW
        return torch.log(power @ self._bands + _FLOOR)


def _mel_bands() -> Tensor:
    """Triangles, evenly spaced on the mel scale (2595 log10(1 + f / 700))."""
    low, high = (2595 * torch.log10(torch.tensor(1 + f / 700)) for f in (_LOW, _HIGH))
    edges = 700 * (10 ** (torch.linspace(float(low), float(high), MELS + 2) / 2595) - 1)
    bins = torch.arange(_FFT // 2 + 1) * RATE / _FFT
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    bands = torch.minimum(rising, falling).clamp(min=0)
    return bands / bands.sum(dim=0, keepdim=True)
