"""From portraits to faces."""

from __future__ import annotations

import io
import json
import zipfile

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from faces import landmarks, measure, nets, shut
from faces.face import Face, OldFace, UnreadableFace, stock
from faces.fit import Unfit, fit, opened
from faces.landmarks import Mesh
from faces.motion import Pose
from faces.neural import NeuralRenderer
from faces.pixels import Pixels, planes
from faces.stage import Stage
from schemas.avatars import STOCK, Positions
from tests import portraits

pytestmark = pytest.mark.nets


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def photograph() -> Face:
    return fit(pixels(portraits.hopper()))


def looked_at(picture: Pixels) -> Mesh:
    return landmarks.mesh(picture, landmarks.faces(picture)[0])


@pytest.mark.parametrize(("name", "turn"), [("av_demo", 0), ("av_stock_001", 8)])
def test_eyes_and_mouth_are_found(name: str, turn: int) -> None:
    """On drawings whose landmarks are known; after levelling, eyes are at one height."""
    assert name in STOCK
    truth = stock(name).landmarks
    spread = truth.eye_right.x - truth.eye_left.x
    marks = fit(
        pixels(portraits.drawn(name).rotate(turn, fillcolor="white", resample=Image.Resampling.BICUBIC))
    ).landmarks
    found = marks.eye_right.x - marks.eye_left.x
    assert marks.eye_left.y == pytest.approx(marks.eye_right.y, abs=0.01)
    below = (marks.mouth_centre.y - marks.eye_left.y) / found
    assert below == pytest.approx((truth.mouth_centre.y - truth.eye_left.y) / spread, abs=0.05)
    assert marks.mouth_width / found == pytest.approx(truth.mouth_width / spread, abs=0.1)


def test_at_rest_a_photograph_is_as_it_was_sent(photograph: Face) -> None:
    """Lips that are shut already are left alone, and so is all else."""
    shown = Stage(photograph, 720).draw([Pose()])[0][: 720 * 720].reshape(720, 720)
    sent, _ = planes(photograph.portrait)
    error = float(np.mean((shown - sent) ** 2))
    assert 10 * np.log10(255**2 / error) > 38


