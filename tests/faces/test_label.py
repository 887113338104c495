"""Labels: which texts are taken, and what they leave of a frame."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from faces.label import Lettering, clean, problem
from schemas.labels import Corner, Label

pytestmark = pytest.mark.unit

SIZES = [(256, 256), (288, 512), (512, 512), (576, 1024), (720, 720), (720, 1280)]


@pytest.mark.parametrize(
    "text",
    [
        "AI-generated",
        "KI-generiert · künstlich",
        "Généré par IA",
        "Σύνθετο βίντεο",
        "Създадено от ИИ",
        "e\u0301te\u0301",
        " AI ",
    ],
)
def test_words_of_europe_are_labels(text: str) -> None:
    assert problem(clean(text)) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "needs a text"),
        (" \n\t", "needs a text"),
        ("x" * 33, "at most 32 characters, not 33"),
        ("W" * 32, "too wide"),
        ("人工智能", "U+4EBA, U+5DE5, U+667A, U+80FD"),
        ("AI 🤖", "U+1F916"),
        ("a\u202eb", "U+202E"),
        ("a\u200bb", "U+200B"),
        ("a\u00a0b", "U+00A0"),
        ("a\nb", "U+000A"),
        ("a\x00b", "U+0000"),
        ("\ud800", "U+D800"),
        ("\ufffd", "U+FFFD"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, told: str) -> None:
    assert told in (problem(clean(text)) or "")


def planes(frame: bytes, width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    data = np.frombuffer(frame, np.uint8)
    return data[: width * height].reshape(height, width), data[width * height :].reshape(2, height // 2, width // 2)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("corner", get_args(Corner))
def test_it_lies_in_its_corner_and_touches_nothing_else(width: int, height: int, corner: Corner) -> None:
    noise = np.random.default_rng(1).integers(16, 236, width * height * 3 // 2, np.uint8).tobytes()
    drawn = Lettering(Label("AI-generated", corner), width, height).on(noise)
    (luma, chroma), (was, chroma_was) = planes(drawn, width, height), planes(noise, width, height)
    rows, columns = np.nonzero(luma != was)
    down, right = corner.startswith("bottom"), corner.endswith("right")
    assert (rows.min() > height / 2) == down
    assert (rows.max() > height / 2) == down
    assert columns.min() > width / 2 if right else columns.min() < width / 20
    assert (width - columns.max() < width / 20) == right
    assert height - rows.max() > 2  # the lowest two rows are cut off a frame that makes the encoder begin anew
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    assert box[0].stop - box[0].start < 0.12 * width
    assert np.percentile(luma[box], 97) > 220  # letters
    assert np.percentile(luma[box], 40) < 90  # before darkness, whatever was there
    rows, columns = np.nonzero((chroma != chroma_was).any(axis=0))
    assert box[0].start // 2 <= rows.min() < rows.max() <= box[0].stop // 2
    assert box[1].start // 2 <= columns.min() < columns.max() <= box[1].stop // 2


@pytest.mark.parametrize("text", ["W" * 500, "\u202e", "人", " ", "g" * 32, "two\nlines"])
@pytest.mark.parametrize(("width", "height"), [(256, 256), (720, 1280)])
def test_a_text_that_nobody_has_checked_is_drawn_within_the_frame(text: str, width: int, height: int) -> None:
    """A newer API may take more: no session fails for its label."""
    frame = bytes([200]) * (width * height * 3 // 2)
    for corner in get_args(Corner):
        assert len(Lettering(Label(text, corner), width, height).on(frame)) == len(frame)
