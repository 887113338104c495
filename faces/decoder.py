"""`python -I -m faces.decoder PARENT MARK CPU_S BYTES`: one uploaded picture, decoded where it can do no harm.

The upload comes on standard input; on standard output goes a line of JSON, then the normalised portrait. What a picture
can do to its decoder, it does to this process, which has no secrets and no sockets, writes no file, dies with its
parent, and gets no more than its share: SIGXCPU after CPU_S seconds of work, MemoryError beyond BYTES of address space.
"""

from __future__ import annotations

import json
import sys

from faces.confined import confine
from faces.portrait import TOO_LARGE, BadImage, normalise


def main(parent: int, mark: str, cpu_s: int, memory: int) -> None:
    confine(parent, cpu_s, memory)
    try:
        portrait, scale = normalise(sys.stdin.buffer.read(), mark)
    except BadImage as bad:
        _answer({"refused": str(bad)})
    except MemoryError:
        _answer({"refused": TOO_LARGE})
    else:
        _answer({"scale": scale}, portrait)


def _answer(header: dict[str, object], content: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
