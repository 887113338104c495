"""`python -I -m faces.clip_decoder PARENT WANTED LIMITS`: one clip, read where it can do no harm.

The clip is its standard input, a file; on standard output go the records of `faces.clips`, each behind its length. What
a clip can do to its decoder, it does to this process, which has no secrets, opens neither files nor sockets, writes
nothing, dies with its parent, and gets no more than its share of work and memory.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import av
import msgspec

from faces import clips
from faces.confined import confine, open_nothing


def main(parent: int, wanted: str, limits: str) -> None:
    os.set_blocking(sys.stderr.fileno(), False)  # nobody reads it before the end: what is too much is not said
    bounds = msgspec.json.decode(limits, type=clips.Limits)
    asked = msgspec.json.decode(wanted, type=clips.Wanted)
    encode = msgspec.msgpack.Encoder().encode
    for module in pkgutil.walk_packages(av.__path__, "av."):  # PyAV imports some when it meets a kind of stream
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    av.logging.set_level(None)
    confine(parent, bounds.cpu_s, bounds.memory)
    open_nothing()

    def say(record: clips.Record | clips.Refused) -> None:
        data = encode(record)
        sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
        sys.stdout.buffer.flush()

    try:
        for record in clips.read(sys.stdin.buffer, asked, bounds):
            say(record)
    except clips.UnreadableClip as bad:
        say(clips.Refused(str(bad)))
    except MemoryError:
        say(clips.Refused(clips.TOO_LARGE))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
