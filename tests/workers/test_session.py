"""One attempt from its start to its last word, in a room that does as it is told; and broken, in a real one."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest
from livekit import rtc

from cli.customer import AVATAR, LiveKitProject
from schemas.assignments import Task
from schemas.events import (
    SessionAttemptLost,
    SessionAudioResumed,
    SessionAudioStalled,
    SessionEnded,
    SessionEnding,
    SessionFailed,
    SessionFirstAudio,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionJoined,
    SessionSyntheticAudioStarted,
)
from schemas.times import now_ms
from stack.servers import Servers
from tests.builders import session_id, task
from workers import session as sessions
from workers.attempts import read
from workers.face import FaceUnloadable, MockFace
from workers.lease import boottime
from workers.messages import AttemptEvent, AttemptLimits, FromSession, Playing, Said, Start, ToSession
from workers.pipe import Pipe
from workers.playback import TICK_SAMPLES, Finish, Pcm
from workers.room import RoomError
from workers.session import Session

unit, media = pytest.mark.unit, pytest.mark.media

LOST = int(rtc.DisconnectReason.SIGNAL_CLOSE)
EVICTED = int(rtc.DisconnectReason.DUPLICATE_IDENTITY)
TASK = task(worker_identity=AVATAR)


async def at_once(_: Room) -> None:
    return None


async def never(_: Room) -> None:
    await asyncio.get_running_loop().create_future()


class Room:
    """In the place of `LiveRoom`. It has no pace: a tick takes a millisecond."""

    room = None
    participant = None
    others: frozenset[str] = frozenset({"agent"})
    queued_s = 0.0

    def __init__(self, stage: Stage, listener: Session) -> None:
        self._stage = stage
        self.listener = listener
        self.left = False
        self.pushed = 0

    @property
    def behalf(self) -> str | None:
        return self._stage.behalf

    async def join(self, _: float) -> None:
        await self._stage.joining(self)

    async def publish(self) -> None:
        return None

    async def push(self, frame: bytes, pcm: Pcm) -> None:
        assert not self.left
        assert len(pcm) == TICK_SAMPLES
        await self._stage.pushing(self)
        await asyncio.sleep(0.001)
        self.pushed += 1

    def clear(self) -> None:
        return None

    async def leave(self) -> None:
        self.left = True


class Stage:
    """A session's pipe, its rooms, and what its agent was told."""

    def __init__(self) -> None:
        self.behalf: str | None = "agent"
        self.joining: Callable[[Room], Coroutine[Any, Any, None]] = at_once
        self.pushing: Callable[[Room], Coroutine[Any, Any, None]] = at_once
        self.rooms: list[Room] = []
        self.said: list[AttemptEvent] = []
        self.told: list[Finish] = []

    def send(self, message: Said | Playing) -> None:
        if isinstance(message, Said):
            self.said.append(read(message))

    def room(self, _: Task, __: object, listener: Session, *___: object) -> Room:
        self.rooms.append(Room(self, listener))
        return self.rooms[-1]

    @asynccontextmanager
    async def session(
        self, attempt: int = 1, start_timeout_s: float = 5, heartbeat_s: float = 0.05, **changes: Any
    ) -> AsyncIterator[Session]:
        """It has ended when this does."""
        limits = AttemptLimits(5, start_timeout_s, heartbeat_s, 0.1)
        task = msgspec.structs.replace(TASK, **changes)
        session = Session(self, Start(task, attempt, "wrk_1", boottime(), limits))  # type: ignore[arg-type]
        running = asyncio.create_task(session.run())
        try:
            yield session
            async with asyncio.timeout(20):
                await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def plays(self, rooms: int = 1, ticks: int = 3) -> Room:
        """Once it does in its room of this number."""
        async with asyncio.timeout(10):
            while len(self.rooms) < rooms or self.rooms[rooms - 1].pushed < ticks:
                await asyncio.sleep(0.005)
        return self.rooms[rooms - 1]

    async def says(self, kind: type) -> None:
        async with asyncio.timeout(10):
            while kind not in self.kinds:
                await asyncio.sleep(0.005)

    @property
    def kinds(self) -> list[type]:
        return [type(event) for event in self.said]

    @property
    def end(self) -> str:
        last = self.said[-1]
        assert isinstance(last, SessionEnded | SessionFailed)
        return last.reason if isinstance(last, SessionEnded) else last.code


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage()
    monkeypatch.setattr(sessions, "LiveRoom", made.room)
    monkeypatch.setattr("workers.agent_link.AgentLink.finished", lambda _, finish: made.told.append(finish))
    return made


# Start


