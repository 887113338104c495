"""Other backgrounds, and frames of 9:16: what of a face they change, and what not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from faces.backdrop import behind
from faces.checks import Unfit
from faces.face import SIDE, TALL, Face
from faces.fit import fit
from faces.motion import Pose
from faces.stage import Stage
from schemas.avatars import Background, asked_for
from tests import portraits

pytestmark = pytest.mark.nets

TURNED = Pose(yaw=1.0, pitch=0.7, roll=0.6, breath=1.0, aperture=0.6)
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def square() -> Face:
    return fit(np.asarray(portraits.hopper()))


@pytest.fixture(scope="module")
def tall() -> Face:
    return fit(np.asarray(portraits.hopper()), shape="portrait")


def asked(said: str) -> Background:
    found = asked_for(said)
    assert found is not None
    return found


def rgb(face: Face, pose: Pose, width: int) -> Picture:
    stage = Stage(face, width)
    return np.asarray(cv2.cvtColor(stage.draw([pose])[0].reshape(-1, width), cv2.COLOR_YUV2RGB_I420), np.uint8)


def matte(face: Face, width: int) -> Picture:
    assert face.matte is not None
    return np.asarray(cv2.resize(face.matte, (width, width), interpolation=cv2.INTER_AREA), np.uint8)


def difference(a: Picture, b: Picture) -> NDArray[np.int_]:
    return np.asarray(np.abs(a.astype(int) - b).max(axis=-1), int)


def test_the_person_stays_and_all_else_is_the_colour(square: Face) -> None:
    """At rest, and behind a head that has moved away: nothing of what was there comes back."""
    green = Face.from_bytes(behind(square, asked("#00B140")).to_bytes())
    share, was = matte(green, 512), matte(square, 512)
    person = cv2.erode((was > 250).astype(np.uint8), np.ones((9, 9))) > 0
    rest, before = rgb(green, Pose(), 512), rgb(square, Pose(), 512)
    assert np.quantile(difference(rest, before)[person], 0.99) <= 8
    assert person.mean() > 0.3
    far = cv2.dilate((share > 2).astype(np.uint8), np.ones((7, 7))) == 0
    assert far.mean() > 0.2
    for picture in (rest, rgb(green, TURNED, 512)):
        still = cv2.dilate((share > 2).astype(np.uint8), np.ones((41, 41))) == 0
        assert difference(picture, np.full_like(picture, (0, 0xB1, 0x40)))[still].max() <= 4
    assert difference(rest, np.full_like(rest, (0, 0xB1, 0x40)))[far].max() <= 6


def test_a_blurred_background_is_smooth_and_the_face_is_not(square: Face) -> None:
    def detail(face: Face) -> tuple[float, float]:
        picture, share = rgb(face, Pose(), 512).mean(axis=-1).astype(np.float32), matte(square, 512)
        fine = np.abs(picture - cv2.GaussianBlur(picture, (0, 0), 2))
        around = cv2.dilate((share > 2).astype(np.uint8), np.ones((31, 31))) == 0
        return float(fine[around].mean()), float(fine[cv2.erode(share, np.ones((15, 15))) > 250].mean())

    (behind_before, face_before), (behind_after, face_after) = detail(square), detail(behind(square, asked("blur")))
    assert behind_after < 0.3 * behind_before
    assert face_after > 0.95 * face_before


@pytest.mark.parametrize("size", [(300, 1600), (1600, 300), (256, 256)], ids=["wide", "tall", "small"])
def test_an_image_covers_the_frame_with_its_middle(square: Face, tall: Face, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    image[..., 0] = 200
    edge = tuple(slice(None, round(0.02 * length)) for length in size)
    image[edge[0]] = 0
    image[:, edge[1]] = 0
    for face in (square, tall):
        laid = behind(face, Background("image", asset="a" * 64), image)
        assert laid.backdrop is not None
        assert laid.backdrop.shape == (SIDE, SIDE, 3)
        assert laid.backdrop[SIDE // 2, :, 0].max() > 190
        whole = rgb(laid, Pose(), 288)
        assert whole.shape == (288 * face.height // SIDE, 288, 3)


def test_a_portrait_is_a_square_above_what_stands_still(tall: Face) -> None:
    again = Face.from_bytes(tall.to_bytes())
    assert again.height == TALL
    rest, turned = rgb(again, Pose(), 576), rgb(again, TURNED, 576)
    assert rest.shape == (1024, 576, 3)
    assert np.array_equal(rest[576:], turned[576:])
    assert (difference(rest, turned)[:560] > 20).mean() > 0.05  # the head has moved
    assert difference(rest, turned)[570:576].max() <= 3  # and is at rest again where the square ends
    across = np.abs(np.diff(turned[566:586].astype(int), axis=0)).mean(axis=(1, 2))
    assert across[8:11].max() < 2 * np.median(across) + 2  # no line between them


def test_a_portrait_before_another_background_has_it_down_to_its_feet(tall: Face) -> None:
    picture = rgb(behind(tall, asked("green")), TURNED, 288)
    corner = picture[: 288 // 3, -20:]
    assert difference(corner, np.full_like(corner, (0, 0xB1, 0x40))).max() <= 6
    rest = rgb(tall, TURNED, 288)
    middle = slice(300, 500), slice(90, 200)
    assert np.quantile(difference(picture[middle], rest[middle]), 0.95) <= 8


def test_what_cannot_be_done_is_told(square: Face) -> None:
    with pytest.raises(Unfit, match="must be tall"):
        fit(np.asarray(portraits.hopper().crop((0, 0, 512, 380))), shape="portrait")
    unknown = Face(**{**vars(portraits.undrawable()), "matte": None})
    with pytest.raises(Unfit, match="cannot be told from what is behind"):
        behind(unknown, asked("blur"))
    assert asked_for("#12345") is None
    assert asked_for("#123456\n") is None
    assert asked_for("Blur") is None
