"""Frames between the renderer process and a session: one ring of shared memory per session, nameless, gone with its two
holders, and the messages that go with it."""

from __future__ import annotations

import mmap
import os
import socket

from msgspec import Struct

from schemas.moods import Mood

SLOTS = 4


class Open(Struct, frozen=True, tag="open"):
    """The session's first message. `face`: asset of a built face, or None for the stock avatar of that id."""

    avatar_id: str
    face: str | None
    width: int
    seed: int
    height: int


class Push(Struct, frozen=True, tag="push"):
    """40 ms of sound, int16 mono 48 kHz; answered by the frame of tick `number - lookahead`."""

    number: int
    pcm: bytes


class Clear(Struct, frozen=True, tag="clear"):
    """The agent was interrupted."""


class Cue(Struct, frozen=True, tag="cue"):
    """From the next frame on: how the face looks, and whether somebody else speaks to it."""

    mood: Mood
    listening: bool


ToRenderer = Open | Push | Clear | Cue


class Opened(Struct, frozen=True, tag="opened"):
    """The idle face is in slot 0. `lookahead`: by how many ticks frames trail the sound."""

    lookahead: int


class Refused(Struct, frozen=True, tag="refused"):
    """The face cannot be loaded; the renderer closes the connection."""

    message: str


class Drawn(Struct, frozen=True, tag="drawn"):
    """The answer to push `number`. `slot` None: there is no frame yet."""

    number: int
    slot: int | None


FromRenderer = Opened | Refused | Drawn


class Ring:
    """SLOTS frames of I420 in shared memory."""

    def __init__(self, handle: int, width: int, height: int) -> None:
        self.size = width * height * 3 // 2
        self._memory = mmap.mmap(handle, SLOTS * self.size)

    @classmethod
    def create(cls, width: int, height: int) -> tuple[Ring, int]:
        """A new ring and the handle to give to its other holder."""
        handle = os.memfd_create("greenroom-frames", os.MFD_CLOEXEC)
        os.ftruncate(handle, SLOTS * width * height * 3 // 2)
        return cls(handle, width, height), handle

    def write(self, slot: int, frame: memoryview) -> None:
        self._memory[slot * self.size : (slot + 1) * self.size] = frame

    def read(self, slot: int) -> bytes:
        return self._memory[slot * self.size : (slot + 1) * self.size]

    def close(self) -> None:
        self._memory.close()


def give(end: socket.socket, handle: int) -> None:
    """Send a copy of a handle as the first byte of a connection. Raises OSError."""
    socket.send_fds(end, [b"r"], [handle])


def take(end: socket.socket) -> int:
    """The other side of `give`. Raises OSError, ValueError."""
    _, handles, _, _ = socket.recv_fds(end, 1, 1)
    if len(handles) != 1:
        raise ValueError("the connection did not begin with a handle")
    return handles[0]
