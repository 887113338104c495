"""Hair and stubble of the characters: a mass in the dark, strands over it, and the light on them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from faces.stock.characters import Character
from faces.stock.strands import Curve, Hair, Lock, along, lock, short, stroke
from faces.stock.svg import ellipse, group, path, soft

Sides = tuple[Curve, Curve]
"""Of one half of parted hair: the strand at the face and the one without."""

_LONG: tuple[Sides, Sides] = (
    (((452, 208), (330, 214), (236, 420), (322, 866)), ((470, 92), (236, 70), (150, 430), (230, 884))),
    (((456, 207), (600, 204), (772, 400), (684, 866)), ((474, 92), (770, 66), (848, 430), (772, 884))),
)
_BOB: tuple[Sides, Sides] = (
    (((562, 202), (450, 232), (226, 300), (330, 716)), ((566, 88), (254, 56), (118, 470), (308, 756))),
    (((566, 200), (656, 206), (764, 380), (664, 716)), ((570, 88), (786, 82), (872, 480), (694, 752))),
)
_SHORT = (
    "M289 412 C272 300 264 206 322 144 C392 68 606 60 676 140 C736 200 728 300 711 412 C706 372 704 338 694 308 "
    "C684 262 660 240 620 226 C556 208 456 222 392 250 C352 262 326 276 312 310 C300 338 294 372 289 412 Z"
)
_COILS = (
    "M288 400 C266 300 256 190 322 124 C396 54 604 54 678 124 C744 190 734 300 712 400 C706 366 702 336 692 306 "
    "C676 262 652 246 620 240 C556 228 444 228 380 240 C348 246 324 262 308 306 C298 336 294 366 288 400 Z"
)
_BEARD = (
    "M294 486 C300 580 326 668 398 714 C458 742 542 742 602 714 C674 668 700 580 706 486 C690 540 668 574 640 584 "
    "C606 566 560 560 500 566 C440 560 394 566 360 584 C332 574 310 540 294 486 Z"
)


def hair(who: Character, chance: random.Random) -> tuple[str, str]:
    """What is behind the head, and what is before it."""
    return _STYLES[who.hair](who.strands, chance)


def front_shape(who: Character) -> str:
    """What throws a shadow on the forehead."""
    if who.hair in _PARTED:
        (left, _), (right, _) = _PARTED[who.hair]
        (a, *b), (c, d, e, f) = left, right
        there = " ".join(f"{x} {y}" for x, y in b)
        return f"M{a[0]} {a[1]} C{there} L200 700 L200 60 L800 60 L800 700 L{f[0]} {f[1]} C{e[0]} {e[1]} {d[0]} {d[1]} {c[0]} {c[1]} Z"
    return _SHORT if who.hair == "short" else _COILS


_PARTED = {"long": _LONG, "bob": _BOB}


def _between(sides: Sides) -> str:
    (a, *b), other = sides
    e, f, g, h = other
    there = " ".join(f"{x} {y}" for x, y in b)
    return f"M{a[0]} {a[1]} C{there} L{h[0]} {h[1]} C{g[0]} {g[1]} {f[0]} {f[1]} {e[0]} {e[1]} Z"


def _mixed(sides: Sides, share: float) -> Curve:
    return tuple((a + share * (c - a), b + share * (d - b)) for (a, b), (c, d) in zip(*sides, strict=True))


def _parted(sides: tuple[Sides, Sides], colours: Hair, chance: random.Random, wave: float, thick: float) -> str:
    """Two halves that fall from a parting."""
    drawn = []
    for i, straight in enumerate(sides):
        name, half = f"half{i}", _waved(straight, -wave if i else wave)
        strands = lock(Lock(*half, count=330, width=thick, tone=0.36, wander=8, short=0.2), colours, chance)
        for _ in range(26):  # locks that keep together, lighter or darker than the rest
            at, wide = chance.uniform(0.08, 0.95), chance.uniform(0.02, 0.07)
            tone = chance.choice((0.2, 0.26, 0.48, 0.56, 0.66))
            part = Lock(_mixed(half, at), _mixed(half, min(1.0, at + wide)), 16, thick * 0.75, tone, 4, short=0.16)
            strands += lock(part, colours, chance)
        (x, y), (u, v) = along(_mixed(half, 0.45), 0.2), along(_mixed(half, 0.6), 0.42)
        tilt = -42 if i == 0 else 42
        shine = "".join(
            soft(
                ellipse(0, 0, rx, ry, colours.shine),
                14,
                opacity=o,
                transform=f"translate({px:.0f} {py:.0f}) rotate({tilt})",
            )
            for px, py, rx, ry, o in ((x, y, 92, 20, 0.3 - 0.08 * i), (u, v, 26, 90, 0.16 - 0.04 * i))
        )
        low = soft(path("M150 560 L850 560 L850 900 L150 900 Z", colours.deep), 40, opacity=0.34)
        edge = soft(path(_line(half[0]), "none", stroke=colours.deep, stroke_width=22), 8, opacity=0.5)
        drawn.append(
            f'<defs><clipPath id="{name}">{path(_between(half))}</clipPath></defs>'
            + path(_between(half), colours.dark)
            + group(edge, clip_path=f"url(#{name})")
            + strands
            + group(shine + low, clip_path=f"url(#{name})")
        )
        loose = Lock(_mixed(half, 0.97), _mixed(half, 1.0), 26, 1.4, 0.4, 5, short=0.4)
        drawn.append(lock(loose, colours, chance))
    (a, b), (c, d) = sides[0][0][0], sides[0][1][0]
    parting = path(f"M{a + 2} {b} L{c + 2} {d + 2}", stroke=colours.dark, stroke_width=9)
    return parting + "".join(drawn)


def _waved(sides: Sides, far: float) -> Sides:
    one, other = (tuple((x + off, y) for (x, y), off in zip(curve, (0, far, -far, 0), strict=True)) for curve in sides)
    return one, other


def _line(curve: Curve) -> str:
    (a, b), *rest = curve
    return f"M{a} {b} C" + " ".join(f"{x} {y}" for x, y in rest)


def _long(colours: Hair, chance: random.Random) -> tuple[str, str]:
    mass = (
        "M500 110 C340 100 240 220 236 420 C234 560 220 700 232 800 C244 872 330 890 420 876 L580 876 C670 890 756 872 768 800 "
        "C780 700 766 560 764 420 C760 220 660 100 500 110 Z"
    )
    behind: list[str] = [path(mass, colours.deep)]
    for one, other in (
        (((360, 300), (330, 500), (330, 700), (400, 876)), ((264, 300), (240, 500), (224, 700), (252, 862))),
        (((640, 300), (670, 500), (670, 700), (600, 876)), ((736, 300), (760, 500), (776, 700), (748, 862))),
    ):
        behind.append(lock(Lock(one, other, 200, 4, 0.22, 12, wave=16), colours, chance))
    return "".join(behind), _parted(_LONG, colours, chance, 24, 3.2)


def _bob(colours: Hair, chance: random.Random) -> tuple[str, str]:
    mass = "M540 100 C360 90 240 220 236 420 C234 560 260 690 330 722 C440 742 560 742 670 722 C740 690 766 560 764 420 C760 220 690 96 540 100 Z"
    behind = path(mass, colours.deep)
    behind += lock(
        Lock(((300, 500), (300, 600), (330, 700), (430, 730)), ((700, 500), (700, 600), (670, 700), (570, 730)), 120, 4, 0.2, 12),
        colours, chance,
    )  # fmt: skip
    return behind, _parted(_BOB, colours, chance, 18, 3.2)


def _short(colours: Hair, chance: random.Random) -> tuple[str, str]:
    top = Lock(
        ((310, 312), (352, 262), (470, 190), (690, 292)), ((292, 300), (262, 80), (560, 10), (706, 240)),
        520, 3.0, 0.36, 9, 0.0, 0.1,
    )  # fmt: skip
    drawn = soft(path(_SHORT, colours.dark), 2) + path(_SHORT, colours.dark)
    for mirror in (False, True):
        curve = (((304, 396), (296, 350), (296, 300), (326, 236)), ((284, 402), (266, 330), (266, 240), (306, 170)))
        one, other = (tuple((1000 - x, y) if mirror else (x, y) for x, y in c) for c in curve)
        drawn += lock(Lock(one, other, 110, 2.4, 0.24, 6), colours, chance)
        x = 703 if mirror else 297
        drawn += soft(ellipse(x, 410, 9, 34, colours.dark), 8, opacity=0.55)
    drawn += lock(top, colours, chance)
    for _ in range(30):
        at = chance.uniform(0.0, 0.94)
        halves: Sides = (top.one, top.other)
        tone = chance.choice((0.15, 0.5, 0.62, 0.75))
        drawn += lock(Lock(_mixed(halves, at), _mixed(halves, at + 0.05), 14, 2.2, tone, 5), colours, chance)
    light = soft(ellipse(0, 0, 120, 26, colours.shine), 14, opacity=0.32, transform="translate(410 160) rotate(-24)")
    return "", drawn + f'<defs><clipPath id="short">{path(_SHORT)}</clipPath></defs>' + group(
        light, clip_path="url(#short)"
    )


def _coils(colours: Hair, chance: random.Random) -> tuple[str, str]:
    drawn = soft(path(_COILS, colours.dark), 4) + path(_COILS, colours.dark)
    shape = _flat(_COILS)
    for _ in range(2600):
        x, y = chance.uniform(256, 744), chance.uniform(52, 402)
        near = _inside(shape, x, y)
        if not near and not _inside(shape, x + (500 - x) * 0.03, y + (250 - y) * 0.05):
            continue
        lit = 0.28 + 0.3 * max(0.0, 1 - ((x - 400) ** 2 + 2.2 * (y - 150) ** 2) / 200**2) + chance.gauss(0, 0.16)
        drawn += _coil(x, y, chance.uniform(4, 7.5), colours.at(lit), chance)
    light = soft(ellipse(400, 140, 110, 44, colours.shine), 24, opacity=0.22)
    return "", drawn + light


def _coil(x: float, y: float, r: float, colour: str, chance: random.Random) -> str:
    a, b = (1 if chance.random() < 0.5 else -1), (1 if chance.random() < 0.5 else -1)
    points = (
        (x - a * r, y),
        (x - a * r, y - b * 1.5 * r),
        (x + a * r, y - b * 1.5 * r),
        (x + 0.7 * a * r, y + 0.5 * b * r),
    )
    return stroke(points, colour, 2.0, chance.uniform(0.55, 0.95))


_STYLES: dict[str, Callable[[Hair, random.Random], tuple[str, str]]] = {
    "long": _long, "bob": _bob, "short": _short, "coils": _coils,
}  # fmt: skip


def stubble(who: Character, chance: random.Random) -> str:
    """No more than a shadow: a mouth in a dark beard could not be measured by its darkness."""
    if not who.stubble:
        return ""
    shape = _flat(_BEARD)
    hairs = []
    for _ in range(3000):
        x, y = chance.uniform(290, 710), chance.uniform(480, 742)
        about_lips = ((x - 500) / 92) ** 2 + ((y - 608) / 40) ** 2 < 1
        cheek = abs(x - 500) > 120 and y < 560 and chance.random() < 0.7
        if not about_lips and not cheek and _inside(shape, x, y):
            hairs.append((x, y, 0.008 * (x - 500) + chance.gauss(0, 0.6), chance.uniform(1.5, 3.5)))
    shadow = group(soft(path(_BEARD, who.strands.dark), 14, opacity=0.3), clip_path="url(#headclip)")
    return shadow + group(short(hairs, who.strands, chance, 1.0, 0.3), clip_path="url(#headclip)", opacity=0.6)


def _flat(d: str) -> list[tuple[float, float]]:
    """The corners of a closed path of cubics, finely."""
    numbers = [float(word) for word in d.replace("M", " ").replace("C", " ").replace("Z", " ").split()]
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    flat = []
    for i in range(0, len(points) - 3, 3):
        flat += [along(points[i : i + 4], k / 12) for k in range(12)]
    return flat


def _inside(shape: Sequence[tuple[float, float]], x: float, y: float) -> bool:
    crossings = 0
    for (ax, ay), (bx, by) in zip(shape, [*shape[1:], shape[0]], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            crossings += 1
    return crossings % 2 == 1
