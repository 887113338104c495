"""A clip at a glance: its frames over its time, how surely each window is ours, and which session it shows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from faces.label import FONT

if TYPE_CHECKING:
    from faces.verification import Looked
    from schemas.verification import VerificationReport

_WIDTH, _HEIGHT = 1200, 420
_LEFT, _RIGHT = 60, 1180
_STRIP, _SCORES, _SPANS = (20, 116), (146, 286), (316, 370)
_PAPER, _INK, _FAINT, _OURS, _OTHER = "#ffffff", "#1c2430", "#c4ccd6", "#12805c", "#8a94a3"
_GAP = "#b42318"
_COLOURS = ("#12805c", "#2456a8", "#8a5a00", "#7a2e8c")
_HIGHEST = 30.0
"""Of the scale of scores, unless a window has more."""


def draw(looked: Looked, told: VerificationReport) -> bytes:
    """PNG."""
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    sheet = _Sheet(picture, told.clip.from_, max(told.clip.to, told.clip.from_ + 0.1))
    sheet.frames(looked)
    sheet.scores(told)
    sheet.spans(told)
    sheet.times()
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


class _Sheet:
    def __init__(self, picture: Image.Image, from_s: float, to_s: float) -> None:
        self._picture, self._from, self._to = picture, from_s, to_s
        self._pen = ImageDraw.Draw(picture)
        self._font = ImageFont.truetype(FONT, 13)

    def _x(self, second: float) -> float:
        share = (second - self._from) / (self._to - self._from)
        return _LEFT + min(1.0, max(0.0, share)) * (_RIGHT - _LEFT)

    def frames(self, looked: Looked) -> None:
        """As many as lie beside each other, each where its second is."""
        top, bottom = _STRIP
        free = float(_LEFT)
        for thumb in looked.thumbs:
            image = Image.fromarray(thumb.pixels).resize(
                (round(thumb.width * (bottom - top) / thumb.height), bottom - top)
            )
            if (x := self._x(thumb.at)) >= free and x + image.width <= _RIGHT:
                self._picture.paste(image, (round(x), top))
                free = x + image.width + 4

    def scores(self, told: VerificationReport) -> None:
        top, bottom = _SCORES
        highest = max([_HIGHEST, *(each.score for each in told.windows)])

        def y(score: float) -> float:
            return bottom - max(0.0, score) / highest * (bottom - top)

        for each in told.windows:
            colour = _OURS if each.score >= told.threshold else _OTHER
            middle = self._x((each.from_ + each.to) / 2)
            self._pen.rectangle((middle - 2, y(each.score), middle + 2, bottom), fill=colour)
        self._pen.line((_LEFT, bottom, _RIGHT, bottom), fill=_FAINT)
        self._pen.line((_LEFT, y(told.threshold), _RIGHT, y(told.threshold)), fill=_GAP)
        self._text(4, y(told.threshold) - 8, f"{told.threshold:.0f}")
        self._text(4, top - 8, f"{highest:.0f}")

    def spans(self, told: VerificationReport) -> None:
        top, bottom = _SPANS
        for number, each in enumerate(told.sessions):
            colour = _COLOURS[number % len(_COLOURS)]
            for span in each.spans:
                left, right = self._x(span.from_), self._x(span.to)
                self._pen.rectangle((left, top, right, bottom), fill=colour)
                self._within(left, right, top + 6, each.id)
                self._within(left, right, top + 28, f"{span.session_from:.0f}–{span.session_to:.0f} s, {span.ledger}")
        for gone in told.clip.unread:
            self._pen.rectangle((self._x(gone.from_), top - 8, self._x(gone.to), top - 4), fill=_GAP)

    def times(self) -> None:
        for number in range(7):
            second = self._from + (self._to - self._from) * number / 6
            text = f"{second:.1f} s"
            self._text(self._x(second) - (self._font.getlength(text) if number == 6 else 0), _SPANS[1] + 14, text)

    def _within(self, left: float, right: float, y: float, text: str) -> None:
        """As much of it as there is room for."""
        while text and self._font.getlength(text) > right - left - 8:
            text = text[:-1]
        self._pen.text((left + 4, y), text, font=self._font, fill=_PAPER)

    def _text(self, x: float, y: float, text: str) -> None:
        self._pen.text((x, y), text, font=self._font, fill=_INK)
