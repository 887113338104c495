"""From portraits to faces."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from faces.face import GAZES, LIDS, SIDE, Face, UnreadableFace, stock
from faces.fit import Unfit, fit
from schemas.avatars import STOCK, Positions
from tests import portraits

pytestmark = pytest.mark.unit


def pixels(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", list(STOCK))
@pytest.mark.parametrize("turn", [0, 8])
def test_eyes_and_mouth_are_found(name: str, turn: int) -> None:
    """On drawings whose landmarks are known; after levelling, eyes are at one height."""
    truth = stock(name).landmarks
    spread = truth.eye_right.x - truth.eye_left.x
    face = fit(pixels(portraits.drawn(name).rotate(turn, fillcolor="white", resample=Image.Resampling.BICUBIC)))
    marks = face.landmarks
    found = marks.eye_right.x - marks.eye_left.x
    assert marks.eye_left.y == pytest.approx(marks.eye_right.y, abs=1e-6)
    below = (marks.mouth_centre.y - marks.eye_left.y) / found
    assert below == pytest.approx((truth.mouth_centre.y - truth.eye_left.y) / spread, abs=0.15)
    assert marks.mouth_width / found == pytest.approx(truth.mouth_width / spread, abs=0.2)
    assert face.portrait.shape == (SIDE, SIDE, 3)


def test_a_large_portrait_is_averaged_and_not_sampled() -> None:
    grain = np.random.default_rng(2).normal(0, 40, (2000, 2000, 1))
    noisy = np.clip(pixels(portraits.drawn(side=2000)) + grain, 0, 255).astype(np.uint8)
    where = Positions((780, 840), (1220, 840), (850, 1280), (1150, 1280))
    corner = fit(noisy, where).portrait[10:60, 10:60].astype(float)
    assert corner.std(axis=(0, 1)).max() < 15


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (portraits.noise(), "No face"),
        (Image.new("RGB", (800, 600), "white"), "No face"),
        (portraits.two_people(), "Several faces"),
        (portraits.drawn(side=720).resize((120, 120)), "The face is too small"),
    ],
    ids=["noise", "white", "two people", "too small"],
)
def test_what_is_no_portrait(picture: Image.Image, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        fit(pixels(picture))


def test_given_positions_are_taken() -> None:
    where = Positions((150, 150), (250, 150), (165, 250), (235, 250))
    face = fit(pixels(portraits.noise()), where)
    marks = face.landmarks
    assert (marks.mouth_centre.y - marks.eye_left.y) / (marks.eye_right.x - marks.eye_left.x) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "where",
    [
        Positions((250, 150), (150, 150), (165, 250), (235, 250)),
        Positions((150, 150), (160, 150), (165, 250), (235, 250)),
        Positions((float("nan"), 150), (250, 150), (165, 250), (235, 250)),
        Positions((150, 150), (250, 150), (165, 90), (235, 90)),
        Positions((150, 150), (250, 150), (9e9, 250), (9.1e9, 250)),
    ],
    ids=["crossed", "too near", "not a number", "mouth above", "far outside"],
)
def test_senseless_positions_are_told(where: Positions) -> None:
    with pytest.raises(Unfit):
        fit(pixels(portraits.noise()), where)


def test_a_face_survives_its_file() -> None:
    face = fit(pixels(portraits.drawn()))
    again = Face.from_bytes(face.to_bytes("av_1"))
    assert again.landmarks == face.landmarks
    assert np.array_equal(again.portrait, face.portrait)
    assert again.eyes.shape[:2] == (LIDS, GAZES)
    assert np.array_equal(again.eyes, face.eyes)
    assert face.to_bytes("av_1") == again.to_bytes("av_1") != face.to_bytes("av_2")


def test_what_is_no_face_file() -> None:
    whole = stock("av_demo").to_bytes()
    for data in (b"", b"PK", whole[:1000], b"\x89PNG"):
        with pytest.raises(UnreadableFace):
            Face.from_bytes(data)
