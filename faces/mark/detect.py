"""Whether a clip carries our mark, and what it says: window by window, for all keys of a ring.

    detector = Detector(MarkKeyring(spec))
    for window in windows(steps):           # samples.py: steps are made of frames by a Sampler
        seen = detector.look(window)
    for shown in appearances(findings):   # appearances.py: windows of the same session, put together

A full search takes seconds, so it is made where it may pay: in the first window, then after 1, 3, 7 … more in which
nothing was found. Where the mark was, it is looked for first; and where a whole published frame would have it, always.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from faces.mark.code import Soft, decoded
from faces.mark.geometry import Place, Scorer, Window
from faces.mark.keys import MarkKey
from faces.mark.reading import read
from faces.mark.samples import Step
from faces.mark.search import search

OURS = 10.0
"""A score that footage without the mark does not reach: bench/results/mark-claims.md has the highest."""
SECOND_SURE = 6.0
"""A `second_score` that no wrong second reaches: 65,536 × 5 of them are tried."""
_PROMISING = 6.0
"""What is worth more looking at a place."""
_WHOLE = ((1.0, 1.0), (32 / 36, 32 / 64), (32 / 45, 32 / 45), (32 / 45, 32 / 80))
"""The mark's width and height in a whole frame's, of the formats that are published."""


@dataclass(frozen=True)
class Finding:
    """One mark in one window. Times are the clip's, `second` is the session's at `from_s`.

    `score`: of the sync carriers, at least OURS. `tag`: None where too little of it was left; `soft` may still tell
    which of known tags it is (`code.likeness`). `place` is in pixels of `Step.chroma`.
    """

    key_id: str
    score: float
    place: Place
    from_s: float
    to_s: float
    second: float
    second_score: float
    second_margin: float
    tag: int | None
    soft: Soft = field(repr=False)

    @property
    def second_sure(self) -> bool:
        return self.second_score >= SECOND_SURE


@dataclass(frozen=True)
class Seen:
    """One window: `best` is the highest score that was reached, below OURS where there are no findings. `searched`:
    everywhere, not only at the likely places."""

    from_s: float
    to_s: float
    best: float
    searched: bool
    findings: tuple[Finding, ...] = ()


class Detector:
    """`searches`: how many windows are searched everywhere at most. `marks`: how many are looked for in a picture; each
    further one costs a search of its own."""

    def __init__(self, keys: Iterable[MarkKey], searches: int = 8, marks: int = 1) -> None:
        self._keys: Sequence[MarkKey] = list(keys)
        self._searches = searches
        self._marks = marks
        self._known: list[tuple[MarkKey, Place]] = []
        self._in_vain = 0

    def look(self, steps: list[Step]) -> Seen:
        """One window. What was found in earlier ones is looked for first."""
        window = Window(steps)
        found: list[tuple[float, MarkKey, Place, float]] = []
        best = 0.0
        for key, place in [*self._known, *((key, place) for key in self._keys for place in _whole(window))]:
            if len(found) == self._marks:
                break
            if any(_overlap(place, other) for _, _, other, _ in found):
                continue
            score, place, phase = _looked(Scorer(key.carriers, window), place)
            best = max(best, score)
            if score >= OURS:
                found.append((score, key, place, phase))
        searched = len(found) < self._marks and self._worth_a_search()
        if searched:
            best = max(best, self._search(window, found))
        self._known = [(key, place) for _, key, place, _ in found] or self._known
        return self._seen(steps, window, found, best, searched)

    def _worth_a_search(self) -> bool:
        self._in_vain += 1
        if self._searches and self._in_vain & (self._in_vain - 1) == 0:  # 1, 2, 4, 8 …
            self._searches -= 1
            return True
        return False

    def _search(self, window: Window, found: list[tuple[float, MarkKey, Place, float]]) -> float:
        """Adds to `found`; returns the best score."""
        highest = 0.0
        for key in self._keys:
            scorer = Scorer(key.carriers, window)
            while len(found) < self._marks:
                best = search(window, scorer, [place for _, _, place, _ in found])
                score, place, phase = scorer.refined(best[1], best[2]) if best is not None else (0.0, Place(1, 1), 0.0)
                highest = max(highest, score)
                if score < OURS or any(_overlap(place, each[2]) for each in found):
                    break
                found.append((score, key, place, phase))
        return highest

    def _seen(
        self,
        steps: list[Step],
        window: Window,
        found: list[tuple[float, MarkKey, Place, float]],
        best: float,
        searched: bool,
    ) -> Seen:
        from_s, to_s = steps[0].at_s, steps[-1].at_s
        findings = []
        for score, key, place, _ in found:
            said = read(key.carriers, window, place)
            findings.append(
                Finding(
                    key.key_id, score, place, from_s, to_s,
                    said.second, said.second_score, said.second_margin, decoded(said.soft), said.soft,
                )
            )  # fmt: skip
        return Seen(from_s, to_s, best, searched, tuple(findings))


def _whole(window: Window) -> list[Place]:
    """Where the mark lies when nobody has cut the frame."""
    rows, columns = window.size
    places = [Place(columns * wide, rows * high) for wide, high in _WHOLE]
    turned = [replace(each, x=columns - each.width, mirrored=True) for each in places]
    return places + turned


def _looked(scorer: Scorer, place: Place) -> tuple[float, Place, float]:
    score, phase = scorer.best_phase(place)
    return scorer.refined(place, phase) if score >= _PROMISING else (score, place, phase)


def _overlap(one: Place, other: Place) -> bool:
    """More than a quarter of the smaller one."""
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    smaller = min(one.width * one.height, other.width * other.height)
    return across > 0 and down > 0 and across * down > smaller / 4
