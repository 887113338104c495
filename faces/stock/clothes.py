"""What the characters wear."""

from __future__ import annotations

from faces.stock.characters import Character
from faces.stock.svg import group, line, path, soft

_BODY = (
    "M356 834 C296 852 214 880 170 906 C130 930 116 964 108 1010 L892 1010 C884 964 870 930 830 906 "
    "C786 880 704 852 644 834 C612 900 556 930 500 930 C444 930 388 900 356 834 Z"
)


def behind(who: Character) -> str:
    """What is behind the neck: the far side of collars."""
    c = who.colours
    if who.clothes in ("blazer", "turtleneck"):
        return ""
    return path("M366 826 C420 850 580 850 634 826 L640 870 L360 870 Z", c.cloth[2])


def before(who: Character) -> str:
    shade = who.colours.cloth[2]
    folds = soft(
        line("M236 1000 C244 960 262 930 286 910 M764 1000 C756 960 738 930 714 910", shade, 10), 8, opacity=0.6
    ) + soft(path("M640 840 C760 870 860 900 892 1010 L700 1010 C720 940 690 880 640 840 Z", shade), 24, opacity=0.45)
    return group(path(_BODY, "url(#cloth)") + folds) + _DRAWN[who.clothes](who)


def _blazer(who: Character) -> str:
    c = who.colours
    inside = "M356 834 C400 930 450 976 484 1010 L516 1010 C550 976 600 930 644 834 C616 884 566 922 500 922 C434 922 384 884 356 834 Z"
    lapel = "M360 832 C376 900 420 962 470 1010 L392 1010 C352 980 318 930 300 880 L334 868 L316 852 Z"
    one = (
        soft(path(lapel, c.cloth[2], transform="translate(6 6)"), 8, opacity=0.55)
        + path(lapel, c.cloth[1])
        + line("M360 832 C376 900 420 962 470 1010", c.cloth[0], 2.5, opacity=0.7)
        + line("M300 880 L334 868 L316 852", c.cloth[2], 2.5, opacity=0.8)
    )
    return (
        path(inside, c.under)
        + soft(path("M356 834 C400 910 450 950 500 956 C550 950 600 910 644 834 L644 860 C606 930 560 976 500 980 C440 976 394 930 356 860 Z", c.cloth[2]), 14, opacity=0.25)
        + line("M362 840 C396 900 444 932 500 934 C556 932 604 900 638 840", "#ffffff", 3, opacity=0.6)
        + one
        + group(one, transform="translate(1000 0) scale(-1 1)")
    )  # fmt: skip


def _ribs(top: str, colour: str, dark: str, wide: float) -> str:
    return (
        line(top, dark, wide + 5, opacity=0.9)
        + line(top, colour, wide)
        + line(top, dark, wide, opacity=0.35, stroke_dasharray="2 6")
    )


def _sweater(who: Character) -> str:
    c = who.colours
    fill = "M356 834 C384 880 440 904 500 904 C560 904 616 880 644 834 L660 900 L560 960 L440 960 L340 900 Z"
    ring = "M362 836 C390 886 444 912 500 912 C556 912 610 886 638 836"
    return (
        path(fill, "url(#cloth)")
        + soft(line(ring, c.cloth[2], 34), 8, opacity=0.6)
        + _ribs(ring, c.cloth[1], c.cloth[2], 22)
    )


def _cardigan(who: Character) -> str:
    c = who.colours
    inside = "M356 834 C384 900 440 964 484 1010 L516 1010 C560 964 616 900 644 834 C616 892 566 926 500 926 C434 926 384 892 356 834 Z"
    edge = "M352 838 C384 910 436 966 476 1012"
    pearls = "".join(
        f'<circle cx="{x}" cy="{y}" r="8.5" fill="#f4ece4"/><circle cx="{x - 2.5}" cy="{y - 3}" r="3" fill="#ffffff" opacity="0.9"/>'
        for x, y in _necklace()
    )
    one = line(edge, c.cloth[2], 26) + line(edge, c.cloth[1], 20) + line(edge, c.cloth[0], 2, opacity=0.5)
    return (
        path(inside, c.under)
        + line("M362 846 C396 906 446 940 500 940 C554 940 604 906 638 846", "#d8c8bd", 3)
        + one
        + group(one, transform="translate(1000 0) scale(-1 1)")
        + soft(group(pearls, transform="translate(0 6)"), 4, opacity=0.35)
        + pearls
    )


def _necklace() -> list[tuple[float, float]]:
    points = []
    for k in range(17):
        t = k / 16
        x = 392 + 216 * t
        points.append((round(x, 1), round(848 + 62 * (1 - (2 * t - 1) ** 2), 1)))
    return points


def _turtleneck(who: Character) -> str:
    c = who.colours
    roll = (
        "M392 776 C430 812 570 812 608 776 C622 800 628 830 636 852 C600 916 400 916 364 852 C372 830 378 800 392 776 Z"
    )
    ribs = "".join(
        line(
            f"M{400 + 200 * k / 16:.0f} {792 + 14 * (1 - (k / 8 - 1) ** 2):.0f} C{396 + 208 * k / 16:.0f} {820 + 18 * (1 - (k / 8 - 1) ** 2):.0f} {386 + 228 * k / 16:.0f} 850 {378 + 244 * k / 16:.0f} {858 + 34 * (1 - (k / 8 - 1) ** 2):.0f}",
            c.cloth[2],
            3,
            opacity=0.45,
        )
        for k in range(17)
    )
    return (
        path(
            "M352 828 L648 828 C652 836 660 840 672 843 L640 960 L360 960 L328 843 C340 840 348 836 352 828 Z",
            "url(#cloth)",
        )
        + soft(path(roll, c.cloth[2], transform="translate(0 14)"), 8, opacity=0.7)
        + path(roll, c.cloth[1])
        + ribs
        + soft(
            path("M392 776 C430 812 570 812 608 776 L612 800 C570 838 430 838 388 800 Z", c.cloth[2]), 8, opacity=0.75
        )
        + soft(line("M384 850 C430 892 520 896 560 884", c.cloth[0], 14), 8, opacity=0.6)
        + soft(
            path("M590 790 C630 820 640 860 620 890 L560 900 C590 870 600 830 590 790 Z", c.cloth[2]), 8, opacity=0.5
        )
    )


_DRAWN = {"blazer": _blazer, "sweater": _sweater, "cardigan": _cardigan, "turtleneck": _turtleneck}
