"""The media clock on a virtual clock: what goes out in a tick, is reported, is billed, keeps the session awake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Segment
from schemas.moods import Mood
from workers.face import RendererLost
from workers.media_clock import LATER, MediaClock, Played
from workers.playback import RATE, TICK_SAMPLES, Finish, Pcm, Playback, Utterance
from workers.stalls import STALLED_S, Resumed, Stalled
from workers.timers import Timers

pytestmark = pytest.mark.unit

TICK_S = 0.04
QUEUE_S = 0.06
"""What the audio source holds before it pushes back."""


class Face:
    """Draws numbers: b"1", b"2", …"""

    def __init__(self, lookahead: int = 0) -> None:
        self.lookahead = lookahead
        self.lost = False
        self.behind = 0
        self.heard: list[Pcm] = []
        self.cleared = 0
        self.during: Callable[[], object] = lambda: None

    async def open(self) -> None:
        return None

    async def show(self, pcm: Pcm) -> bytes:
        self.heard.append(pcm)
        self.during()
        return str(len(self.heard)).encode()

    def clear(self) -> None:
        self.cleared += 1

    def cue(self, mood: Mood, listening: bool) -> None:
        return None

    def close(self) -> None:
        return None


class Room:
    """An audio source on a virtual clock: it plays while time passes, and pushes back when it holds 60 ms."""

    def __init__(self) -> None:
        self.now = 100.0
        self._silent_at = 0.0
        self.pushed: list[tuple[bytes, Pcm]] = []
        self.during: Callable[[], object] = lambda: None

    @property
    def queued_s(self) -> float:
        return max(0.0, self._silent_at - self.now)

    async def push(self, frame: bytes | bytearray, pcm: Pcm) -> None:
        self.during()
        self.pushed.append((bytes(frame), pcm))
        self._silent_at = max(self.now, self._silent_at) + TICK_S
        self.now = max(self.now, self._silent_at - QUEUE_S)

    def clear(self) -> None:
        self._silent_at = self.now


@dataclass
class Scene:
    face: Face = field(default_factory=Face)
    room: Room = field(default_factory=Room)
    playback: Playback = field(default_factory=Playback)
    finishes: list[Finish] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = MediaClock(self.face, self.playback, lambda: self.room.now)

    def say(self, name: str, samples: int, value: int = 1000, complete: bool = True) -> Utterance:
        segment = self.playback.open(name)
        self.playback.feed(segment, np.full(samples, value, np.int16))
        segment.received_s = samples / RATE
        segment.complete = complete
        return segment

    def tick(self, count: int = 1) -> list[Played]:
        async def run() -> list[Played]:
            return [await self.clock.tick(self.room) for _ in range(count)]

        played = asyncio.run(run())
        for each in played:
            self.started.extend(each.started)
            self.finishes.extend(each.finishes)
        return played

    def interrupt(self) -> list[Finish]:
        finishes = self.clock.interrupt(self.room)
        self.finishes.extend(finishes)
        return finishes

    @property
    def frames(self) -> list[int]:
        return [int(frame) for frame, _ in self.room.pushed]

    @property
    def sound(self) -> list[int]:
        """Of each tick, the first sample."""
        return [int(pcm[0]) for _, pcm in self.room.pushed]


def waits(lookahead: int) -> int:
    """Ticks for which the sound waits for the frames of such a face."""
    return max(0, lookahead - LATER)


@pytest.fixture
def scene() -> Scene:
    return Scene()


# What goes out


def test_every_tick_is_one_frame_and_exactly_40_ms(scene: Scene) -> None:
    scene.say("a", 2 * TICK_SAMPLES + 5)
    scene.tick(6)
    assert [len(pcm) for _, pcm in scene.room.pushed] == [TICK_SAMPLES] * 6
    assert scene.sound == [1000, 1000, 1000, 0, 0, 0]
    assert not scene.room.pushed[2][1][5:].any()


def test_a_frame_goes_out_a_tick_behind_its_sound() -> None:
    """The first at once, too: somebody waits for it. What trails its sound by more than that is not held."""
    for lookahead, frames in ((0, [1, 1, 2, 3]), (1, [1, 2, 3, 4]), (3, [1, 2, 3, 4])):
        scene = Scene(Face(lookahead))
        scene.tick(4)
        assert scene.frames == frames


def test_a_face_that_comes_in_place_of_another_shows_nothing_of_it(scene: Scene) -> None:
    scene.tick(2)
    scene.face.lookahead = 1
    scene.tick(2)
    scene.face.lookahead = 0
    scene.tick(2)
    assert scene.frames == [1, 1, 3, 4, 5, 5]


def test_each_frame_that_goes_out_is_marked_and_no_other(scene: Scene) -> None:
    given: list[bytes] = []

    def mark(frame: bytes) -> bytearray:
        given.append(frame)
        return bytearray(frame + b"0")

    scene.clock = MediaClock(scene.face, scene.playback, lambda: scene.room.now, mark)
    scene.tick(3)
    scene.interrupt()
    scene.tick(2)
    assert scene.frames == [10, 10, 20, 30, 40]
    assert given == [b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("lookahead", [1, 2, 5])
def test_the_sound_waits_as_long_as_frames_trail_it_too_far(lookahead: int) -> None:
    scene = Scene(Face(lookahead))
    scene.say("a", TICK_SAMPLES)
    played = scene.tick(lookahead + 2)
    assert [int(pcm[0]) for pcm in scene.face.heard][:2] == [1000, 0]  # the face hears it at once
    assert scene.sound == [0] * waits(lookahead) + [1000, 0] + [0] * (lookahead - waits(lookahead))
    assert [each.started for each in played].index(("a",)) == waits(lookahead)


def test_a_segment_starts_once(scene: Scene) -> None:
    segment = scene.say("a", TICK_SAMPLES, complete=False)
    scene.tick(3)
    scene.playback.feed(segment, np.ones(TICK_SAMPLES, np.int16))
    scene.tick(3)
    assert scene.started == ["a"]


def test_a_frame_that_cannot_be_drawn_ends_the_tick_before_anything_goes_out(scene: Scene) -> None:
    def lost() -> None:
        raise RendererLost

    scene.face.during = lost
    with pytest.raises(RendererLost):
        scene.tick()
    assert scene.room.pushed == []


# Finishes


@pytest.mark.parametrize("lookahead", [0, 1, 3])
@pytest.mark.parametrize("samples", [1, TICK_SAMPLES, TICK_SAMPLES + 1, RATE])
def test_a_full_play_is_reported_once_its_last_sample_has_left(samples: int, lookahead: int) -> None:
    scene = Scene(Face(lookahead))
    scene.say("a", samples)
    ticks = -(-samples // TICK_SAMPLES)
    *_, last = scene.tick(waits(lookahead) + ticks)
    assert scene.finishes == []  # handed over, not heard
    assert last.heard_at == pytest.approx(scene.room.now + scene.room.queued_s)
    heard_at = last.heard_at or 0.0
    while not scene.finishes:
        assert scene.room.now < heard_at
        scene.tick()
    assert heard_at <= scene.room.now < heard_at + TICK_S
    scene.tick(10)
    assert scene.finishes == [Finish("a", samples / RATE, interrupted=False)]


def test_a_full_play_reports_what_was_received_not_what_the_resampler_made_of_it(scene: Scene) -> None:
    scene.say("a", TICK_SAMPLES + 7).received_s = 0.041
    scene.tick(10)
    assert scene.finishes == [Finish("a", 0.041, interrupted=False)]


def test_an_incomplete_segment_is_not_over_however_long_it_is_silent(scene: Scene) -> None:
    segment = scene.say("a", TICK_SAMPLES, complete=False)
    scene.tick(100)
    assert scene.finishes == []
    segment.complete = True
    scene.tick(10)
    assert scene.finishes == [Finish("a", 0.04, interrupted=False)]


def test_segments_that_end_in_one_tick_are_reported_in_their_order(scene: Scene) -> None:
    for name in "abc":
        scene.say(name, 100)
    scene.say("d", 5 * TICK_SAMPLES)
    scene.tick(12)
    assert [finish.segment_id for finish in scene.finishes] == list("abcd")
    assert scene.started == list("abcd")


# Interruptions


def test_nothing_to_interrupt(scene: Scene) -> None:
    scene.tick(3)
    assert scene.interrupt() == []
    assert scene.face.cleared == 1
    assert scene.room.queued_s == 0


@pytest.mark.parametrize("ticks", [0, 1, 2, 3, 10, 24])
def test_an_interrupted_segment_was_heard_as_far_as_it_has_left_the_source(scene: Scene, ticks: int) -> None:
    scene.say("a", RATE)
    scene.tick(ticks)
    queued_s = scene.room.queued_s
    (finish,) = scene.interrupt()
    assert finish == Finish("a", pytest.approx(max(0.0, ticks * TICK_S - queued_s)), interrupted=True)  # type: ignore[arg-type]
    assert scene.room.queued_s == 0
    scene.tick(10)
    assert scene.finishes == [finish]
    assert not any(scene.sound[ticks:])


@pytest.mark.parametrize("ticks", [1, 2, 3, 10])
@pytest.mark.parametrize("lookahead", [1, 2, 4])
def test_what_the_face_has_and_the_room_has_not_was_not_heard(lookahead: int, ticks: int) -> None:
    scene = Scene(Face(lookahead))
    scene.say("a", RATE)
    scene.tick(ticks)
    handed_s, queued_s = max(0, ticks - waits(lookahead)) * TICK_S, scene.room.queued_s
    (finish,) = scene.interrupt()
    assert finish.position_s == pytest.approx(max(0.0, handed_s - queued_s))
    scene.tick(lookahead + 3)
    assert not any(scene.sound[ticks:])  # what was ahead is not played after all


def test_handed_over_in_full_and_still_queued_it_is_interrupted(scene: Scene) -> None:
    scene.say("a", 5 * TICK_SAMPLES)
    scene.tick(5)
    queued_s = scene.room.queued_s
    assert queued_s == pytest.approx(QUEUE_S)
    (finish,) = scene.interrupt()
    assert finish.position_s == pytest.approx(0.2 - queued_s)
    assert finish.interrupted
    scene.tick(10)
    assert scene.finishes == [finish]


@pytest.mark.parametrize("lookahead", [2, 3])
def test_its_last_sample_still_with_the_face_it_is_interrupted(lookahead: int) -> None:
    scene = Scene(Face(lookahead))
    scene.say("a", 10 * TICK_SAMPLES)
    scene.tick(10)
    assert scene.playback.current is None
    queued_s = scene.room.queued_s
    (finish,) = scene.interrupt()
    assert finish == Finish("a", pytest.approx((10 - waits(lookahead)) * TICK_S - queued_s), interrupted=True)  # type: ignore[arg-type]
    scene.tick(20)
    assert scene.finishes == [finish]


def test_heard_in_full_it_is_not_interrupted_any_more(scene: Scene) -> None:
    scene.say("a", 5 * TICK_SAMPLES)
    scene.tick(8)
    assert scene.finishes == [Finish("a", 0.2, interrupted=False)]
    assert scene.interrupt() == []


def test_several_segments_in_flight(scene: Scene) -> None:
    """One is over but queued, one plays, two wait: all are reported, oldest first, those that wait at 0."""
    scene.say("a", 10 * TICK_SAMPLES)
    for name in "bcd":
        scene.say(name, RATE)
    scene.tick(11)
    queued_s = scene.room.queued_s
    finishes = scene.interrupt()
    assert [finish.segment_id for finish in finishes] == list("abcd")
    assert all(finish.interrupted for finish in finishes)
    assert [finish.position_s for finish in finishes[2:]] == [0, 0]
    assert sum(finish.position_s for finish in finishes) == pytest.approx(11 * TICK_S - queued_s)


def test_the_mouth_shuts_with_the_next_frame_that_is_drawn(scene: Scene) -> None:
    scene.tick(3)
    scene.interrupt()
    assert scene.face.cleared == 1
    scene.tick(3)
    assert scene.frames == [1, 1, 2, 3, 4, 5]


def test_a_segment_after_an_interruption_is_played_from_its_beginning(scene: Scene) -> None:
    scene.say("a", RATE)
    scene.tick(5)
    scene.interrupt()
    scene.say("b", 2 * TICK_SAMPLES, value=7)
    scene.tick(8)
    assert scene.sound[5:8] == [7, 7, 0]
    assert scene.finishes[1:] == [Finish("b", 0.08, interrupted=False)]


@pytest.mark.parametrize("lookahead", [0, 2])
def test_interrupted_while_the_face_draws_only_silence_goes_out(lookahead: int) -> None:
    scene = Scene(Face(lookahead))
    scene.say("a", TICK_SAMPLES * (waits(lookahead) + 1))
    scene.tick(waits(lookahead))
    scene.face.during = scene.interrupt
    (played,) = scene.tick()
    scene.face.during = lambda: None
    scene.tick(5)
    assert played == Played((), (), None)
    assert not any(scene.sound)
    assert scene.finishes == [Finish("a", 0, interrupted=True)]


def test_interrupted_while_the_room_takes_the_last_tick_it_is_reported_once(scene: Scene) -> None:
    scene.say("a", TICK_SAMPLES)
    scene.say("b", RATE)
    scene.room.during = scene.interrupt
    scene.tick()
    scene.room.during = lambda: None
    scene.tick(10)
    assert scene.finishes == [Finish("a", 0.04, interrupted=True), Finish("b", 0, interrupted=True)]


def stuck() -> None:
    raise TimeoutError


def test_what_the_room_does_not_take_is_reported_when_it_is_left(scene: Scene) -> None:
    """The agent would wait for it for ever."""
    scene.say("a", TICK_SAMPLES)
    scene.room.during = stuck
    with pytest.raises(TimeoutError):
        scene.tick()
    assert scene.interrupt() == [Finish("a", 0.04, interrupted=True)]
    assert scene.interrupt() == []


def test_what_the_room_does_not_take_keeps_no_later_report_back(scene: Scene) -> None:
    """It goes on in the next room: a rejoin interrupts nothing."""
    scene.say("a", TICK_SAMPLES)
    scene.room.during = stuck
    with pytest.raises(TimeoutError):
        scene.tick()
    scene.room.during = lambda: None
    scene.say("b", TICK_SAMPLES)
    scene.tick(5)
    assert [finish.segment_id for finish in scene.finishes] == ["a", "b"]


Steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 3 * TICK_SAMPLES)),
        st.tuples(st.just("tick"), st.integers(1, 6)),
        st.tuples(st.just("interrupt"), st.just(0)),
    ),
    max_size=25,
)


@given(Steps, st.integers(0, 3))
def test_every_segment_is_reported_once_in_order_and_never_beyond_its_length(
    steps: list[tuple[str, int]], lookahead: int
) -> None:
    scene, lengths = Scene(Face(lookahead)), list[float]()
    for what, count in steps:
        if what == "say":
            scene.say(str(len(lengths)), count)
            lengths.append(count / RATE)
        elif what == "tick":
            scene.tick(count)
        else:
            scene.interrupt()
    while scene.playback.current:
        scene.tick()
    scene.tick(lookahead + 3)
    assert [finish.segment_id for finish in scene.finishes] == [str(n) for n in range(len(lengths))]
    for finish, length in zip(scene.finishes, lengths, strict=True):
        assert 0 <= finish.position_s <= length
        assert finish.interrupted or finish.position_s == length


# Stalls


STALLED = round(STALLED_S / TICK_S)


def track(scene: Scene) -> Utterance:
    heard = scene.playback.open("t1")
    heard.started, heard.awaited = True, False
    return heard


@pytest.mark.parametrize("lookahead", [0, 3])
def test_speech_that_has_begun_and_does_not_come_is_a_stall_until_it_comes(lookahead: int) -> None:
    scene = Scene(Face(lookahead))
    segment = scene.say("a", 25 * TICK_SAMPLES, complete=False)
    scene.tick(25 + waits(lookahead))
    began_ms = scene.clock.meter.read().billable_ms
    notices = [each.notice for each in scene.tick(STALLED)]
    assert notices == [None] * (STALLED - 1) + [Stalled(began_ms)]
    assert scene.clock.stalled
    scene.playback.feed(segment, np.ones(TICK_SAMPLES, np.int16))
    *_, resumed = scene.tick(1 + waits(lookahead))
    assert resumed.notice == Resumed(
        began_ms + (STALLED + waits(lookahead)) * 40
    )  # billed: it is the sender who pauses
    assert not scene.clock.stalled


def test_a_stall_of_an_utterance_that_is_given_up_is_over(scene: Scene) -> None:
    given_up = scene.playback.open("a")
    assert isinstance(scene.tick(STALLED)[-1].notice, Stalled)
    given_up.complete = True
    assert isinstance(scene.tick()[0].notice, Resumed)
    scene.playback.open("b")
    assert isinstance(scene.tick(STALLED)[-1].notice, Stalled)
    scene.interrupt()
    assert isinstance(scene.tick()[0].notice, Resumed)


def test_nobody_who_waits_for_nothing_stalls(scene: Scene) -> None:
    track(scene).muted = True
    assert {each.notice for each in scene.tick(2 * STALLED)} == {None}
    scene.interrupt()
    assert {each.notice for each in scene.tick(2 * STALLED)} == {None}


def test_a_track_that_brings_nothing_is_not_billed(scene: Scene) -> None:
    """Its receiver is ours, until another one has brought nothing either."""
    heard = track(scene)
    scene.tick(STALLED)
    stalled = scene.clock.meter.read()
    scene.tick(100)
    assert scene.clock.meter.read() == stalled
    scene.playback.feed(heard, np.ones(10 * TICK_SAMPLES, np.int16))
    scene.tick(10)
    sounded = scene.clock.meter.read().billable_ms
    assert sounded == pytest.approx(stalled.billable_ms + 360, abs=1)
    scene.playback.remakes = 2
    scene.tick(2 * STALLED)
    assert scene.clock.stalled
    assert scene.clock.meter.read().billable_ms == pytest.approx(sounded + 2 * STALLED * 40, abs=1)


def test_another_track_that_brings_nothing_is_no_excuse(scene: Scene) -> None:
    """Else a speaker who publishes a silent one every few seconds would have its face for nothing."""
    scene.playback.remakes = 2
    track(scene).complete = True
    track(scene)
    scene.tick(STALLED)
    assert scene.clock.stalled
    before = scene.clock.meter.read().billable_ms
    scene.tick(100)
    assert scene.clock.meter.read().billable_ms == pytest.approx(before + 4000, abs=1)


# Measures


def measured(played: list[Played]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for name, seconds in (each for one in played for each in one.measured):
        found.setdefault(name, []).append(round(seconds, 3))
    return found


@pytest.mark.parametrize("lookahead", [0, 3])
def test_from_the_first_byte_to_the_sound_and_to_the_frame_that_shows_it(lookahead: int) -> None:
    scene = Scene(Face(lookahead))
    scene.tick(5)
    segment = scene.say("a", 10 * TICK_SAMPLES)
    scene.playback.arrives(segment, scene.room.now)
    played = scene.tick(10)
    assert [each.audible for each in played].index(True) == waits(lookahead)
    # what stands in the source goes first; the frame goes out a tick later, when the sound of that tick leaves
    assert measured(played) == {
        "playback_latency": [round((waits(lookahead) + 1) * TICK_S + QUEUE_S - TICK_S, 3)],
        "audio_to_mouth": [round((waits(lookahead) + 1 + LATER) * TICK_S + QUEUE_S - TICK_S, 3)],
    }


def test_what_waits_behind_other_speech_is_no_measure(scene: Scene) -> None:
    scene.say("a", 10 * TICK_SAMPLES)
    scene.playback.arrives(scene.say("b", 10 * TICK_SAMPLES), scene.room.now)
    assert measured(scene.tick(30)) == {}


def test_from_the_agents_wish_to_silence(scene: Scene) -> None:
    scene.say("a", RATE)
    scene.tick(10)
    scene.clock.clear(scene.room)
    scene.say("b", RATE)
    assert measured(scene.tick(5)) == {"clear_to_silence": [0.0]}  # the source is empty at once
    scene.interrupt()
    scene.clock.clear(scene.room)  # there is nothing to be silenced
    assert measured(scene.tick(5)) == {}


def test_a_tick_under_way_when_the_agent_wants_silence_is_not_silence_yet(scene: Scene) -> None:
    scene.say("a", RATE)
    scene.tick(10)
    scene.room.during = lambda: scene.clock.clear(scene.room)
    (last,) = scene.tick()
    scene.room.during = lambda: None
    assert last.measured == ()
    assert measured(scene.tick(5)) == {"clear_to_silence": [0.04]}


# The open segment


def test_a_segment_is_open_from_its_header_to_its_finish(scene: Scene) -> None:
    scene.say("a", RATE)
    seen = [scene.clock.open_segment]
    scene.tick(3)
    seen.append(scene.clock.open_segment)
    scene.interrupt()
    seen.append(scene.clock.open_segment)
    assert seen == [Segment("a", 0), Segment("a", 120), None]


# The meter


def test_a_frame_that_comes_late_is_skew_and_its_sound_does_not_wait(scene: Scene) -> None:
    scene.tick(6)
    scene.face.behind = 2
    scene.tick(2)
    assert scene.clock.meter.skew_ms() == 20
    assert scene.clock.meter.skew_ms() is None


def test_silence_is_billed_and_is_no_speech(scene: Scene) -> None:
    scene.say("a", RATE // 2)
    scene.tick(27)
    read = scene.clock.meter.read()
    assert read.frames == 27
    assert read.audio_ms == 500
    assert read.billable_ms == pytest.approx(26 * 40 - QUEUE_S * 1000 + 40, abs=1)  # the queue fills at once


def test_no_renderer_is_not_billed(scene: Scene) -> None:
    scene.tick(10)
    before = scene.clock.meter.read()
    scene.face.lost = True
    scene.say("a", RATE)
    scene.tick(25)
    assert scene.clock.meter.read() == before
    scene.face.lost = False
    scene.tick(2)
    read = scene.clock.meter.read()
    assert read.billable_ms - before.billable_ms == 40  # from the first tick that is back, not from the last before
    assert read.frames - before.frames == 2


def test_a_face_that_is_lost_goes_on_speaking(scene: Scene) -> None:
    scene.face.lost = True
    scene.say("a", 2 * TICK_SAMPLES)
    scene.tick(6)
    assert scene.finishes == [Finish("a", 0.08, interrupted=False)]


def test_a_stall_is_not_billed(scene: Scene) -> None:
    scene.tick(10)
    before = scene.clock.meter.read().billable_ms
    scene.room.now += 1.5
    scene.tick()
    assert scene.clock.meter.read().billable_ms == before
    assert scene.clock.meter.late_frames == 1
    scene.tick(3)
    assert scene.clock.meter.read().billable_ms > before


def test_out_of_the_room_is_not_billed(scene: Scene) -> None:
    scene.tick(10)
    before = scene.clock.meter.read().billable_ms
    scene.clock.meter.pause()
    scene.room.now += 0.9  # shorter than a stall
    scene.tick()
    assert scene.clock.meter.read().billable_ms == before
    assert scene.clock.meter.late_frames == 0


# The tone


def test_the_tone_fills_silence_and_gives_way_to_speech(scene: Scene) -> None:
    scene.clock.tone = True
    scene.tick(3)
    scene.say("a", 2 * TICK_SAMPLES)
    scene.tick(4)
    loud = [bool(pcm.any()) for _, pcm in scene.room.pushed]
    assert loud == [True] * 7
    assert scene.sound[3:5] == [1000, 1000]
    assert all(np.array_equal(heard, pcm) for heard, (_, pcm) in zip(scene.face.heard, scene.room.pushed, strict=True))
    scene.clock.tone = False
    scene.tick()
    assert not scene.room.pushed[-1][1].any()


def test_the_tone_is_no_speech(scene: Scene) -> None:
    scene.clock.tone = True
    played = scene.tick(10)
    assert scene.clock.meter.read().audio_ms == 0
    assert all(each == Played((), (), None) for each in played)


# Idle time


def test_idle_time_counts_from_the_end_of_playout(scene: Scene) -> None:
    timers = Timers.begin(scene.room.now, idle_s=5, duration_s=600)
    scene.say("a", 10 * RATE)
    for _ in range(400):
        (played,) = scene.tick()
        if played.heard_at is not None:
            timers.active(played.heard_at)
            last = played.heard_at
        over = timers.over(scene.room.now)
        if over is not None:
            break
    assert over == "idle_timeout"
    assert last == pytest.approx(100 + 10, abs=0.001)
    assert last + 5 <= scene.room.now < last + 5 + TICK_S


def test_with_lookahead_the_end_of_playout_is_later() -> None:
    scene = Scene(Face(lookahead=5))
    scene.say("a", TICK_SAMPLES)
    heard = [each.heard_at for each in scene.tick(8)]
    assert [at is not None for at in heard] == [False] * 4 + [True] + [False] * 3
    assert heard[4] == pytest.approx(100 + 5 * TICK_S)


def test_speech_that_is_cut_off_keeps_awake_until_then(scene: Scene) -> None:
    scene.say("a", RATE)
    scene.tick(5)
    scene.interrupt()
    assert [each.heard_at for each in scene.tick(5)] == [None] * 5
