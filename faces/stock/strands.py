"""Hair as it is drawn: strands between two curves, lit from above; brows and beards are short ones. Seeded."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
Curve = Sequence[Point]
"""A cubic: start, two handles, end."""


@dataclass(frozen=True)
class Hair:
    """Colours from the depth of the hair to where the light falls."""

    deep: str
    dark: str
    base: str
    light: str
    shine: str

    def at(self, share: float) -> str:
        """0 deep … 1 shine."""
        steps = (self.deep, self.dark, self.base, self.light, self.shine)
        place = max(0.0, min(0.9999, share)) * (len(steps) - 1)
        return _mixed(steps[int(place)], steps[int(place) + 1], place - int(place))


@dataclass(frozen=True)
class Lock:
    """Strands from `one` to `other`, `count` of them, `width` thick. `tone` 0…1 of its middle; `wander` in units: how
    far they leave their way; `fade`: how much darker the last of them are than the first; `short` 0…1: by how much some
    end early; `wave` in units: by how much they wave, as one."""

    one: Curve
    other: Curve
    count: int = 60
    width: float = 3.0
    tone: float = 0.5
    wander: float = 7.0
    fade: float = 0.0
    short: float = 0.12
    wave: float = 0.0


def lock(kind: Lock, hair: Hair, chance: random.Random, thin: float = 1.0) -> str:
    """SVG of its strands, the ones in the depth first."""
    drawn = []
    for i in range(kind.count):
        share = (i + chance.random()) / kind.count
        drawn.append((chance.gauss(0, 1), _strand(kind, hair, chance, share, thin)))
    return "".join(text for _, text in sorted(drawn))


def _strand(kind: Lock, hair: Hair, chance: random.Random, share: float, thin: float) -> str:
    kept = min(1.0, 0.25 + 8 * share)  # the first of them frame the face: none of those hangs across it
    off, aside = ([chance.gauss(0, kind.wander) * kept * grows for grows in (0.15, 0.6, 0.9, 1.0)] for _ in range(2))
    ends = 1 - kept * kind.short * chance.random() ** 2
    points = []
    for (ax, ay), (bx, by), dx, dy, wave in zip(
        kind.one, kind.other, off, aside, (0, kind.wave, -kind.wave, 0), strict=True
    ):
        points.append((ax + share * (bx - ax) + dx + wave, ay + share * (by - ay) + dy * 0.6))
    start = points[0]
    points = [start, *((start[0] + (x - start[0]) * ends, start[1] + (y - start[1]) * ends) for x, y in points[1:])]
    lit = kind.tone - kind.fade * share + chance.gauss(0, 0.13)
    width = kind.width * thin * chance.uniform(0.6, 1.25)
    return tapered(points, hair.at(lit), width, chance.uniform(0.55, 0.95))


def tapered(points: Curve, colour: str, width: float, opacity: float = 1.0) -> str:
    """A strand that is pointed at both ends."""
    (a, b), (c, d), (e, f), (g, h) = points
    length = max(1.0, math.hypot(g - a, h - b))
    x, y = 0.65 * width * (h - b) / length, 0.65 * width * (a - g) / length
    return (
        f'<path d="M{a:.1f} {b:.1f} C{c - x:.1f} {d - y:.1f} {e - x:.1f} {f - y:.1f} {g:.1f} {h:.1f}'
        f' C{e + x:.1f} {f + y:.1f} {c + x:.1f} {d + y:.1f} {a:.1f} {b:.1f} Z" fill="{colour}" opacity="{opacity:.2f}"/>'
    )


def stroke(points: Curve, colour: str, width: float, opacity: float = 1.0) -> str:
    (a, b), (c, d), (e, f), (g, h) = points
    return (
        f'<path d="M{a:.1f} {b:.1f} C{c:.1f} {d:.1f} {e:.1f} {f:.1f} {g:.1f} {h:.1f}" fill="none" stroke="{colour}"'
        f' stroke-width="{width:.2f}" stroke-linecap="round" opacity="{opacity:.2f}"/>'
    )


def short(
    where: Sequence[tuple[float, float, float, float]], colours: Hair, chance: random.Random, width: float, tone: float
) -> str:
    """Short hairs: (x, y, dx, dy) each."""
    drawn = []
    for x, y, dx, dy in where:
        x, y = x + chance.gauss(0, 1.5), y + chance.gauss(0, 1.5)
        bend = chance.gauss(0, 0.12)
        points = (
            (x, y), (x + 0.35 * dx - bend * dy, y + 0.35 * dy + bend * dx),
            (x + 0.7 * dx - bend * dy, y + 0.7 * dy + bend * dx), (x + dx, y + dy),
        )  # fmt: skip
        drawn.append(
            stroke(
                points,
                colours.at(tone + chance.gauss(0, 0.1)),
                width * chance.uniform(0.7, 1.2),
                chance.uniform(0.5, 0.95),
            )
        )
    return "".join(drawn)


def along(curve: Curve, share: float) -> Point:
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = curve
    u = 1 - share
    a, b, c, d = u**3, 3 * u * u * share, 3 * u * share * share, share**3
    return a * ax + b * bx + c * cx + d * dx, a * ay + b * by + c * cy + d * dy


def mirrored(curve: Curve, axis: float = 500.0) -> Curve:
    return tuple((2 * axis - x, y) for x, y in curve)


def _mixed(one: str, other: str, share: float) -> str:
    a, b = (tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5)) for colour in (one, other))
    return "#" + "".join(f"{round(x + share * (y - x)):02x}" for x, y in zip(a, b, strict=True))
