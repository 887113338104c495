"""docs/pictures/session-states.svg and the table below it: the statuses of a session, as the fold moves it."""

from __future__ import annotations

from typing import get_args

from events.session_state import TERMINAL, Status
from tools.svg import Drawing, Point
from tools.transitions import transitions

LIVE: tuple[Status, ...] = tuple(status for status in get_args(Status) if status not in TERMINAL)
ENDS: tuple[Status, ...] = tuple(status for status in get_args(Status) if status in TERMINAL)
_WIDTH, _HEIGHT = 132.0, 46.0
_AT: dict[Status, Point] = {
    "queued": (230, 125),
    "starting": (450, 125),
    "running": (670, 125),
    "ending": (890, 125),
    "canceled": (230, 305),
    "failed": (560, 305),
    "ended": (890, 305),
}
"""Middle of each. A status that is not here has no place in the picture yet."""
_NOTHING: Point = (50, 125)
_CAPTION = "From the dashed frame: of each of the four. What is not drawn leaves the status as it is."


def picture() -> str:
    drawing = Drawing(1010, 372, "The statuses of a session, and the events that lead from one to another")
    drawing.zone(146, 40, 828, 134)
    drawing.dot(*_NOTHING)
    for status, (x, y) in _AT.items():
        kind = (
            "ours" if status in LIVE else "done" if status == "ended" else "wrong" if status == "failed" else "theirs"
        )
        drawing.box(x - _WIDTH / 2, y - _HEIGHT / 2, _WIDTH, _HEIGHT, kind, status)
    for (before, after), names in sorted(moves().items(), key=str):
        _draw(drawing, before, after, names)
    drawing.text(505, 355, _CAPTION, size=12, soft=True)
    return drawing.svg()


def moves() -> dict[tuple[Status | str | None, Status], list[str]]:
    """(before, after) → event types; `live` where each live status moves there by the same ones."""
    found: dict[tuple[Status | str | None, Status], list[str]] = {}
    for move in sorted(transitions(), key=str):
        if move.before != move.after:
            found.setdefault((move.before, move.after), []).append(move.type.removeprefix("session."))
    for after in ENDS:
        ways = [found.get((before, after)) for before in LIVE]
        if ways[0] is not None and all(way == ways[0] for way in ways):
            found = {move: names for move, names in found.items() if move[1] != after or move[0] not in LIVE}
            found["live", after] = ways[0]
    return found


def _draw(drawing: Drawing, before: Status | str | None, after: Status, names: list[str]) -> None:
    """One arrow by where its two ends are."""
    x2, y2 = _AT[after]
    if before == "live":
        drawing.arrow([(x2, 174), (x2, y2 - _HEIGHT / 2 - 2)])
        _label(drawing, x2 + 10, 225, names, "start")
        return
    x1, y1 = _NOTHING if before is None else _AT[before]  # type: ignore[index]
    if y1 == y2 and x2 - x1 > 250:
        drawing.arc((x1, y1 - _HEIGHT / 2 - 1), (x2 - 30, y2 - _HEIGHT / 2 - 3), 45)
        _label(drawing, (x1 + x2) / 2 - 15, y1 - _HEIGHT / 2 - 40, [", ".join(names)], "middle")
    elif y1 == y2:
        left = x1 + (9 if before is None else _WIDTH / 2 + 1)
        drawing.arrow([(left, y1), (x2 - _WIDTH / 2 - 3, y2)])
        middle = (left + x2 - _WIDTH / 2) / 2 - (11 if before is None else 0)
        _label(drawing, middle, y1 - 10 - 14 * (len(names) - 1), names, "middle")
    elif x1 == x2:
        drawing.arrow([(x1, y1 + _HEIGHT / 2 + 1), (x2, y2 - _HEIGHT / 2 - 3)])
        _label(drawing, x1 + 10, 225, names, "start")
    else:
        drawing.arrow([(x1, y1 + 9), (x1, y2), (x2 - _WIDTH / 2 - 3, y2)])
        _label(drawing, x1 + 10, 225, names, "start")


def _label(drawing: Drawing, x: float, y: float, names: list[str], anchor: str) -> None:
    for number, name in enumerate(names):
        drawing.text(x, y + 14 * number, name, size=11, anchor=anchor)


def table() -> str:
    """Markdown: every transition, and what a status takes without a change of it."""
    lines = ["| status | moves on by | takes besides |", "| --- | --- | --- |"]
    found = transitions()
    for before in (None, *LIVE, *ENDS):
        mine = sorted((move for move in found if move.before == before), key=lambda move: (move.type, move.after))
        moves = ", ".join(f"`{move.type}` → `{move.after}`" for move in mine if move.after != before)
        stays = ", ".join(f"`{move.type}`" for move in mine if move.after == before)
        lines.append(f"| {_shown(before)} | {moves} | {stays} |")
    return "\n".join(lines)


def _shown(status: Status | None) -> str:
    return "(nothing is known)" if status is None else f"`{status}`"
