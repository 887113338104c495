"""From portraits to faces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faces.face import GAZES, LIDS, SIDE, Face, UnreadableFace, stock
from faces.fit import Unfit, fit
from faces.neural import NeuralRenderer
from schemas.avatars import STOCK, Positions
from tests import portraits

pytestmark = pytest.mark.nets


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


EXTREMES = {
    "corners": Positions((0, 0), (2047, 0), (0, 2047), (2047, 2047)),
    "eyes at the sides, mouth at the bottom": Positions((0, 1900), (2047, 1900), (0, 2047), (2047, 2047)),
    "all at the bottom": Positions((900, 2000), (1100, 2000), (900, 2047), (1100, 2047)),
    "all in the last rows": Positions((900, 2046), (1100, 2046), (900, 2047), (1100, 2047)),
    "in the first corner": Positions((0, 0), (40, 0), (0, 40), (40, 40)),
    "in the last corner": Positions((2000, 2000), (2046, 2000), (2000, 2046), (2046, 2046)),
    "at the left edge": Positions((0, 900), (40, 900), (0, 1000), (30, 1000)),
    "eyes 37 pixels apart": Positions((1000, 1000), (1037, 1000), (1005, 1040), (1030, 1040)),
    "the mouth far below": Positions((1000, 10), (1037, 10), (1005, 2040), (1030, 2040)),
    "the mouth at the lower edge": Positions((850, 900), (1200, 900), (850, 2040), (1200, 2040)),
    "the mouth just below the eyes": Positions((850, 900), (1200, 900), (850, 901), (1200, 901)),
    "the mouth wider than the face": Positions((1000, 1000), (1037, 1000), (5, 1040), (2030, 1040)),
    "the mouth as wide as it may be": Positions((850, 900), (1200, 900), (816, 1300), (1234, 1300)),
    "the mouth narrower than a pixel": Positions((850, 900), (1200, 900), (1000, 1300), (1000.001, 1300)),
    "the mouth upright": Positions((850, 900), (1200, 900), (1000, 910), (1001, 2040)),
    "the mouth at one side": Positions((850, 900), (1200, 900), (2000, 1300), (2040, 1300)),
    "the mouth as far aside as it may be": Positions((850, 900), (1200, 900), (1030, 1250), (1228, 1250)),
    "a head lying on its side": Positions((1000, 100), (1001, 1500), (1000, 1600), (1100, 1600)),
}


def opens(face: Face) -> None:
    """As a session opens it, in the smallest format, and one frame."""
    renderer = NeuralRenderer(device="cpu")
    stream = renderer.open(renderer.load("", face.to_bytes("av_1")), 256, seed=0)
    for _ in range(2):
        stream.push(np.zeros(1920, np.int16))
        frames = renderer.step([stream])
    assert frames[0] is not None
    assert len(frames[0]) == 256 * 256 * 3 // 2


@pytest.mark.parametrize("where", EXTREMES.values(), ids=EXTREMES)
def test_any_positions_are_refused_or_give_a_face_that_opens(where: Positions) -> None:
    try:
        face = fit(pixels(portraits.noise(2048, 2048)), where)
    except Unfit:
        return
    opens(face)


place = st.tuples(st.floats(0, 399), st.floats(0, 399))


@settings(max_examples=60, deadline=None)
@given(place, st.floats(37, 300), st.floats(-60, 60), st.floats(-0.5, 0.5), st.floats(0, 2.5), st.floats(0, 1.5))
def test_so_do_positions_that_look_like_a_face(
    eye: tuple[float, float], apart: float, slope: float, aside: float, below: float, wide: float
) -> None:
    (x, y), half = eye, wide * apart / 2
    middle, line = x + apart / 2 + aside * apart, y + slope / 2 + below * apart
    where = Positions((x, y), (x + apart, y + slope), (middle - half, line), (middle + half, line))
    try:
        face = fit(pixels(portraits.noise()), where)
    except Unfit:
        return
    opens(face)


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
