"""A clip as its decoder tells it: `faces.clip_decoder`, started, listened to, and gone when nobody listens."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

import msgspec
import structlog

from faces.clips import (
    TOO_LARGE,
    TOO_SLOW,
    UNREADABLE,
    Limits,
    Opened,
    Record,
    Refused,
    Sampled,
    Thumb,
    Unread,
    UnreadableClip,
    Wanted,
)
from faces.confined import ONE_THREAD
from faces.mark.samples import STEP_S

log = structlog.get_logger()

BY_HAND = Limits()
"""Of whoever waits for it, and can end it."""
_MOST_BYTES = 8 * 1024 * 1024
"""Of a record: the largest sample has 2."""
_SILENT_S = 60.0
"""A decoder that has brought nothing for so long will not bring anything."""
_ENDS_WITHIN_S = 5.0
_MOST_SAID = 4096
_OF_THE_MACHINE = ("LD_LIBRARY_PATH",)

_decoder = msgspec.msgpack.Decoder(Record | Refused)


@contextmanager
def decoded(
    clip: BinaryIO, wanted: Wanted, limits: Limits = BY_HAND, silent_s: float = _SILENT_S
) -> Iterator[Iterator[Record]]:
    """Its records, as they come; the process ends with the block. `clip`: a file on a disk.

    The records raise UnreadableClip.
    """
    own = {name: value for name, value in os.environ.items() if name in _OF_THE_MACHINE}
    settings = (msgspec.json.encode(wanted).decode(), msgspec.json.encode(limits).decode())
    clip.flush()
    os.lseek(clip.fileno(), 0, os.SEEK_SET)  # the process gets the handle as it stands
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "faces.clip_decoder", str(os.getpid()), *settings],
        env=own | ONE_THREAD,
        stdin=clip.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield _records(process, silent_s)
    finally:
        process.kill()
        process.communicate()  # closes its pipes, and waits


def _records(process: subprocess.Popen[bytes], silent_s: float) -> Iterator[Record]:
    assert process.stdout is not None
    opened, last = False, None
    while (head := _exactly(process.stdout, 4, silent_s)) is not None:
        size = int.from_bytes(head, "big")
        if size > _MOST_BYTES or (data := _exactly(process.stdout, size, silent_s)) is None:
            raise _gone(process)
        try:
            record = _decoder.decode(data)
        except msgspec.MsgspecError as wrong:
            raise _nonsense(str(wrong)) from None
        if isinstance(record, Refused):
            raise UnreadableClip(record.reason)
        if isinstance(record, Opened) is opened or not _sound(record, last):
            raise _nonsense(type(record).__name__)
        opened, last = True, record if isinstance(record, Sampled) else last
        yield record
    if _ended(process) != 0:
        raise _gone(process)


def _sound(record: Record, last: Sampled | None) -> bool:
    """Whether it has the size that it says, and is not too near to the `last` step: steps of one size are gathered into
    windows, which would have no end.
    """
    if isinstance(record, Unread):
        return record.start <= record.end
    if isinstance(record, Thumb):
        return len(record.data) == record.height * record.width * 3
    if not isinstance(record, Sampled):
        return True
    too_near = (
        last is not None
        and (record.rows, record.columns) == (last.rows, last.columns)
        and record.at_s <= last.at_s + STEP_S / 2
    )
    return not too_near and len(record.data) == 4 * record.rows * record.columns


def _nonsense(said: str) -> UnreadableClip:
    """A clip has taken its decoder over."""
    log.error("clip decoder said nonsense", error=said)
    return UnreadableClip(UNREADABLE)


def _exactly(pipe: IO[bytes], size: int, silent_s: float) -> bytes | None:
    """None: the pipe is at its end. Raises UnreadableClip when nothing comes for `silent_s`."""
    parts = bytearray()
    while len(parts) < size:
        deadline = time.monotonic() + silent_s
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise UnreadableClip(TOO_SLOW)
        if not (part := os.read(pipe.fileno(), size - len(parts))):
            return None
        parts += part
    return bytes(parts)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit code. Raises UnreadableClip for one that has said all and stays."""
    try:
        return process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        raise UnreadableClip(TOO_SLOW) from None


def _gone(process: subprocess.Popen[bytes]) -> UnreadableClip:
    code = _ended(process)
    if code == -signal.SIGXCPU:
        return UnreadableClip(TOO_SLOW)
    if code == -signal.SIGKILL:  # not by us: the machine is short of memory
        return UnreadableClip(TOO_LARGE)
    assert process.stderr is not None
    said = os.read(process.stderr.fileno(), _MOST_SAID) if select.select([process.stderr], [], [], 0)[0] else b""
    log.error("clip decoder crashed", code=code, error=said.decode(errors="replace"))
    return UnreadableClip(UNREADABLE)
