"""The windows of one clip put together: which sessions it shows, and which of their seconds when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from faces.mark.code import WORD, Soft, decoded, likeness
from faces.mark.detect import Finding

_SAME = 4.0
"""A `likeness` that no other session of a clip reaches."""
_AWAY_S = 1.0
"""The second of a window may be off by as much; further, and something was cut out or put in."""


@dataclass(frozen=True)
class Span:
    """What the clip shows from `from_s` to `to_s` is the session's from `second` on, without a gap."""

    from_s: float
    to_s: float
    second: float

    @property
    def last_second(self) -> float:
        return self.second + self.to_s - self.from_s


@dataclass(frozen=True)
class Appearance:
    """One session in a clip. `tag` None: it could not be read, also not from all windows together; `soft`, the sum of
    them, may still tell which of known tags it is. `spans` by the clip's time; `score` is the best window's."""

    key_id: str
    tag: int | None
    score: float
    spans: tuple[Span, ...]
    findings: tuple[Finding, ...] = field(repr=False)
    soft: Soft = field(repr=False)


def appearances(findings: Iterable[Finding]) -> list[Appearance]:
    """By key and tag, the most windows first."""
    found = list(findings)
    shown = []
    for key_id in dict.fromkeys(each.key_id for each in found):
        of_key = [each for each in found if each.key_id == key_id]
        shown += [_appearance(key_id, tag, windows) for tag, windows in _by_tag(of_key)]
    return sorted(shown, key=lambda each: -len(each.findings))


def _by_tag(findings: Sequence[Finding]) -> Iterable[tuple[int | None, list[Finding]]]:
    """A window whose tag could not be read is of the session that it resembles; else of one with all such windows."""
    tags = list(dict.fromkeys(each.tag for each in findings if each.tag is not None))
    by_tag: dict[int | None, list[Finding]] = {tag: [] for tag in tags}
    unread = []
    for each in findings:
        tag = each.tag
        if tag is None and tags:
            fits = likeness(each.soft, tags)
            tag = tags[int(fits.argmax())] if fits.max() >= _SAME else None
        if tag is None:
            unread.append(each)
        else:
            by_tag[tag].append(each)
    if unread:
        by_tag.setdefault(decoded(_sum(unread)), []).extend(unread)
    return [(tag, sorted(windows, key=lambda each: each.from_s)) for tag, windows in by_tag.items()]


def _appearance(key_id: str, tag: int | None, findings: list[Finding]) -> Appearance:
    spans = tuple(_spans([each for each in findings if each.second_sure]))
    return Appearance(key_id, tag, max(each.score for each in findings), spans, tuple(findings), _sum(findings))


def _sum(findings: Sequence[Finding]) -> Soft:
    return np.sum([each.soft for each in findings], axis=0) if findings else np.zeros(WORD)


def _spans(findings: Sequence[Finding]) -> Iterable[Span]:
    """Windows that overlap or touch, and agree about the second, are one span. Where they disagree the earlier one ends
    in the middle of what both cover: a cut lies somewhere in there."""
    held: Span | None = None
    for each in findings:
        if held is None:
            held = Span(each.from_s, each.to_s, each.second)
            continue
        expected = held.second + each.from_s - held.from_s
        apart = each.from_s - held.to_s
        if abs(each.second - expected) <= _AWAY_S and apart <= _AWAY_S:
            held = Span(held.from_s, max(held.to_s, each.to_s), held.second)
            continue
        cut = (held.to_s + each.from_s) / 2 if apart < 0 else None
        yield held if cut is None else Span(held.from_s, cut, held.second)
        held = Span(each.from_s, each.to_s, each.second) if cut is None else _from(each, cut)
    if held is not None:
        yield held


def _from(finding: Finding, cut: float) -> Span:
    return Span(cut, max(cut, finding.to_s), finding.second + cut - finding.from_s)
