"""How a face looks at whom it talks to: asked for with the create, and changed in the room by the agent."""

from __future__ import annotations

from typing import Literal, get_args

Mood = Literal["neutral", "warm", "cheerful", "serious", "concerned"]
MOODS: tuple[Mood, ...] = get_args(Mood)
MOOD_KEY = "greenroom.mood"
"""The key of a create's metadata."""


def parse(value: object) -> Mood | None:
    """None: there is no such mood."""
    return value if value in MOODS else None


def unknown(value: object) -> str:
    """What is said of it."""
    return f"There is no mood {str(value)[:40]!r}: it is one of {', '.join(MOODS)}."
