"""The customer's LiveKit room: join, publish, hear, leave, in the order that agents need (docs/reference/worker.md)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Set
from typing import Protocol

import structlog
from livekit import rtc
from livekit.rtc.participant import PublishTrackError

from schemas import moods
from schemas.addresses import AddressPolicy, InvalidUrl, UnsafeAddress, host_of
from schemas.assignments import Task
from schemas.events import FailureCode
from workers.ears import Ears
from workers.media_clock import LEAVES_S, QUEUE_S, Frame
from workers.playback import RATE, TICK_SAMPLES, Pcm
from workers.renderers import FPS, Format

log = structlog.get_logger()

AUDIO_TOPIC = "lk.audio_stream"
CLEAR_BUFFER = "lk.clear_buffer"
SET_MOOD = "greenroom.set_mood"
_NOT_THE_AGENT, _NO_SUCH_MOOD = 403, 422
"""Codes of an RPC's error; those from 1001 to 1999 are LiveKit's."""
AUDIO_TRACK, VIDEO_TRACK = "avatar_audio_synthetic", "avatar_video_synthetic"
"""Their names say what they are, also where a token does not let us set attributes."""
ON_BEHALF = "lk.publish_on_behalf"
CROPPED_ROWS = 2
_RENEW_AFTER_TICKS = 1
_PUSH_TIMEOUT_S = 2.0
_LEAVE_TIMEOUT_S = 3.0
_UNREACHABLE = "LiveKit could not be reached at transport.url."
_AGENT_ALONE = (
    "The mood is the agent's to set: the participant that the token names in lk.publish_on_behalf, or who sends speech."
)
_REFUSED = "LiveKit refused the track: the worker token does not let it publish one in this room."
"""The server's own words may name the room or people in it, and the message stands in the log for ever."""
_UNAUTHORIZED = ("401", "403", "unauthorized", "invalid token", "permission", "not authorized")


