"""The 52 ARKit shapes at the 468 points of the landmark net, of a neutral head; written by `faces.shapes.make`."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).parent / "arkit.npz"
_STEP = 1 / 2048
"""Of the head's width at the eyes' outer corners; what is stored is counted in it."""

Floats = NDArray[np.float64]


@cache
def neutral() -> Floats:
    """[468, 3]: x to the viewer's right, y down, z towards the viewer; 1 from eye to eye, 0 between them."""
    with np.load(FILE) as stored:
        return np.asarray(stored["neutral"] * _STEP)


@cache
def shapes() -> dict[str, Floats]:
    """By ARKit's name: what the whole shape adds to `neutral`, [468, 3]."""
    with np.load(FILE) as stored:
        return dict(zip((str(name) for name in stored["names"]), stored["shapes"] * _STEP, strict=True))


@cache
def mirror() -> NDArray[np.int64]:
    """[468]: of each point the one that is its mirror image."""
    with np.load(FILE) as stored:
        return np.asarray(stored["mirror"], np.int64)


def write(places: Floats, names: list[str], moves: Floats, other: NDArray[np.int64]) -> None:
    """`places` [468, 3] and `moves` [n, 468, 3] of a head whose y is up."""
    eyes = (places[33] + places[133]) / 2, (places[263] + places[362]) / 2
    scale = float(np.linalg.norm(eyes[1] - eyes[0]))
    flip = np.array([1, -1, 1]) / scale / _STEP
    buffer = {
        "names": np.array(names),
        "mirror": other.astype(np.uint16),
        "neutral": np.rint((places - (eyes[0] + eyes[1]) / 2) * flip).astype(np.int16),
        "shapes": np.rint(moves * flip).astype(np.int16),
    }
    with zipfile.ZipFile(FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in buffer.items():
            stored = io.BytesIO()
            np.save(stored, values, allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (2000, 1, 1, 0, 0, 0)), stored.getvalue(), zipfile.ZIP_DEFLATED
            )