@unit
async def test_a_whole_attempt(stage: Stage) -> None:
    async with stage.session() as session:
        await stage.says(SessionHeartbeat)
        session.request_end("api_request")
    beats = stage.kinds.count(SessionHeartbeat)
    assert stage.kinds == [SessionJoined, SessionFirstFrame, *[SessionHeartbeat] * beats, SessionEnding, SessionEnded]
    last = stage.said[-1]
    assert isinstance(last, SessionEnded)
    assert (last.reason, last.n) == ("api_request", beats + 1)
    assert last.meter is not None
    assert last.meter.frames == stage.rooms[0].pushed
    assert stage.rooms[0].left


@unit
async def test_told_to_end_while_it_joins(stage: Stage) -> None:
    stage.joining = never
    async with stage.session() as session:
        await asyncio.sleep(0.05)
        session.request_end("superseded")
    assert stage.kinds == [SessionEnding, SessionEnded]
    assert stage.end == "superseded"
    assert stage.rooms[0].left


@unit
async def test_a_room_that_takes_too_long(stage: Stage) -> None:
    stage.joining = never
    async with stage.session(start_timeout_s=0.1):
        pass
    assert (stage.kinds, stage.end) == ([SessionFailed], "start_timeout")


@unit
async def test_a_room_that_refuses(stage: Stage) -> None:
    async def refuse(_: Room) -> None:
        raise RoomError("transport.unauthorized", "No.")

    stage.joining = refuse
    async with stage.session():
        pass
    assert (stage.kinds, stage.end) == ([SessionFailed], "transport.unauthorized")


@unit
async def test_a_face_that_cannot_be_loaded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: MockFace) -> None:
        raise FaceUnloadable("it is gone")

    monkeypatch.setattr(MockFace, "open", refuse)
    async with stage.session():
        pass
    assert (stage.kinds, stage.end) == ([SessionJoined, SessionFailed], "avatar.load_failed")
    assert stage.rooms[0].left


@unit
async def test_a_later_attempt_first_finishes_what_the_lost_one_played(stage: Stage) -> None:
    stage.behalf = None
    async with stage.session(attempt=2, resume_played_ms=1500) as session:
        await stage.plays()
        assert stage.told == [Finish("lost", 1.5, interrupted=True)]
        session.request_end("api_request")


@unit
async def test_a_first_attempt_has_nothing_to_finish(stage: Stage) -> None:
    async with stage.session(resume_played_ms=1500) as session:
        await stage.plays()
        session.request_end("api_request")
    assert stage.told == []


# Another worker takes over


@unit
async def test_thrown_out_by_its_successor_it_is_over(stage: Stage) -> None:
    async with stage.session() as session:
        room = await stage.plays()
        session.hand_over()
        await stage.plays(ticks=room.pushed + 3)  # it plays on until then
        room.listener.on_gone(EVICTED)
    assert (len(stage.rooms), stage.end) == (1, "worker_drained")


@unit
async def test_who_hands_over_tells_the_agent_while_it_can(stage: Stage) -> None:
    async with stage.session() as session:
        room = await stage.plays()
        session._ears._playback.open("seg_1")
        session.hand_over()
        assert [(finish.segment_id, finish.interrupted) for finish in stage.told] == [("seg_1", True)]
        room.listener.on_gone(LOST)  # for whatever reason: it does not come back and throw its successor out
    assert (len(stage.rooms), stage.end) == (1, "worker_drained")


