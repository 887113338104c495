"""The mark found again: whole, cut, turned, in part; and where there is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faces.mark.appearances import appearances
from faces.mark.code import likeness
from faces.mark.detect import OURS, Detector, Finding
from faces.mark.samples import STEP_S, TALLEST, Sampler, Step, windows
from tests.clips import KEY, OTHER_KEY, Chroma, marked, moving, steps
from workers.renderers import FORMATS, PORTRAIT

pytestmark = pytest.mark.nets

SIZES = sorted({(each.width, each.height) for each in (*FORMATS.values(), *PORTRAIT.values())})


def clip(
    name: str = "sess_1", seconds: float = 10, second: int = 40, width: int = 256, height: int = 256
) -> list[Step]:
    frames = moving(width, height, int(seconds * 25))
    return steps(marked(frames, width, height, name, second * 25), width, height)


def found(clip: list[Step], detector: Detector | None = None) -> list[Finding]:
    detector = detector or Detector([KEY], searches=0)
    return [each for window in windows(clip) for each in detector.look(window).findings]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_format_says_its_session_and_second(width: int, height: int) -> None:
    (finding,) = found(clip(seconds=5, width=width, height=height))
    assert finding.key_id == "k1"
    assert finding.tag == KEY.tag("sess_1")
    assert finding.second == pytest.approx(40 + finding.from_s, abs=0.3)
    assert finding.second_sure


def test_a_resumed_attempt_goes_on_with_the_seconds() -> None:
    first, then = clip(seconds=10, second=7), clip(seconds=10, second=300)
    cut = [*first, *(Step(step.at_s + 10, step.chroma) for step in then)]
    (shown,) = appearances(found(cut))
    assert shown.tag == KEY.tag("sess_1")
    assert [round(span.second - span.from_s) for span in shown.spans] == [7, 290]
    assert shown.spans[0].to_s == pytest.approx(10, abs=2.6)
    assert shown.spans[1].last_second == pytest.approx(310, abs=0.5)


def test_two_sessions_one_after_the_other() -> None:
    other = clip("sess_2", 20, 3)
    shown = appearances(found([*clip(seconds=10), *(Step(step.at_s + 10, step.chroma) for step in other)]))
    assert {each.tag for each in shown} >= {KEY.tag("sess_1"), KEY.tag("sess_2")}


def test_the_key_of_another_installation_finds_nothing() -> None:
    (window,) = windows(clip())
    seen = Detector([OTHER_KEY], searches=1).look(window)
    assert seen.searched
    assert seen.findings == ()
    assert seen.best < OURS - 1


def test_a_ring_finds_what_an_older_key_has_marked() -> None:
    (finding,) = found(clip(), Detector([OTHER_KEY, KEY], searches=0))
    assert finding.key_id == "k1"


@pytest.mark.parametrize("seed", [5, 6])
def test_without_a_mark_nothing_is_found_anywhere(seed: int) -> None:
    (window,) = windows(steps(moving(256, 256, 250, seed), 256, 256))
    seen = Detector([KEY], searches=1).look(window)
    assert seen.findings == ()
    assert seen.best < OURS - 1


def cropped(planes: Chroma) -> Chroma:
    return planes[:, 12:118, 6:124]


def mirrored(planes: Chroma) -> Chroma:
    return planes[:, :, ::-1]


def in_a_window(planes: Chroma) -> Chroma:
    """Beside other things on a screen."""
    screen = np.tile(np.linspace(90, 160, 320).astype(np.uint8), (2, 180, 1))
    screen[:, 20:164, 100:244] = [cv2.resize(plane, (144, 144), interpolation=cv2.INTER_AREA) for plane in planes]
    return screen


def stretched(planes: Chroma) -> Chroma:
    return np.stack([cv2.resize(plane, (160, 90), interpolation=cv2.INTER_AREA) for plane in planes])


@pytest.mark.parametrize("seen", [cropped, mirrored, in_a_window, stretched], ids=lambda each: each.__name__)
def test_what_somebody_does_to_the_picture(seen: object) -> None:
    frames = marked(moving(256, 256, 250), 256, 256, "sess_1", 1000)
    shown = steps(frames, 256, 256, seen)  # type: ignore[arg-type]
    (finding,) = found(shown, Detector([KEY], searches=1))
    assert finding.place.mirrored == (seen is mirrored)
    assert finding.tag == KEY.tag("sess_1")
    assert finding.second == pytest.approx(40 + finding.from_s, abs=0.5)


def test_what_is_left_of_a_tag_tells_it_from_others() -> None:
    (finding,) = found(clip())
    known = [KEY.tag(f"sess_{i}") for i in range(1000)]
    fits = likeness(finding.soft, known)
    assert known[int(fits.argmax())] == KEY.tag("sess_1")
    assert np.sort(fits)[-2] < 5 < fits.max()


def test_a_still_says_that_it_is_ours() -> None:
    (frame,) = marked([bytes([100]) * (512 * 512 * 3 // 2)], 512, 512, "sess_1", 1000)
    seen = Detector([KEY], searches=0).look(steps([frame] * 3, 512, 512))
    assert [each.key_id for each in seen.findings] == ["k1"]


def test_two_in_one_picture() -> None:
    one = marked(moving(256, 256, 250, 1), 256, 256, "sess_1", 1000)
    other = marked(moving(256, 256, 250, 2), 256, 256, "sess_2", 25)
    both = [
        np.concatenate([step.chroma, beside.chroma], axis=2)
        for step, beside in zip(steps(one, 256, 256), steps(other, 256, 256), strict=True)
    ]
    shown = [Step((i + 0.5) * STEP_S, planes) for i, planes in enumerate(both)]
    findings = found(shown, Detector([KEY], searches=4, marks=2))
    assert {each.tag for each in findings} == {KEY.tag("sess_1"), KEY.tag("sess_2")}


# Samples


def test_steps_are_means_and_know_gaps_and_sizes() -> None:
    sampler, small, large = Sampler(), np.full((2, 4, 4), 10, np.uint8), np.full((2, 8, 8), 30, np.uint8)
    frames = ((0.0, small), (0.1, small + 10), (0.25, small), (0.3, large), (9.0, large))
    made = [sampler.add(at, planes) for at, planes in frames]
    made.append(sampler.end())
    done = [step for step in made if step is not None]
    assert [(round(step.at_s, 2), step.chroma.shape[1], float(step.chroma.mean())) for step in done] == [
        (0.1, 4, 15.0), (0.3, 4, 10.0), (0.3, 8, 30.0), (9.1, 8, 30.0),
    ]  # fmt: skip
    assert sampler.end() is None


def test_tall_frames_are_made_smaller() -> None:
    sampler = Sampler()
    sampler.add(0.0, np.zeros((2, 2160, 3840), np.uint8))
    step = sampler.end()
    assert step is not None
    assert step.chroma.shape == (2, TALLEST, 640)


def test_windows_overlap_and_leave_nothing_out() -> None:
    small, large = np.zeros((2, 4, 4), np.float32), np.zeros((2, 8, 8), np.float32)
    clip = [Step((i + 0.5) * STEP_S, small) for i in range(115)] + [Step(60 + i * STEP_S, large) for i in range(5)]
    spans = [(round(each[0].at_s, 1), round(each[-1].at_s, 1), each[0].chroma.shape[1]) for each in windows(clip)]
    assert spans == [(0.1, 9.9, 4), (5.1, 14.9, 4), (10.1, 19.9, 4), (15.1, 22.9, 4), (60.0, 60.8, 8)]
    assert list(windows([])) == []
