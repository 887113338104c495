"""Eyes and brows."""

from __future__ import annotations

import math
import random

from faces.stock.characters import Character
from faces.stock.strands import along, short, stroke
from faces.stock.svg import ellipse, gradient, group, line, path, soft

EYE_Y, EYE_LEFT, EYE_RIGHT = 436.0, 403.0, 597.0
EYE_W, EYE_H = 100.0, 51.0
IRIS = 23.0
_OUTER, _INNER = -3.0, 5.0
"""How high the corners are: the outer one a little above the inner one."""

Curve = tuple[tuple[float, float], ...]


def _rims() -> tuple[Curve, Curve]:
    """Of the picture's left eye, about its middle: left to right, that is from without."""
    w, top, bottom = EYE_W / 2, EYE_H * 0.55, EYE_H * 0.38
    upper = (-w, _OUTER), (-w * 0.62, -top * 1.3), (w * 0.42, -top * 1.36), (w, _INNER)
    lower = (-w, _OUTER), (-w * 0.52, bottom * 1.28), (w * 0.5, bottom * 1.22), (w, _INNER)
    return upper, lower


def eye_rims(x: float, mirrored: bool) -> tuple[Curve, Curve]:
    """The upper and the lower rim of an eye, each from the viewer's left to the right."""
    sign = -1 if mirrored else 1
    upper, lower = (tuple((x + sign * px, EYE_Y + py) for px, py in rim)[::sign] for rim in _rims())
    return upper, lower


def _d(curve: Curve) -> str:
    (a, b), *rest = curve
    return f"M{a:.1f} {b:.1f} C" + " ".join(f"{x:.1f} {y:.1f}" for x, y in rest)


def eye(who: Character, x: float, mirrored: bool, chance: random.Random) -> str:
    """Drawn for the picture's left eye, mirrored for the other; the light stays on its side."""
    c, side = who.colours, -1 if mirrored else 1
    name = f"eye{int(x)}"
    upper, lower = _rims()
    back = " ".join(f"{a:.1f} {b:.1f}" for a, b in lower[-2::-1])
    whole = f"{_d(upper)} C{back} Z"
    lid = tuple((a, b - 13 - 4 * (1 - abs(a) / 50)) for a, b in upper)
    inner = (
        soft(path(whole, c.deep, transform="translate(0 -6) scale(1.2 1.3)"), 8, opacity=0.28)
        + soft(line("M-66 -30 C-40 -58 30 -60 62 -34", c.shade, 22), 14, opacity=0.4)
        + soft(line(_d(tuple((a, b + 9) for a, b in lower)), c.shade, 7), 4, opacity=0.35)
        + f'<defs><clipPath id="{name}">{path(whole)}</clipPath>'
        + gradient(f"white{name}", [(0, "#b9b2b0", 1), (0.38, "#f3efec", 1), (1, "#e9e3df", 1)], x1=0, y1=-30, x2=0, y2=22)
        + gradient(
            f"iris{name}", [(0, c.iris_light, 1), (0.55, c.iris, 1), (0.86, c.iris, 1), (1, c.iris_dark, 1)], "radial",
            cx=4 * side, cy=4, r=IRIS,
        )
        + "</defs>"
        + group(_ball(who, name, side, whole, chance), clip_path=f"url(#{name})")
        + line(_d(tuple((a, b + 1.2) for a, b in lower)), c.shade, 2.2, opacity=0.7)
        + soft(line(_d(lid), c.deep, 3), 2, opacity=0.6)
        + _lashes(who, upper, lower, chance)
    )  # fmt: skip
    flip = " scale(-1 1)" if mirrored else ""
    return f'<g transform="translate({x} {EYE_Y}){flip}">{inner}</g>'


