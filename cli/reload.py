"""`greenroom up --reload`: a process is started again when code of a room that it imports has changed.

For development. Files are looked at twice a second. What is half written, or wrong, ends its process, which is started
again with back-off, as any that exits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cli.processes import KINDS
from stack.process import ProcessGroup

ROOT = Path(__file__).parent.parent
ROOMS: dict[str, frozenset[str]] = {
    "api": frozenset({"api", "projections", "store", "events", "faces", "schemas"}),
    "project": frozenset({"reactors", "projections", "store", "events", "schemas"}),
    "deliver": frozenset({"reactors", "projections", "store", "events", "schemas"}),
    "live": frozenset({"reactors", "projections", "store", "events", "schemas"}),
    "worker": frozenset({"workers", "events", "faces", "schemas"}),
    "build": frozenset({"workers", "events", "faces", "schemas"}),
}
"""Kind of process → the rooms whose code it runs, its children included. All of them begin in `cli/`."""
_EVERY_S = 0.5

Times = dict[Path, int]


def kinds_of(changed: set[Path], root: Path = ROOT) -> list[str]:
    """The kinds of processes that run one of these files, in the order in which they are started."""
    rooms = {path.relative_to(root).parts[0] for path in changed}
    return [kind for kind in KINDS if rooms & ROOMS[kind] or "cli" in rooms]


def times(root: Path = ROOT) -> Times:
    """Python file → when it was last written, in ns; of all rooms."""
    found: Times = {}
    for room in {"cli"}.union(*ROOMS.values()):
        for path in (root / room).rglob("*.py"):
            try:
                found[path] = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue  # gone since it was listed
    return found


async def keep_reloading(group: ProcessGroup, tell: Callable[[str], None], root: Path = ROOT) -> None:
    """For ever. Waits until nothing more changes, so that a checkout of many files is one restart."""
    before = await asyncio.to_thread(times, root)
    changed: set[Path] = set()
    while True:
        await asyncio.sleep(_EVERY_S)
        now = await asyncio.to_thread(times, root)
        more = {path for path, _ in before.items() ^ now.items()}
        before, changed = now, changed | more
        if more or not changed:
            continue
        names = [kind for kind in kinds_of(changed, root) if kind in group.processes]
        tell(f"{_shown(changed, root)} changed: starting {', '.join(names)} again")
        changed = set()
        await asyncio.gather(*(group.restart(name) for name in names))


def _shown(changed: set[Path], root: Path) -> str:
    first, *others = sorted(str(path.relative_to(root)) for path in changed)
    return first if not others else f"{first} and {len(others)} more"
