"""What the face is told beside the sound: its mood, and whether somebody else speaks."""

from __future__ import annotations

from collections.abc import Set

from schemas.moods import Mood
from workers.face import SessionFace


class Cues:
    """`mood` as the create asked for it. The face is told of what changes."""

    def __init__(self, face: SessionFace, mood: Mood) -> None:
        self._face = face
        self._mood: Mood = mood
        self._listening = False
        face.cue(mood, False)

    def mood(self, mood: Mood) -> None:
        """Until the next one, or the end of the attempt."""
        self._tell(mood, self._listening)

    def speakers(self, identities: Set[str], voices: Set[str]) -> None:
        """Who speaks in the room; `voices`: whose words the face says itself."""
        self._tell(self._mood, bool(identities - voices))

    def _tell(self, mood: Mood, listening: bool) -> None:
        if (mood, listening) != (self._mood, self._listening):
            self._mood, self._listening = mood, listening
            self._face.cue(mood, listening)