class RoomError(Exception):
    """The room could not be joined or published in; `code` is the session's failure code."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code: FailureCode = code


class Listener(Protocol):
    """What the session hears from its room."""

    def on_clear(self, identity: str) -> Awaitable[bool]: ...

    def on_gone(self, reason: int) -> None: ...

    def on_presence(self) -> None: ...

    def on_speakers(self, identities: Set[str]) -> None:
        """Who of the others speaks, and that somebody does, or that nobody does any more."""

    def on_mood(self, identity: str, mood: moods.Mood) -> bool:
        """False: it is not for this participant to say."""


class LiveRoom:
    """One connection. A rejoin is a new LiveRoom."""

    def __init__(self, task: Task, frame: Format, listener: Listener, ears: Ears, policy: AddressPolicy) -> None:
        self._task = task
        self._policy = policy
        self._frame = frame
        self._listener = listener
        self._ears = ears
        ears.begin()
        self._left = False
        self._room = rtc.Room()
        self._audio = rtc.AudioSource(RATE, 1, queue_size_ms=round(QUEUE_S * 1000))
        self._video = rtc.VideoSource(frame.width, frame.height)
        self._renew_in: int | None = None
        self._waiting: rtc.VideoFrame | None = None
        self._due: asyncio.TimerHandle | None = None
        self._shown = False

    @property
    def room(self) -> rtc.Room:
        return self._room

    @property
    def participant(self) -> rtc.LocalParticipant:
        return self._room.local_participant

    @property
    def behalf(self) -> str | None:
        """The agent that our token names, if it does."""
        return self._room.local_participant.attributes.get(ON_BEHALF)

    @property
    def others(self) -> set[str]:
        return set(self._room.remote_participants)

    @property
    def queued_s(self) -> float:
        return float(self._audio.queued_duration)

    async def join(self, timeout_s: float) -> None:
        """Connect, ready to hear from the first moment. Raises RoomError.

        What does not answer, is not there, or may not be connected to reads alike: else the customer of a session could
        feel around in the operator's network.
        """
        # A stream whose topic has no handler is thrown away, so the handler is there before the connection.
        self._room.register_byte_stream_handler(AUDIO_TOPIC, self._ears.on_stream)
        self._subscribe_to_events()
        try:
            async with asyncio.timeout(timeout_s):
                await self._check_host()
                await self._room.connect(self._task.url, self._task.worker_token, rtc.RoomOptions(auto_subscribe=False))
        except (TimeoutError, InvalidUrl, UnsafeAddress, OSError) as failed:
            log.warning("room not joined", reason=str(failed) or type(failed).__name__)
            raise RoomError("transport.connect_failed", _UNREACHABLE) from None
        except rtc.ConnectError as refused:
            raise _as_room_error(str(refused)) from None
        self._room.local_participant.register_rpc_method(CLEAR_BUFFER, self._clear_buffer)
        self._room.local_participant.register_rpc_method(SET_MOOD, self._set_mood)

    async def _check_host(self) -> None:
        """Raises InvalidUrl, UnsafeAddress, OSError. The SDK resolves the name again: docs/reference/operations.md."""
        host = host_of(self._task.url)
        for found in await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM):
            self._policy.check(str(found[4][0]))

    async def publish(self) -> None:
        """Video, then audio. Never leave between join and video: the agent's output would be broken for good.

        In this order a subscriber negotiates the video first: with the audio first its first frame comes 120 ms later
        every second time (docs/decisions/0003-video-before-audio.md).
        """
        audio = rtc.LocalAudioTrack.create_audio_track(AUDIO_TRACK, self._audio)
        video = rtc.LocalVideoTrack.create_video_track(VIDEO_TRACK, self._video)
        await self._publish(
            video,
            rtc.TrackPublishOptions(
                source=rtc.TrackSource.SOURCE_CAMERA,
                simulcast=False,
                video_codec=rtc.VideoCodec.VP8,
                # without it the SDK's preset gives 20 fps at 300 kbps
                video_encoding=rtc.VideoEncoding(max_framerate=FPS, max_bitrate=self._frame.bitrate),
            ),
        )
        await self._publish(audio, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
        if self._task.audio_source == "track":
            self._subscribe_to_tracks()

    async def _publish(self, track: rtc.LocalTrack, options: rtc.TrackPublishOptions) -> None:
        try:
            async with asyncio.timeout(10):
                await self._room.local_participant.publish_track(track, options)
        except TimeoutError:
            raise RoomError("transport.connect_failed", "LiveKit did not accept the track in time.") from None
        except PublishTrackError as refused:
            log.warning("track refused", reason=str(refused))
            raise RoomError("transport.unauthorized", _REFUSED) from None

    async def push(self, frame: Frame, pcm: Pcm) -> None:
        """One frame and exactly 40 ms of audio; returns when the audio source has room, which is the only pace.

        The frame goes out when this sound leaves the source, LEAVES_S later while that is full
        (docs/decisions/0041-a-frame-goes-with-its-sound.md). The first one, for which somebody waits, at once.
        """
        height = self._frame.height
        if self._renew_in is not None:
            self._renew_in -= 1
            if self._renew_in < 0:
                self._renew_in = None
                frame, height = cropped(frame, self._frame), height - CROPPED_ROWS
        async with asyncio.timeout(_PUSH_TIMEOUT_S):
            await self._audio.capture_frame(rtc.AudioFrame(pcm.tobytes(), RATE, 1, TICK_SAMPLES))
        self._show()  # the one before, where ticks come in a burst
        self._waiting = rtc.VideoFrame(self._frame.width, height, rtc.VideoBufferType.I420, frame)
        if self._shown:
            self._due = asyncio.get_running_loop().call_later(LEAVES_S, self._show)
        else:
            self._show()

    def _show(self) -> None:
        """The frame that waits, if one does."""
        if self._due is not None:
            self._due.cancel()
        if self._waiting is not None and not self._left:
            self._video.capture_frame(self._waiting)
            self._shown = True
        self._due = self._waiting = None

    def _on_subscribed(self, track: rtc.Track) -> None:
        """Somebody sees the track, for the first time.

        The keyframe that it begins with may come before the subscriber's transport is up; it is lost then, and the
        server asks for another one up to a second later. A frame of another size makes the encoder begin anew, with a
        keyframe, when the way is clear. The frame behind it begins with one again.
        """
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            self._renew_in = _RENEW_AFTER_TICKS

    def clear(self) -> None:
        self._audio.clear_queue()

    async def leave(self) -> None:
        self._left = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await self._room.disconnect()

    # Events

    def _subscribe_to_events(self) -> None:
        self._room.on("disconnected", self._on_disconnected)
        self._room.on("local_track_subscribed", self._on_subscribed)
        self._room.on("participant_connected", lambda _: self._listener.on_presence())
        self._room.on("participant_disconnected", self._on_left)
        self._room.on("active_speakers_changed", self._on_speakers)
        self._room.on("track_published", lambda publication, participant: self._wanted(publication, participant))
        self._room.on("track_unpublished", lambda publication, _: self._on_track_gone(publication.sid))
        self._room.on("track_subscribed", lambda track, *_: self._on_track(track))
        self._room.on("track_unsubscribed", lambda track, *_: self._ears.unsubscribed(track.sid))

    def _on_disconnected(self, reason: int) -> None:
        if not self._left:
            self._listener.on_gone(reason)

    def _on_speakers(self, speakers: list[rtc.Participant]) -> None:
        self._listener.on_speakers({speaker.identity for speaker in speakers})

    async def _clear_buffer(self, call: rtc.RpcInvocationData) -> str:
        return "ok" if await self._listener.on_clear(call.caller_identity) else "reject"

    async def _set_mood(self, call: rtc.RpcInvocationData) -> str:
        """Raises RpcError, which its caller gets to see."""
        mood = moods.parse(call.payload)
        if mood is None:
            raise rtc.RpcError(_NO_SUCH_MOOD, moods.unknown(call.payload))
        if not self._listener.on_mood(call.caller_identity, mood):
            raise rtc.RpcError(_NOT_THE_AGENT, _AGENT_ALONE)
        return "ok"

    def _subscribe_to_tracks(self) -> None:
        for participant in self._room.remote_participants.values():
            for publication in participant.track_publications.values():
                self._wanted(publication, participant)

    def _wanted(self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        """`track`: the voice of whoever is chosen. What is not chosen is never received."""
        if (
            self._task.audio_source == "track"
            and publication.kind == rtc.TrackKind.KIND_AUDIO
            and publication.source != rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO
            and self._ears.choice.wants(participant.identity, publication.sid)
        ):
            publication.set_subscribed(True)

    def _on_track_gone(self, sid: str) -> None:
        if self._ears.ended(sid):
            self._subscribe_to_tracks()

    def _on_left(self, participant: rtc.RemoteParticipant) -> None:
        for sid in participant.track_publications:
            self._on_track_gone(sid)
        self._listener.on_presence()

    def _on_track(self, track: rtc.Track) -> None:
        if isinstance(track, rtc.RemoteAudioTrack):
            self._ears.on_track(track)


def cropped(frame: Frame, size: Format) -> Frame:
    """An I420 frame without its CROPPED_ROWS lowest rows."""
    pixels, rows = size.width * size.height, size.height - CROPPED_ROWS
    chroma, kept = pixels // 4, size.width * rows // 4
    return frame[: size.width * rows] + frame[pixels:][:kept] + frame[pixels + chroma :][:kept]


def _as_room_error(text: str) -> RoomError:
    if any(word in text.lower() for word in _UNAUTHORIZED):
        return RoomError("transport.unauthorized", "LiveKit refused the worker token. Mint a new one for this room.")
    return RoomError("transport.connect_failed", _UNREACHABLE)
