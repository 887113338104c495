"""What a synthesiser gives: sound, and the phonemes in it with their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.visemes import Phone


class Missing(Exception):
    """A synthesiser that training needs is not on this machine; running the product needs none."""


@dataclass(frozen=True)
class Spoken:
    """int16 mono. `names`: whose phoneme names these are."""

    pcm: NDArray[np.int16]
    rate: int
    phones: list[Phone]
    names: str

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.rate
