"""Reading clips of anybody: real ones, by a real decoder in its process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from faces import clips
from faces.clips import Clock, Ended, Limits, Opened, Record, Sampled, Strip, Thumb, Unread, UnreadableClip, Wanted
from faces.decoding import _records, decoded
from faces.mark.detect import Detector
from faces.mark.samples import TALLEST, Step
from faces.verification import cannot_tell, look
from tests import containers as made
from tests.clips import KEY

pytestmark = pytest.mark.processes

SMALL = Limits(cpu_s=30, memory=1024**3)


def read(data: bytes, wanted: Wanted = Wanted(), limits: Limits = SMALL) -> list[Record]:  # noqa: B008
    with tempfile.TemporaryFile() as file:
        file.write(data)
        with decoded(file, wanted, limits) as records:
            return list(records)


def refused(data: bytes, limits: Limits = SMALL) -> str:
    with pytest.raises(UnreadableClip) as told:
        read(data, limits=limits)
    return str(told.value)


def steps(records: list[Record]) -> list[Step]:
    return [each.step for each in records if isinstance(each, Sampled)]


def unread(records: list[Record]) -> list[tuple[float, float]]:
    return [(round(each.start, 1), round(each.end, 1)) for each in records if isinstance(each, Unread)]


def small(count: int = 50, width: int = 128, height: int = 96) -> list[made.Frame]:
    return made.pictures(count, width, height)


WHOLE = made.file(small())


def test_a_clip_is_steps_of_its_colours() -> None:
    records = read(WHOLE)
    opened, ended = records[0], records[-1]
    assert isinstance(opened, Opened)
    assert isinstance(ended, Ended)
    assert (opened.codec, opened.width, opened.height, opened.seconds) == ("h264", 128, 96, 2.0)
    assert (ended.frames, round(ended.seconds, 2), ended.stopped) == (50, 2.0, False)
    found = steps(records)
    assert [round(step.at_s, 1) for step in found] == [round(0.1 + 0.2 * n, 1) for n in range(10)]
    truth = np.mean([frame[96:].reshape(2, 48, 64) for frame in small()[:5]], 0)
    assert np.abs(found[0].chroma - truth).mean() < 2


@pytest.mark.parametrize(
    ("container", "codec", "pixels"),
    [
        ("matroska", "libx264", "yuv420p"),
        ("webm", "libvpx-vp9", "yuv420p"),
        ("mpegts", "libx264", "yuv420p"),
        ("avi", "mpeg4", "yuv420p"),
        ("flv", "libx264", "yuv420p"),
        ("mov", "libx264", "yuv444p"),
        ("mp4", "libx265", "yuv420p10le"),
        ("matroska", "ffv1", "bgr0"),
        ("gif", "gif", "rgb8"),
    ],
)
def test_containers_codecs_and_formats(container: str, codec: str, pixels: str) -> None:
    """Ten bits, no subsampling, RGB, a palette: the same colours come out of all."""
    found = steps(read(made.file(small(25), container, codec, pixels)))
    assert len(found) in (5, 6)
    truth = steps(read(made.file(small(25))))[2]
    away = np.abs(found[2].chroma - truth.chroma).mean()
    assert away < (12 if codec == "gif" else 3)


def test_a_variable_frame_rate_is_read_by_its_times() -> None:
    times = [*(n * 0.04 for n in range(25)), 4.0, 4.1, *(5 + n * 0.01 for n in range(100))]
    found = steps(read(made.file(small(len(times)), "matroska", times=times)))
    assert [round(step.at_s, 1) for step in found] == [0.1, 0.3, 0.5, 0.7, 0.9, 4.1, 5.1, 5.3, 5.5, 5.7, 5.9]


def test_a_clip_that_was_filmed_upright_is_read_upright() -> None:
    upright = np.rot90(steps(read(WHOLE))[0].chroma, -1, axes=(1, 2))
    found = steps(read(made.turned(WHOLE)))[0].chroma
    assert found.shape == (2, 64, 48)
    assert np.abs(found - upright).max() < 1


def test_sizes_that_change_in_the_middle() -> None:
    both = made.file(small(25), "mpegts") + made.file(small(25, 192, 128), "mpegts")
    found = steps(read(both))
    assert {step.chroma.shape for step in found} == {(2, 48, 64), (2, 64, 96)}
    times = [step.at_s for step in found]
    assert times == sorted(times)
    assert 1.8 < times[-1] < 2.2


def test_a_clip_of_nothing_but_changes_is_not_looked_through_for_ever() -> None:
    """Each change begins a window, which costs a look, however small it is."""
    pieces = [made.file(small(25, *((128, 96) if n % 2 else (192, 128))), "mpegts") for n in range(6)]
    with tempfile.TemporaryFile() as file:
        file.write(b"".join(pieces))
        assert len(look(file, Detector([KEY], 0), Wanted(), SMALL).seen) == 6
        with pytest.raises(UnreadableClip, match="change their size"):
            look(file, Detector([KEY], 0), Wanted(), Limits(cpu_s=30, memory=1024**3, windows=5))


def test_8k_is_made_smaller_in_bounded_memory() -> None:
    clip = made.file([np.full((4320 * 3 // 2, 7680), 128, np.uint8)] * 3)
    (step,) = steps(read(clip, limits=Limits(cpu_s=60)))
    assert step.chroma.shape == (2, TALLEST, TALLEST * 16 // 9)


def test_eight_hours_need_the_memory_of_a_minute() -> None:
    """A frame a second."""
    hours, used = made.file(small(60, 64, 48) * 480, "matroska", "mpeg4", times=range(8 * 3600)), []
    with tempfile.TemporaryFile() as file:
        file.write(hours)
        with decoded(file, Wanted(thumbs=12), SMALL) as records:
            (process,) = [each for each in psutil.Process().children() if "faces.clip_decoder" in each.cmdline()]
            for number, record in enumerate(records):
                last = record
                if number in (60, 8 * 3600 - 60):
                    used.append(process.memory_info().rss)
    assert isinstance(last, Ended)
    assert last.frames == 8 * 3600
    assert used[1] - used[0] < 16 * 1024**2


def test_what_is_corrupt_in_the_middle_is_passed_and_told() -> None:
    records = read(made.corrupt(made.file(small(250), gop=25), 0.5, 0.55))
    ((begin, end),) = unread(records) or [(0.0, 0.0)]
    assert 3 < begin < end < 8
    times = [step.at_s for step in steps(records)]
    assert times[0] < 0.2
    assert times[-1] > 9.5


def test_a_clip_that_was_cut_off_says_what_is_missing() -> None:
    whole = made.file(small(250), "matroska", gop=25)
    records = read(whole[: int(len(whole) * 0.6)])
    assert 4 < steps(records)[-1].at_s < 8
    assert unread(records)[-1][1] == pytest.approx(10, abs=0.2)


def test_a_clip_that_was_cut_off_says_what_is_missing_of_a_part() -> None:
    """As the API asks, always with an end: four seconds of a title are no clip without a mark."""
    whole = made.file(small(250), "matroska", gop=25)
    records = read(whole[: int(len(whole) * 0.6)], Wanted(0.0, 60.0))
    assert unread(records)[-1][1] == pytest.approx(10, abs=0.2)
    records = read(whole[: int(len(whole) * 0.6)], Wanted(0.0, 8.0))
    assert unread(records)[-1][1] == pytest.approx(8, abs=0.2)
    assert unread(read(whole, Wanted(0.0, 60.0))) == []


def test_what_is_behind_a_time_stamp_that_is_wrong_is_told() -> None:
    """It takes all that follows out of the part that was asked for."""
    times = [number / 25 + (3000 if number >= 100 else 0) for number in range(200)]
    records = read(made.file(small(200), "matroska", times=times), Wanted(0.0, 60.0))
    assert unread(records) == [(4.0, 60.0)]


def test_a_picture_that_stands_still_for_a_while_is_read() -> None:
    times = [number / 25 + (5 if number >= 100 else 0) for number in range(200)]
    assert unread(read(made.file(small(200), "matroska", times=times), Wanted(0.0, 6.0))) == []


def test_a_second_picture_that_nobody_can_decode_is_left_alone() -> None:
    """As a clip's that was made by a newer program."""
    assert len(steps(read(made.with_undecodable(small(100))))) == len(steps(read(made.file(small(100)))))


