"""docs/pictures/architecture.svg: the rooms, and the way of one session through them. Drawn by hand."""

from __future__ import annotations

from tools.svg import Drawing


def picture() -> str:
    drawing = Drawing(1010, 640, "The rooms of Greenroom, and the way of one session through them")
    _boxes(drawing)
    _way(drawing)
    _derived(drawing)
    drawing.text(
        505,
        606,
        "events/ the log and the fold   ·   faces/ what is drawn   ·   schemas/ what crosses a wire",
        soft=True,
    )
    drawing.text(505, 626, "cli/ starts it all   ·   stack/ Kafka, PostgreSQL and LiveKit on one machine", soft=True)
    return drawing.svg()


def _boxes(drawing: Drawing) -> None:
    drawing.box(30, 24, 215, 62, "theirs", "Your application", "and its voice agent")
    drawing.box(765, 24, 215, 62, "theirs", "Your LiveKit room", "the agent, the users, the face")
    drawing.box(30, 158, 215, 196, "ours", "api/", "one process, or many")
    drawing.box(765, 158, 215, 196, "ours", "workers/", "supervisor", "renderer", "a process per session")
    drawing.zone(325, 140, 360, 232)
    drawing.text(505, 132, "Kafka: the log", size=13, soft=True)
    drawing.box(385, 158, 240, 50, "log", "assignments.v1", "commands, sealed")
    drawing.box(345, 276, 195, 78, "log", "sessions.v1", "all that happens to a session,", "for ever")
    drawing.box(553, 276, 122, 78, "log", "workers.v1", "each second")
    drawing.box(30, 462, 215, 92, "ours", "store/", "PostgreSQL: accounts, slots,", "admissions, deliveries")
    drawing.box(325, 462, 160, 92, "ours", "projections/", "sessions, usage,", "avatars; the audit")
    drawing.box(525, 462, 160, 92, "ours", "reactors/", "roster", "webhooks")
    drawing.box(765, 462, 215, 92, "theirs", "Your webhook endpoint")


def _way(drawing: Drawing) -> None:
    drawing.arrow([(95, 87), (95, 155)])
    drawing.badge(95, 116, 1)
    drawing.text(108, 112, "POST", size=12, anchor="start")
    drawing.text(108, 127, "/v1/sessions", size=12, anchor="start")
    drawing.arrow([(215, 157), (215, 89)])
    drawing.text(223, 126, "201", size=12, anchor="start")
    drawing.arrow([(137, 355), (137, 459)], both=True)
    drawing.badge(137, 408, 2)
    drawing.text(154, 404, "admission: a slot,", size=12, anchor="start")
    drawing.text(154, 419, "in one transaction", size=12, anchor="start")
    drawing.arrow([(246, 315), (342, 315)])
    drawing.badge(266, 315, 3)
    drawing.text(294, 341, "created", size=12)
    drawing.arrow([(246, 183), (382, 183)])
    drawing.badge(270, 183, 4)
    drawing.text(286, 174, "task", size=12, anchor="start")
    drawing.arrow([(626, 183), (762, 183)])
    drawing.text(724, 174, "assign, end", size=12)
    drawing.arrow([(872, 157), (872, 89)], both=True)
    drawing.badge(872, 122, 5)
    drawing.text(886, 119, "joins, hears,", size=12, anchor="start")
    drawing.text(886, 134, "speaks", size=12, anchor="start")
    drawing.arrow([(764, 240), (447, 240), (447, 273)])
    drawing.badge(740, 240, 6)
    drawing.text(566, 232, "first_frame, heartbeats, ended", size=12)
    drawing.arrow([(764, 315), (678, 315)])
    drawing.text(726, 306, "state", size=12)
    drawing.arrow([(246, 55), (762, 55)], both=True)
    drawing.text(505, 46, "your own room, your own token", size=12, soft=True)


def _derived(drawing: Drawing) -> None:
    drawing.arrow([(405, 355), (405, 459)])
    drawing.badge(405, 400, 7)
    drawing.text(420, 404, "fold", size=12, anchor="start")
    drawing.arrow([(500, 357), (500, 430), (560, 430), (560, 459)], both=True)
    drawing.text(510, 404, "fold, decide", size=12, anchor="start")
    drawing.arrow([(618, 355), (618, 459)])
    drawing.text(626, 404, "who lives", size=12, anchor="start")
    drawing.arrow([(324, 508), (248, 508)])
    drawing.text(285, 500, "rows", size=12)
    drawing.arrow([(605, 555), (605, 578), (137, 578), (137, 557)])
    drawing.text(365, 572, "slots freed, deliveries due", size=12)
    drawing.arrow([(686, 508), (762, 508)])
    drawing.badge(703, 508, 8)
    drawing.text(737, 500, "signed", size=12)
