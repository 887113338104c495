"""The one end of a request."""

from __future__ import annotations

import time


class Deadline:
    """Made when the request is read, passed down to all that waits for it: no wait has a time of its own beside it."""

    def __init__(self, within_s: float) -> None:
        self._at = time.monotonic() + within_s

    @property
    def left_s(self) -> float:
        """Never negative."""
        return max(0.0, self._at - time.monotonic())

    @property
    def over(self) -> bool:
        return self.left_s == 0.0

    def within(self, most_s: float) -> Deadline:
        """An earlier one, for one part of the work."""
        return Deadline(min(most_s, self.left_s))