@pytest.mark.parametrize("less", ["colour", "light"])
def test_lips_that_are_shut_stay_as_they_are_with_less(photograph: Face, less: str) -> None:
    """The net sees such lips further apart than others."""
    picture = portraits.hopper()
    made = picture.convert("L") if less == "colour" else picture.point(lambda value: value // 2)
    wide = [face.landmarks.mouth_width for face in (photograph, fit(pixels(made)))]
    assert wide[1] == pytest.approx(wide[0], rel=0.04)


def test_a_gap_is_between_lips_and_not_under_a_chin(photograph: Face) -> None:
    """Teeth that are not white are seen, too."""
    poses = [Pose(aperture=a, yaw=yaw) for a in (0.0, 0.15, 0.3, 0.6) for yaw in (0.0, 1.0)]
    seen = [measure.gap(frame, 512, photograph.landmarks) for frame in Stage(photograph, 512).draw(poses)]
    shut_, narrow, open_, wide = np.array(seen).reshape(4, 2)
    assert shut_.max() < 0.02
    assert narrow.min() > 0.02
    assert open_.min() > 0.07
    assert wide.min() > 0.15


def test_the_mouth_opens_as_far_as_it_is_told_and_the_background_stands_still(photograph: Face) -> None:
    """Seen by the landmark net on the frames; the head turned, the mouth open."""
    told = np.array([0.0, 0.2, 0.4, 0.7, 1.0])
    stage = Stage(photograph, 512)
    frames = [rgb(frame) for frame in stage.draw([Pose(aperture=float(a), yaw=0.5, roll=0.5) for a in told])]
    seen = np.array([shut.gap(looked_at(frame).points) for frame in frames])
    assert np.corrcoef(told, seen)[0, 1] > 0.97
    assert seen[0] < 0.05
    assert seen[-1] > 0.25
    rest = rgb(stage.draw([Pose()])[0]).astype(int)
    corners = np.s_[40:140, 460:510]
    assert np.abs(frames[-1][corners].astype(int) - rest[corners]).max() <= 2
    assert np.abs(frames[-1].astype(int) - rest)[60:180, 150:380].mean() > 4  # which the head does not


def test_lids_leave_what_glasses_reflect_where_it_is(photograph: Face) -> None:
    drawn = Stage(photograph, 720).draw([Pose(), Pose(lid=1.0)])
    rest, blinked = (frame[: 720 * 720].reshape(720, 720).astype(int) for frame in drawn)
    eye = photograph.landmarks.eye_left
    x, y = round(eye.x * 720), round(eye.y * 720)
    lens = np.s_[y - 45 : y - 8, x - 50 : x + 50]
    bright = rest[lens] > 170
    assert bright.sum() > 300
    assert ((np.abs(blinked - rest)[lens] > 25) & bright).sum() < 10
    assert np.abs(blinked - rest)[y - 6 : y + 6, x - 6 : x + 6].mean() > 8  # it does come down


def test_a_smile_in_black_and_white_has_teeth() -> None:
    smile = rgb(Stage(stock("av_demo"), 720).draw([Pose(aperture=0.3, smile=0.5)])[0], 720)
    grey = np.repeat(smile.mean(axis=2).astype(np.uint8)[..., None], 3, axis=2)
    own = fit(grey).teeth[..., :3]
    assert np.ptp(own, axis=2).max() == 0  # the portrait's, and not a drawn row


def rgb(frame: Pixels, side: int = 512) -> Pixels:
    return np.asarray(cv2.cvtColor(frame.reshape(side * 3 // 2, side), cv2.COLOR_YUV2RGB_I420), np.uint8)


def test_a_large_portrait_is_averaged_and_not_sampled() -> None:
    grain = np.random.default_rng(2).normal(0, 40, (2000, 2000, 1))
    noisy = np.clip(pixels(portraits.drawn(side=2000)) + grain, 0, 255).astype(np.uint8)
    where = Positions((780, 840), (1220, 840), (850, 1280), (1150, 1280))
    corner = fit(noisy, where).portrait[10:60, 10:60].astype(float)
    assert corner.std(axis=(0, 1)).max() < 15


def masked(picture: Image.Image) -> Image.Image:
    """With dark glasses."""
    picture = picture.copy()
    marks = stock("av_demo").landmarks
    for eye in (marks.eye_left, marks.eye_right):
        x, y = eye.x * picture.width, eye.y * picture.height
        reach = 0.1 * picture.width
        ImageDraw.Draw(picture).ellipse((x - reach, y - reach * 0.8, x + reach, y + reach * 0.9), fill=(8, 8, 10))
    return picture


def darkened(picture: Image.Image) -> Image.Image:
    return picture.point(lambda value: value // 9)


DEMO = portraits.drawn()
REFUSED = {
    "noise": (portraits.noise(), "No face"),
    "white": (Image.new("RGB", (800, 600), "white"), "No face"),
    "two people": (portraits.two_people(), "Several faces"),
    "too small": (DEMO.resize((120, 120)), "The face is too small"),
    "cut off": (DEMO.crop((0, 0, 370, 720)), "cut off|No face"),
    "tilted": (DEMO.rotate(42, fillcolor="white"), "tilted by"),
    "dark glasses": (masked(DEMO), "The eyes are hidden"),
    "dark": (darkened(portraits.drawn("av_stock_001")), "too dark|No face"),
}


@pytest.mark.parametrize(("picture", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_portrait(picture: Image.Image, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        fit(pixels(picture))


def test_without_the_nets_it_is_said_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faces.nets.metadata.files", lambda package: [])
    assert "requirements/landmarks.lock" in (nets.missing() or "")
    with pytest.raises(nets.Missing, match="make setup"):
        nets.path(nets.MESH)


def test_given_positions_are_taken() -> None:
    where = Positions((150, 150), (250, 150), (165, 250), (235, 250))
    marks = fit(pixels(portraits.noise()), where).landmarks
    assert (marks.mouth_centre.y - marks.eye_left.y) / (marks.eye_right.x - marks.eye_left.x) == pytest.approx(
        1, abs=0.02
    )
    assert marks.mouth_width / (marks.eye_right.x - marks.eye_left.x) == pytest.approx(0.7, abs=0.02)


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
    "all at the bottom": Positions((900, 2000), (1100, 2000), (900, 2047), (1100, 2047)),
    "in the last corner": Positions((2000, 2000), (2046, 2000), (2000, 2046), (2046, 2046)),
    "at the left edge": Positions((0, 900), (40, 900), (0, 1000), (30, 1000)),
    "eyes 37 pixels apart": Positions((1000, 1000), (1037, 1000), (1005, 1040), (1030, 1040)),
    "the mouth at the lower edge": Positions((850, 900), (1200, 900), (850, 2040), (1200, 2040)),
    "the mouth as wide as it may be": Positions((850, 900), (1200, 900), (816, 1300), (1234, 1300)),
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


@settings(max_examples=12, deadline=None)
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


def test_a_face_survives_its_file(photograph: Face) -> None:
    again = Face.from_bytes(photograph.to_bytes("av_1"))
    assert np.allclose(again.points, photograph.points, atol=1e-5)
    for one, other in ((again.portrait, photograph.portrait), (again.teeth, photograph.teeth)):
        assert np.array_equal(one, other)
    assert again.matte is not None
    assert photograph.matte is not None
    assert np.array_equal(again.matte, photograph.matte)
    assert photograph.to_bytes("av_1") == again.to_bytes("av_1") != photograph.to_bytes("av_2")


def first_version(portrait: Pixels, face: Face) -> bytes:
    """As the builder of 0.1 stored it; what a new face needs of it."""
    packed, picture = io.BytesIO(), io.BytesIO()
    Image.fromarray(portrait).save(picture, "PNG")
    marks = face.landmarks
    points = {name: {"x": p.x, "y": p.y} for name in marks.__struct_fields__ for p in [getattr(marks, name)]}
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("landmarks.json", json.dumps(points | {"lip_upper": 0.02, "eye_width": 0.09}))
        archive.writestr("portrait.png", picture.getvalue())
        archive.writestr("eyes.png", picture.getvalue())
    return packed.getvalue()


def test_a_face_of_the_first_version_is_built_anew_when_it_is_opened(photograph: Face) -> None:
    old = first_version(photograph.portrait, photograph)
    with pytest.raises(OldFace):
        Face.from_bytes(old)
    again = opened(old)
    far = np.linalg.norm(again.points[:, :2] - photograph.points[:, :2], axis=1)
    assert np.median(far) < 0.01
    opens(again)


def test_what_is_no_face_file() -> None:
    whole = stock("av_demo").to_bytes()
    for data in (b"", b"PK", whole[:1000], b"\x89PNG"):
        with pytest.raises(UnreadableFace):
            Face.from_bytes(data)