def _ball(who: Character, name: str, side: int, whole: str, chance: random.Random) -> str:
    c = who.colours
    streaks = ""
    for k in range(36):
        angle = 2 * math.pi * k / 36 + chance.uniform(-0.07, 0.07)
        near, far = IRIS * chance.uniform(0.42, 0.55), IRIS * chance.uniform(0.75, 0.95)
        points = [
            (near * math.cos(angle), -1 + near * math.sin(angle)),
            (far * math.cos(angle), -1 + far * math.sin(angle)),
        ]
        (a, b), (e, f) = points
        colour = c.iris_light if k % 3 else c.iris_dark
        streaks += stroke(((a, b), (a, b), (e, f), (e, f)), colour, 1.1, 0.45)
    return (
        path(whole, f"url(#white{name})")
        + soft(ellipse(45, 4, 10, 8, c.blush), 2, opacity=0.7)
        + soft(ellipse(-44, -2, 10, 9, c.blush), 4, opacity=0.25)
        + ellipse(0, -1, IRIS + 0.8, IRIS + 0.8, c.iris_dark)
        + f'<circle cx="0" cy="-1" r="{IRIS - 1.2}" fill="url(#iris{name})"/>'
        + streaks
        + '<circle cx="0" cy="-1" r="10.2" fill="#0c0808"/>'
        + soft(path("M-52 -44 L52 -44 L52 -10 C24 -26 -24 -26 -52 -8 Z", "#1a0f0c"), 4, opacity=0.62)
        + ellipse(-8 * side, -10, 5.6, 6.2, "#ffffff", opacity=0.95)
        + ellipse(8 * side, 8, 3, 2.6, "#ffffff", opacity=0.5)
    )  # fmt: skip


def _lashes(who: Character, upper: Curve, lower: Curve, chance: random.Random) -> str:
    """A line that thickens outwards, and hairs on it."""
    thick = 3.2 + 3.4 * who.lashes
    over = (
        (upper[0][0] - 5 * who.lashes, upper[0][1] - 3 * who.lashes),
        *((x, y - thick * 1.25) for x, y in upper[1:3]),
        upper[3],
    )
    back = " ".join(f"{x:.1f} {y:.1f}" for x, y in upper[-2::-1])
    dark = "#1c100d" if who.age < 0.7 else "#4a3a36"
    drawn = path(f"{_d(over)} C{back} Z", dark) + line(_d(upper), dark, 1.8)
    for k in range(round(26 * who.lashes) if who.lashes > 0.5 else 0):
        share = 0.02 + 0.6 * k / round(26 * who.lashes)
        x, y = along(upper, share)
        length = (8 - 6 * share) * (0.75 + 0.25 * chance.random())
        dx, dy = -length * (0.9 - 1.2 * share), -length * (0.62 + 0.3 * share)
        drawn += stroke(
            ((x, y - 2), (x + 0.3 * dx, y + 0.1 * dy - 2), (x + 0.8 * dx, y + 0.5 * dy - 2), (x + dx, y + dy - 2)),
            dark,
            1.7,
            0.9,
        )
    for k in range(12 if who.lashes > 0.5 else 0):
        share = 0.05 + 0.7 * k / 12
        x, y = along(lower, share)
        drawn += stroke(((x, y + 1), (x - 1, y + 3), (x - 2.5, y + 5), (x - 4.5 + 4 * share, y + 7)), dark, 1.0, 0.4)
    return drawn


def brows(who: Character, chance: random.Random) -> str:
    colours = who.brow_strands or who.strands
    under, over = _brow(who)
    hairs = []
    for _ in range(320):
        share = chance.random()
        at = chance.random()
        (x, y), (ux, uy) = along(under, share), along(over, share)
        rise = 1.0 - 0.85 * share
        hairs.append((x + at * (ux - x), y + at * (uy - y), -(6 + 6 * share), -7 * rise + 4 * share))
    one = soft(
        path(
            f"{_d(under)} L{over[-1][0]} {over[-1][1]} C" + " ".join(f"{x} {y}" for x, y in over[-2::-1]) + " Z",
            colours.base,
        ),
        2,
        opacity=0.6,
    )
    one += short(hairs, colours, chance, 1.7, 0.4)
    return one + group(one, transform="translate(1000 0) scale(-1 1)")


def _brow(who: Character) -> tuple[Curve, Curve]:
    """Lower and upper edge of the picture's left brow, from the nose outwards."""
    b = who.brow
    under = (458.0, 384.0), (424.0, 370.0), (384.0, 362.0), (344.0, 388.0)
    over = (458.0, 384.0 - b), (424.0, 370.0 - b * 1.3), (384.0, 362.0 - b), (344.0, 386.0)
    return under, over