def test_a_part_of_it() -> None:
    clip = made.file(small(1000))
    records = read(clip, Wanted(20.5, 25.0, thumbs=4))
    assert steps(records)[0].at_s == pytest.approx(20.5, abs=0.11)
    assert steps(records)[-1].at_s == pytest.approx(24.9, abs=0.01)
    thumbs = [each for each in records if isinstance(each, Thumb)]
    assert 3 <= len(thumbs) <= 8
    assert thumbs[0].pixels.shape == (96, 128, 3)
    assert isinstance(records[-1], Ended)
    assert records[-1].frames < 250  # what is before was not decoded


@pytest.mark.parametrize(
    ("clip", "says"),
    [
        (b"", clips.UNREADABLE),
        (b"\0" * 5000, clips.UNREADABLE),
        (b"GIF89a", clips.UNREADABLE),
        (WHOLE[: len(WHOLE) // 3], clips.UNREADABLE),
        (made.sound(), clips.NO_PICTURE),
    ],
    ids=["empty", "zeros", "head", "no_index", "sound"],
)
def test_what_is_no_clip_is_told(clip: bytes, says: str) -> None:
    assert refused(clip) == says


def test_a_picture_of_more_pixels_than_are_taken() -> None:
    limits, large = Limits(pixels=1_000_000, cpu_s=30), made.pictures(5, 1280, 960)
    says = "The clip has 1280 × 960 pixels; at most 1 million are taken. Scale it down."
    assert refused(made.file(large), limits) == says
    grows = made.file(small(25), "mpegts") + made.file(large, "mpegts")
    assert {step.chroma.shape for step in steps(read(grows, limits=limits))} == {(2, 48, 64)}


def test_a_clip_opens_no_other_file(tmp_path: Path) -> None:
    """Playlists would have their reader look into the machine, or call an address."""
    other = tmp_path / "other.ts"
    other.write_bytes(made.file(small(), "mpegts"))
    for text in (
        made.playlist(str(other)),
        made.playlist("http://127.0.0.1:9/x.ts"),
        f"ffconcat version 1.0\nfile {other}\n".encode(),
    ):
        assert refused(text) == clips.UNREADABLE


def test_more_frames_than_are_looked_at() -> None:
    records = read(WHOLE, limits=Limits(frames=30, cpu_s=30))
    assert isinstance(records[-1], Ended)
    assert records[-1].stopped
    assert unread(records) == [(1.2, 2.0)]


@pytest.mark.parametrize(
    ("wanted", "limits", "says"),
    [
        (Wanted(1000.0, 1060.0), SMALL, clips.ENDS_BEFORE),
        (Wanted(1.5, 60.0), Limits(frames=30, cpu_s=30), clips.TOO_MANY),
    ],
)
def test_a_part_that_was_not_come_to_says_why(wanted: Wanted, limits: Limits, says: str) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(WHOLE)
        with pytest.raises(UnreadableClip) as told:
            look(file, Detector([KEY], 0), wanted, limits)
    assert str(told.value) == says


def test_nothing_found_among_the_first_frames_tells_nothing() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(made.file(made.pictures(250, 256, 256)))
        looked = look(file, Detector([KEY], 0), Wanted(), Limits(frames=200, cpu_s=30))
    assert not looked.shown
    assert cannot_tell(looked) == clips.TOO_MANY


def test_too_much_work_is_told() -> None:
    clip = made.file(made.pictures(8, 640, 480) * 20, "mpegts", gop=1) * 100  # half a minute of work
    assert refused(clip, Limits(cpu_s=1)) == clips.TOO_SLOW


def test_who_says_nothing_is_ended() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(WHOLE)
        with decoded(file, Wanted(), SMALL, silent_s=0.0) as records, pytest.raises(UnreadableClip) as told:
            list(records)
    assert str(told.value) == clips.TOO_SLOW


def test_nothing_is_left_when_nobody_listens() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(WHOLE)
        with decoded(file, Wanted(), SMALL) as records:
            next(records)
            (process,) = [each for each in psutil.Process().children() if "faces.clip_decoder" in each.cmdline()]
            assert {name for name in process.environ() if name.startswith("GREENROOM")} == set()
        assert not process.is_running()


def test_a_decoder_that_complains_without_end_does_not_wait_for_a_listener() -> None:
    """Nobody reads what it says there while it works: a pipe takes 64 KB."""
    listener, complaints = os.pipe()
    os.set_blocking(complaints, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(complaints, bytes(4096))
    os.set_blocking(complaints, True)
    command = [sys.executable, "-I", "-m", "faces.clip_decoder", str(os.getpid()), "no JSON", "{}"]
    try:
        assert subprocess.run(command, stderr=complaints, timeout=60, check=False).returncode != 0
    finally:
        os.close(listener)
        os.close(complaints)


# A decoder that a clip has taken over


OPENED = Opened("mp4", "h264", 128, 96, 2.0, None)
STEP = Sampled(0.1, 2, 3, bytes(24))


@pytest.mark.parametrize(
    "said",
    [
        [STEP],
        [OPENED, OPENED],
        [OPENED, Sampled(0.1, 2, 3, bytes(23))],
        [OPENED, Sampled(0.1, 1, 2_000_000, bytes(8_000_000))],
        [OPENED, Sampled(float("nan"), 2, 3, bytes(24))],
        [OPENED, STEP, Sampled(0.1 + 1e-9, 2, 3, bytes(24))],
        [OPENED, STEP, Unread(0.1, 0.2), Sampled(0.1, 2, 3, bytes(24))],
        [OPENED, Thumb(0.1, 1000, 1000, bytes(3))],
        [Opened("m" * 100_000, "h264", 128, 96, 2.0, None)],
        [OPENED, Ended(1, float("inf"), False)],
    ],
)
def test_what_it_says_is_no_record_unless_it_can_be_one(said: list[Record]) -> None:
    with pytest.raises(UnreadableClip) as told:
        list(heard(*said))
    assert str(told.value) == clips.UNREADABLE


def test_steps_of_another_size_may_follow_at_once() -> None:
    honest: list[Record] = [
        OPENED,
        STEP,
        Sampled(0.1, 3, 2, bytes(24)),
        Unread(0.2, 0.4),
        Sampled(0.5, 3, 2, bytes(24)),
    ]
    assert list(heard(*honest)) == honest


def heard(*said: Record) -> Iterator[Record]:
    """What comes of it across a pipe."""
    with tempfile.TemporaryFile() as file:
        for record in said:
            data = msgspec.msgpack.encode(record)
            file.write(len(data).to_bytes(4, "big") + data)
        file.flush()
        file.seek(0)
        process = subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            yield from _records(process, 5.0)
        finally:
            process.kill()
            process.communicate()


# Times and thumbs: pure


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([10.0, 10.04, 10.08], [0.0, 0.04, 0.08]),
        ([None, None, None], [0.0, 0.04, 0.08]),
        ([10.0, None, 10.08], [0.0, 0.04, 0.08]),
        ([10.0, 10.04, 3.0, 3.04], [0.0, 0.04, 0.08, 0.12]),
        ([10.0, 10.04, 10.02, 10.08], [0.0, 0.04, 0.04, 0.08]),
        ([10.0, 2.0**30, 2.0**30 + 0.04], [0.0, 0.04, 0.08]),
        ([-(2.0**60), 0.0], [0.0, 0.04]),
    ],
)
def test_time_never_goes_back_and_never_jumps_far(stamps: list[float | None], times: list[float]) -> None:
    clock = Clock(10.0, 0.04)
    assert [clock.at(stamp) for stamp in stamps] == pytest.approx(times, abs=1e-6)


def test_a_strip_has_few_thumbs_of_any_length() -> None:
    strip = Strip(12)
    add: Callable[[float], None] = lambda at: strip.add(Thumb(at, 1, 1, b"\0\0\0"))  # noqa: E731
    for number in range(8 * 3600 * 25):
        if strip.wants(number / 25):
            add(number / 25)
    assert 12 <= len(strip.thumbs) <= 25
    apart = np.diff([thumb.at for thumb in strip.thumbs])
    assert apart.min() > 0.8 * apart.max() - 0.1
