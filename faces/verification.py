"""A clip, decoded and looked through for marks: what was found, and whether what was not found says anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from faces.clips import (
    ENDS_BEFORE,
    MOST_S,
    NO_FRAME,
    TOO_CUT_UP,
    TOO_MANY,
    Ended,
    Limits,
    Opened,
    Record,
    Sampled,
    Thumb,
    Unread,
    UnreadableClip,
    Wanted,
)
from faces.decoding import BY_HAND, decoded
from faces.mark.appearances import Appearance, appearances
from faces.mark.detect import Detector, Seen
from faces.mark.samples import STEP_S, Step, windows

_GREY = 2.0
"""Shades between the least and the most colour: a mark is two apart, and codecs round."""
_LEAST_S = 3.0
_LEAST_SIDE = 160
_TOGETHER_S = 1.0

GREYSCALE = "The clip is grey, and the mark is in the colours: nothing can be told. Find a copy that has its colours."
TOO_SHORT = f"Less than {_LEAST_S:g} s of the clip could be read: nothing can be told. Give at least 5 s, better 10."
TOO_SMALL = f"The picture is smaller than {_LEAST_SIDE} pixels: nothing can be told. Find a larger copy."
MOSTLY_UNREAD = "Most of the clip could not be read: nothing can be told. Find a whole copy, or convert it to MP4."


@dataclass
class Looked:
    """`colourful`: the most shades between two places of one picture."""

    opened: Opened | None = None
    ended: Ended | None = None
    unread: list[Unread] = field(default_factory=list)
    thumbs: list[Thumb] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    steps: int = 0
    colourful: float = 0.0

    @property
    def shown(self) -> list[Appearance]:
        return appearances(finding for each in self.seen for finding in each.findings)


def look(
    clip: BinaryIO,
    detector: Detector,
    wanted: Wanted,
    limits: Limits = BY_HAND,
    tell: Callable[[float, float | None], None] = lambda _, __: None,
) -> Looked:
    """`tell(second that was come to, the clip's seconds if known)`. Raises UnreadableClip."""
    looked = Looked()
    if wanted.from_s >= MOST_S:
        raise UnreadableClip(ENDS_BEFORE)
    with decoded(clip, wanted, limits) as records:
        for window in windows(_steps(records, looked, wanted.thumbs)):
            if len(looked.seen) == limits.windows:
                raise UnreadableClip(TOO_CUT_UP)
            looked.seen.append(detector.look(window))
            tell(window[-1].at_s, looked.opened.seconds if looked.opened else None)
    if not looked.steps:
        raise UnreadableClip(_nothing(looked.ended, wanted))
    return looked


def _nothing(ended: Ended | None, wanted: Wanted) -> str:
    if ended is not None and ended.stopped:
        return TOO_MANY
    if ended is not None and ended.frames and 0 < wanted.from_s >= ended.seconds:
        return ENDS_BEFORE
    return NO_FRAME


def _steps(records: Iterable[Record], looked: Looked, thumbs: int) -> Iterator[Step]:
    for record in records:
        if isinstance(record, Sampled):
            step = record.step
            looked.steps += 1
            looked.colourful = max(looked.colourful, float(np.ptp(step.chroma, axis=(1, 2)).max()))
            yield step
        elif isinstance(record, Opened):
            looked.opened = record
        elif isinstance(record, Unread):
            _add(looked.unread, record)
        elif isinstance(record, Thumb):
            if len(looked.thumbs) < 2 * thumbs:  # no honest decoder tells more
                looked.thumbs.append(record)
        else:
            looked.ended = record


def cannot_tell(looked: Looked) -> str | None:
    """Why a clip in which nothing was found may be ours all the same, and what to do."""
    assert looked.opened is not None
    read_s = looked.steps * STEP_S
    if sum(each.end - each.start for each in looked.unread) > read_s:
        return MOSTLY_UNREAD
    if read_s < _LEAST_S:
        return TOO_SHORT
    if looked.ended is not None and looked.ended.stopped:
        return TOO_MANY
    if min(looked.opened.width, looked.opened.height) < _LEAST_SIDE:
        return TOO_SMALL
    if looked.colourful < _GREY:
        return GREYSCALE
    return None


def _add(unread: list[Unread], more: Unread) -> None:
    """Those that all but touch are one: however many there are, a clip has no more of them than seconds."""
    if unread and more.start - unread[-1].end <= _TOGETHER_S:
        unread[-1] = Unread(min(unread[-1].start, more.start), max(unread[-1].end, more.end))
    else:
        unread.append(more)