@unit
async def test_a_successor_that_does_not_come_is_not_waited_for_long(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_SUCCESSOR_S", 0.05)
    async with stage.session() as session:
        await stage.plays()
        session.hand_over()
    assert stage.end == "worker_drained"


@unit
async def test_a_draining_worker_says_at_once_how_its_sessions_are(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_DRAINING_BEAT_S", 0.01)
    async with stage.session(heartbeat_s=3600) as session:
        await stage.plays()
        assert SessionHeartbeat not in stage.kinds
        session.drain()
        await stage.says(SessionHeartbeat)
        session.request_end("worker_drained")
    assert stage.end == "worker_drained"


@unit
async def test_a_successor_is_ready_to_draw_before_it_joins(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, opened = asyncio.Event(), asyncio.Event()

    async def open_(_: MockFace) -> None:
        opening.set()
        await opened.wait()

    monkeypatch.setattr(MockFace, "open", open_)
    for handover in (False, True):
        opening.clear()
        opened.clear()
        joined = len(stage.rooms)
        async with stage.session(attempt=2, handover=handover) as session:
            await opening.wait()
            assert len(stage.rooms) - joined == (0 if handover else 1)
            opened.set()
            await stage.plays(rooms=joined + 1)
            session.request_end("api_request")


@unit
async def test_a_drain_that_takes_long_costs_no_more_heartbeats_than_usual(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_DRAINING_BEAT_S", 0.001)
    monkeypatch.setattr(sessions, "_DRAINING_BEATS", 3)
    async with stage.session(heartbeat_s=3600) as session:
        await stage.plays()
        session.drain()
        async with asyncio.timeout(10):
            while stage.kinds.count(SessionHeartbeat) < 4:
                await asyncio.sleep(0)
        room = stage.rooms[0]
        await stage.plays(ticks=room.pushed + 50)
        assert stage.kinds.count(SessionHeartbeat) == 4
        session.request_end("worker_drained")


# Speech that does not come


@unit
async def test_a_stall_is_told_and_shown_and_so_is_its_end(stage: Stage) -> None:
    async with stage.session(heartbeat_s=3600) as session:
        await stage.plays()
        utterance = session._ears._playback.open("a")
        await stage.says(SessionAudioStalled)
        shown = [session._attributes._wanted]
        session._ears._playback.feed(utterance, np.ones(TICK_SAMPLES, np.int16))
        await stage.says(SessionAudioResumed)
        await stage.says(SessionFirstAudio)
        shown.append(session._attributes._wanted)
        session.request_end("api_request")
    assert shown == ["degraded", "running"]
    assert stage.kinds.count(SessionAudioStalled) == stage.kinds.count(SessionAudioResumed) == 1


# Rejoin


@unit
async def test_a_lost_connection_is_made_again(stage: Stage) -> None:
    async with stage.session() as session:
        first = await stage.plays()
        first.listener.on_gone(LOST)
        await stage.plays(rooms=2)
        assert first.left
        session.request_end("api_request")
    assert stage.kinds.count(SessionJoined) == stage.kinds.count(SessionFirstFrame) == 1
    assert (len(stage.rooms), stage.end) == (2, "api_request")


@unit
async def test_a_room_that_takes_no_frame_is_left_and_joined_again(stage: Stage) -> None:
    async def stuck(room: Room) -> None:
        if room is stage.rooms[0] and room.pushed > 2:
            raise TimeoutError

    stage.pushing = stuck
    async with stage.session() as session:
        await stage.plays(rooms=2)
        session.request_end("api_request")
    assert stage.end == "api_request"


@unit
async def test_a_connection_that_does_not_come_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_REJOIN_WITHIN_S", 0.6)

    async def refuse(room: Room) -> None:
        if room is not stage.rooms[0]:
            raise RoomError("transport.connect_failed", "Nobody there.")

    stage.joining = refuse
    async with stage.session():
        (await stage.plays()).listener.on_gone(LOST)
    assert stage.end == "transport.disconnected"
    assert len(stage.rooms) > 2
    assert all(room.left for room in stage.rooms)


@unit
async def test_without_a_valid_lease_no_room_is_joined_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_REJOIN_WITHIN_S", 0.6)
    async with stage.session() as session:
        room = await stage.plays()
        session.renewed_at = boottime() - 11
        room.listener.on_gone(LOST)
    assert (len(stage.rooms), stage.end) == (1, "transport.disconnected")


@unit
async def test_thrown_out_by_its_double_it_comes_back_three_times(stage: Stage) -> None:
    async with stage.session():
        for n in range(1, 5):
            (await stage.plays(rooms=n)).listener.on_gone(EVICTED)
    assert (len(stage.rooms), stage.end) == (4, "transport.identity_taken")


@unit
async def test_thrown_out_without_a_valid_lease_it_leaves_for_ever(stage: Stage) -> None:
    async with stage.session() as session:
        room = await stage.plays()
        session.renewed_at = boottime() - 11
        room.listener.on_gone(EVICTED)
    assert (len(stage.rooms), stage.end) == (1, "transport.identity_taken")


# End


@unit
@pytest.mark.parametrize(
    ("reason", "end"),
    [
        (rtc.DisconnectReason.ROOM_DELETED, "room_closed"),
        (rtc.DisconnectReason.ROOM_CLOSED, "room_closed"),
        (rtc.DisconnectReason.PARTICIPANT_REMOVED, "participant_removed"),
    ],
)
async def test_a_room_that_is_over_ends_it(stage: Stage, reason: int, end: str) -> None:
    async with stage.session():
        (await stage.plays()).listener.on_gone(int(reason))
    assert (len(stage.rooms), stage.end) == (1, end)


@unit
async def test_removed_after_an_end_was_requested_that_is_the_reason(stage: Stage) -> None:
    async with stage.session() as session:
        room = await stage.plays()
        session.request_end("api_request")
        session.request_end("idle_timeout")  # too late
        room.listener.on_gone(int(rtc.DisconnectReason.PARTICIPANT_REMOVED))
    assert stage.end == "api_request"


@unit
@pytest.mark.parametrize(
    ("changes", "end"), [({"idle_timeout_ms": 100}, "idle_timeout"), ({"max_duration_ms": 100}, "max_duration")]
)
async def test_it_ends_by_itself(stage: Stage, changes: dict[str, int], end: str) -> None:
    async with stage.session(**changes):
        pass
    assert stage.end == end


@unit
async def test_an_agent_that_stays_away_has_left(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage.session():
        room = await stage.plays()
        room.listener.on_presence()  # it is there
        monkeypatch.setattr(Room, "others", frozenset({"watcher"}))
        room.listener.on_presence()
    assert stage.end == "agent_left"


@unit
async def test_what_is_open_at_the_end_is_finished(stage: Stage) -> None:
    async with stage.session() as session:
        await stage.plays()
        session._media._playback.open("a")
        session._media._playback.open("b")
        session.request_end("api_request")
    assert stage.told == [Finish("a", 0, interrupted=True), Finish("b", 0, interrupted=True)]


@unit
async def test_the_face_is_told_of_its_mood_and_of_who_else_speaks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, bool]] = []
    monkeypatch.setattr(MockFace, "cue", lambda _, *cue: told.append(cue))
    async with stage.session(mood="warm") as session:
        await stage.plays()
        assert told == [("warm", False)]
        session.on_speakers({"agent"})
        session.on_speakers({"avatar"})  # its own words
        assert len(told) == 1
        session.on_speakers({"agent", "user"})
        session.on_speakers({"user"})
        assert not session.on_mood("user", "serious")
        assert session.on_mood("agent", "serious")
        session.on_speakers(set())
        assert told[1:] == [("warm", True), ("serious", True), ("serious", False)]
        session.request_end("api_request")


@unit
async def test_only_the_agent_may_clear(stage: Stage) -> None:
    async with stage.session() as session:
        await stage.plays()
        session._media._playback.open("a")
        assert not await session.on_clear("watcher")
        assert stage.told == []
        assert await session.on_clear("agent")
        assert stage.told == [Finish("a", 0, interrupted=True)]
        session.request_end("api_request")


@unit
async def test_the_tone_is_marked_and_ends_with_the_first_voice(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_SYNTHETIC_AFTER_S", 0.05)
    async with stage.session(synthetic_audio_if_no_input=True) as session:
        await stage.says(SessionSyntheticAudioStarted)
        before = session._media.tone
        session.on_voice()
        assert (before, session._media.tone) == (True, False)
        await asyncio.sleep(0.1)
        session.request_end("api_request")
    assert stage.kinds.count(SessionSyntheticAudioStarted) == 1


# What it lives by


@media
@pytest.mark.parametrize("work", ["workers.session.Session._beats", "workers.agent_link.AgentLink.run"])
async def test_an_attempt_ends_with_what_it_lives_by(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """Without heartbeats it would play on unbilled; without reports its agent would wait for ever."""

    async def dies(_: object) -> None:
        await asyncio.sleep(0.5)
        raise RuntimeError("it broke")

    monkeypatch.setattr(work, dies)
    room = f"room-{secrets.token_hex(4)}"
    project = LiveKitProject(servers.livekit_url, servers.livekit_api_key, servers.livekit_api_secret)
    task = msgspec.structs.replace(
        TASK,
        session_id=session_id(),
        url=servers.livekit_url,
        room_name=room,
        worker_token=project.token(room, AVATAR),
        accepted_ms=now_ms(),
    )
    one, other = socket.socketpair()
    ours: Pipe[FromSession] = await Pipe.over(one, FromSession)
    theirs: Pipe[ToSession] = await Pipe.over(other, ToSession)
    limits = AttemptLimits(30, 40, 1, 10, permitted_networks=f"{urlsplit(servers.livekit_url).hostname}/32")
    running = asyncio.create_task(Session(theirs, Start(task, 1, "wrk_1", boottime(), limits)).run())
    said: list[AttemptEvent] = []
    try:
        async with asyncio.timeout(90):
            while not said or not isinstance(said[-1], SessionAttemptLost):
                message = await ours.receive()
                assert message is not None
                if isinstance(message, Said):
                    said.append(read(message))
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        ours.close()
        theirs.close()
    assert said[-1].reason == "process_crashed"
    if work.endswith("_beats"):
        assert any(isinstance(event, SessionFirstFrame) for event in said)
