"""The characters, drawn in layers on a square of 1000, lit from the upper left: back hair, clothes, neck, ears, head,
eyes, brows, nose, stubble, lips, front hair. `greenroom faces draw` draws them; at run time only the result is read."""

from __future__ import annotations

import random

from faces.stock import clothes, features, styles
from faces.stock.characters import Character
from faces.stock.svg import blurs, ellipse, gradient, group, line, path, soft

SIDE = 1000

EYE_Y, EYE_LEFT, EYE_RIGHT = features.EYE_Y, features.EYE_LEFT, features.EYE_RIGHT
MOUTH_Y, MOUTH_W = 604.0, 152.0
CHIN_Y = 728.0
LIP_UPPER, LIP_LOWER = 19.0, 27.0

Curve = tuple[tuple[float, float], ...]
"""A start and, for each cubic piece, two handles and an end."""
eye_rims = features.eye_rims


def svg(who: Character, person: bool = True, background: bool = True) -> str:
    """The portrait, or one of its two layers alone: outside of the person it is clear then."""
    chance = random.Random(who.name)  # noqa: S311
    back, front = styles.hair(who, chance)
    layers = [_background(who)] if background else []
    if person:
        layers += [
            back, clothes.behind(who), _neck(who), clothes.before(who), _ears(who), _head(who),
            features.eye(who, EYE_LEFT, mirrored=False, chance=chance),
            features.eye(who, EYE_RIGHT, mirrored=True, chance=chance),
            _nose(who), styles.stubble(who, chance), _lips(who), features.brows(who, chance),
            _cast(who), front,
        ]  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" height="{SIDE}">'
        f"<defs>{blurs()}{_definitions(who)}</defs>" + "".join(layers) + "</svg>"
    )


def lip_lines(who: Character) -> tuple[Curve, Curve, Curve]:
    """The upper lip's edge, the line between the lips, the lower lip's edge; left to right."""
    w, y, up = MOUTH_W / 2, MOUTH_Y, who.smile
    high, low = LIP_UPPER * who.lips, LIP_LOWER * who.lips
    upper = ((-w, -up), (-w * 0.66, -high * 0.62 - up * 0.35), (-w * 0.36, -high * 1.16), (-w * 0.15, -high),
             (-w * 0.05, -high * 0.84), (w * 0.05, -high * 0.84), (w * 0.15, -high),
             (w * 0.36, -high * 1.16), (w * 0.66, -high * 0.62 - up * 0.35), (w, -up))  # fmt: skip
    line_ = ((-w, -up), (-w * 0.62, 3.0 - up * 0.25), (-w * 0.25, 2.0), (0.0, 4.0),
             (w * 0.25, 2.0), (w * 0.62, 3.0 - up * 0.25), (w, -up))  # fmt: skip
    lower = ((-w, -up), (-w * 0.62, low * 0.86), (-w * 0.3, low * 1.16), (0.0, low * 1.16),
             (w * 0.3, low * 1.16), (w * 0.62, low * 0.86), (w, -up))  # fmt: skip
    return tuple(tuple((500 + px, y + py) for px, py in curve) for curve in (upper, line_, lower))  # type: ignore[return-value]


def _there(curve: Curve, start: str = "M") -> str:
    first, *rest = curve
    parts = [" ".join(f"{x:.1f} {y:.1f}" for x, y in rest[i : i + 3]) for i in range(0, len(rest), 3)]
    return f"{start}{first[0]:.1f} {first[1]:.1f} " + " ".join(f"C{part}" for part in parts)


def outline(jaw: float) -> str:
    """The head, without hair and ears."""
    j = 13 * jaw
    return (
        "M500 148 C378 148 288 228 288 396 C288 470 294 532 "
        f"{312 - j * 0.5:.0f} 590 C{330 - j:.0f} 648 {392 - j:.0f} 704 {448 - j * 0.6:.0f} 725 C476 735 524 735 {552 + j * 0.6:.0f} 725 "
        f"C{608 + j:.0f} 704 {670 + j:.0f} 648 {688 + j * 0.5:.0f} 590 C706 532 712 470 712 396 C712 228 622 148 500 148 Z"
    )


def _definitions(who: Character) -> str:
    c = who.colours
    return "".join(
        (
            gradient("back", [(0, c.back[0], 1), (0.55, c.back[1], 1), (1, c.back[2], 1)], "radial", cx=360, cy=300, r=900),
            gradient("skin", [(0, c.light, 1), (0.45, c.skin, 1), (1, c.shade, 1)], "radial", cx=430, cy=380, r=420),
            gradient("neck", [(0, c.deep, 1), (0.35, c.shade, 1), (1, c.skin, 1)], x1=0, y1=690, x2=0, y2=900),
            gradient("lipup", [(0, c.lip, 1), (1, c.lip_dark, 1)], x1=0, y1=580, x2=0, y2=616),
            gradient("liplow", [(0, c.lip_dark, 1), (0.3, c.lip, 1), (0.7, c.lip, 1), (1, c.shade, 1)], x1=0, y1=600, x2=0, y2=640),
            gradient("blushl", [(0, c.blush, 0.5), (1, c.blush, 0)], "radial", cx=372, cy=540, r=84),
            gradient("blushr", [(0, c.blush, 0.42), (1, c.blush, 0)], "radial", cx=628, cy=540, r=84),
            gradient("cloth", [(0, c.cloth[0], 1), (0.5, c.cloth[1], 1), (1, c.cloth[2], 1)], x1=300, y1=800, x2=720, y2=1010),
            f'<clipPath id="headclip">{path(outline(who.jaw))}</clipPath>',
            f'<clipPath id="neckclip">{path(_neck_shape(who.jaw))}</clipPath>',
        )
    )  # fmt: skip


def _background(who: Character) -> str:
    """A room out of focus."""
    c = who.colours
    return (
        '<rect width="1000" height="1000" fill="url(#back)"/>'
        + soft('<rect x="60" y="-40" width="210" height="620" fill="#ffffff"/>', 40, opacity=0.5)
        + soft('<rect x="300" y="-40" width="60" height="620" fill="#ffffff"/>', 40, opacity=0.35)
        + soft(f'<rect x="800" y="380" width="260" height="700" fill="{c.back[2]}"/>', 40, opacity=0.75)
        + soft(ellipse(905, 330, 60, 90, c.back[2]), 24, opacity=0.5)
    )


def _neck_shape(jaw: float) -> str:
    w, b = 80 + 22 * jaw, 10 * jaw
    return (
        f"M{500 - w} 600 L{500 - w} 762 C{500 - w} 800 {400 - b} 822 {356 - b} 838 L420 960 L580 960 L{644 + b} 838 "
        f"C{600 + b} 822 {500 + w} 800 {500 + w} 762 L{500 + w} 600 Z"
    )


def _neck(who: Character) -> str:
    c = who.colours
    shadow = soft(path(outline(who.jaw), c.deep, transform="translate(8 50)"), 24, opacity=0.6)
    side = soft(
        path(f"M{560 + 10 * who.jaw} 640 L620 640 L660 900 L560 900 C590 840 596 740 560 640 Z", c.deep),
        14,
        opacity=0.35,
    )
    lines = soft(
        line("M456 800 C470 830 480 850 486 872 M548 800 C534 830 522 850 516 872", c.deep, 6, opacity=0.22), 8
    )
    folds = soft(
        line("M424 772 C470 790 530 790 576 772 M430 796 C474 812 530 812 570 796", c.deep, 4), 2, opacity=0.4 * who.age
    )
    return path(_neck_shape(who.jaw), "url(#neck)") + group(shadow + side + lines + folds, clip_path="url(#neckclip)")


def _ears(who: Character) -> str:
    c = who.colours
    shape = "M296 410 C272 384 246 398 250 446 C254 496 270 536 300 526 Z"
    inner = "M288 424 C272 410 260 424 264 456 C268 482 276 502 288 506"
    one = (
        path(shape, c.skin)
        + soft(path("M290 420 C276 420 270 470 290 510 L300 500 L300 420 Z", c.deep), 4, opacity=0.55)
        + soft(line(inner, c.deep, 5, opacity=0.7), 2)
        + soft(line("M258 430 C254 456 262 500 278 518", c.light, 4, opacity=0.5), 2)
    )
    other = group(one, transform="translate(1000 0) scale(-1 1)")
    return (
        one
        + other
        + soft(path("M704 420 C740 380 760 420 740 500 C730 530 710 530 704 520 Z", c.deep), 8, opacity=0.25)
    )


def _head(who: Character) -> str:
    c, a = who.colours, who.age
    shading = (
        soft(path("M700 330 C720 480 700 640 590 730 L740 730 L760 330 Z", c.shade), 24, opacity=0.75)
        + soft(path("M292 380 C292 520 322 640 420 728 L280 728 L270 380 Z", c.shade), 14, opacity=0.4)
        + soft(path("M360 690 C440 742 560 742 640 690 L640 750 L360 750 Z", c.deep), 14, opacity=0.35)
        + soft(ellipse(430, 300, 96, 66, c.light), 40, opacity=0.8)
        + soft(ellipse(392, 520, 46, 28, c.light), 14, opacity=0.55)
        + soft(ellipse(606, 516, 36, 22, c.light), 14, opacity=0.35)
        + soft(ellipse(492, 692, 44, 20, c.light), 14, opacity=0.45)
        + '<rect x="280" y="440" width="200" height="200" fill="url(#blushl)"/>'
        + '<rect x="530" y="440" width="200" height="200" fill="url(#blushr)"/>'
        + soft(line("M452 656 C480 668 520 668 548 656", c.deep, 12), 8, opacity=0.38)
    )
    lines = (
        # from the nose to the mouth, beside the eyes, over the brows, under the eyes
        soft(line("M446 540 C424 562 408 586 402 616 M554 540 C576 562 592 586 598 616", c.deep, 5), 4, opacity=0.2 + 0.4 * a)
        + soft(line("M336 430 L318 422 M336 440 L316 444 M338 450 L322 462 M664 430 L682 422 M664 440 L684 444 M662 450 L678 462", c.shade, 4), 4, opacity=0.6 * a)
        + soft(line("M400 290 C460 280 540 280 600 290 M412 316 C466 308 534 308 588 316", c.deep, 4), 8, opacity=0.34 * a)
        + soft(line("M362 474 C386 490 424 490 444 472 M638 474 C614 490 576 490 556 472", c.deep, 5), 4, opacity=0.16 + 0.35 * a)
        + soft(line("M398 628 C392 650 396 668 404 684 M602 628 C608 650 604 668 596 684", c.deep, 4), 4, opacity=0.3 * a)
    )  # fmt: skip
    return path(outline(who.jaw), "url(#skin)") + group(shading + lines, clip_path="url(#headclip)")


def _cast(who: Character) -> str:
    """The shadow of the hair on the forehead."""
    shape = styles.front_shape(who)
    if not shape:
        return ""
    return group(
        soft(path(shape, who.colours.deep, transform="translate(6 15)"), 8, opacity=0.45), clip_path="url(#headclip)"
    )


def _nose(who: Character) -> str:
    c, wide = who.colours, 1 + 0.18 * who.jaw + (0.16 if who.lips > 1.2 else 0)

    def x(off: float) -> float:
        return round(500 + off * wide, 1)

    return (
        soft(path(f"M{x(14)} 420 C{x(18)} 470 {x(26)} 500 {x(40)} 520 C{x(36)} 544 {x(14)} 548 {x(2)} 540 C{x(12)} 510 {x(8)} 460 {x(14)} 420 Z", c.shade), 8, opacity=0.6)
        + soft(path(f"M{x(-20)} 416 C{x(-26)} 430 {x(-24)} 440 {x(-16)} 470 L{x(-10)} 470 L{x(-8)} 416 Z", c.shade), 8, opacity=0.4)
        + soft(path(f"M{x(-6)} 410 C{x(-8)} 460 {x(-12)} 500 {x(-10)} 518 C{x(-4)} 526 {x(6)} 526 {x(10)} 518 C{x(10)} 500 {x(4)} 460 {x(4)} 410 Z", c.light), 4, opacity=0.75)
        + soft(ellipse(x(-3), 516, 9, 7, "#ffffff"), 4, opacity=0.35)
        + soft(path(f"M{x(-36)} 532 C{x(-20)} 550 {x(20)} 552 {x(38)} 532 C{x(30)} 556 {x(-28)} 556 {x(-36)} 532 Z", c.deep), 4, opacity=0.45)
        + soft(line(f"M{x(-33)} 510 C{x(-42)} 520 {x(-41)} 534 {x(-30)} 537 M{x(33)} 510 C{x(42)} 520 {x(41)} 534 {x(30)} 537", c.deep, 4), 2, opacity=0.55)
        + soft(ellipse(x(-16), 538, 8.5, 4.2, c.deep) + ellipse(x(16), 538, 8.5, 4.2, c.deep), 2, opacity=0.9)
        + soft(path(f"M{x(-9)} 552 L{x(-11)} 578 L{x(11)} 578 L{x(9)} 552 Z", c.shade), 4, opacity=0.3)
    )  # fmt: skip


def _lips(who: Character) -> str:
    c = who.colours
    upper, between, lower = lip_lines(who)
    back = tuple(reversed(between))
    w, y = MOUTH_W / 2, MOUTH_Y
    low = LIP_LOWER * who.lips
    shine = f"M{500 - w * 0.4} {y + low * 0.58} C{500 - w * 0.15} {y + low * 0.82} {500 + w * 0.1} {y + low * 0.82} {500 + w * 0.3} {y + low * 0.62}"
    ends = "".join(
        soft(ellipse(500 + sign * (w + 3), y - who.smile + 1, 7, 6, c.deep), 4, opacity=0.5) for sign in (-1, 1)
    )
    return (
        ends
        + soft(path(_there(upper) + _there(tuple(reversed(lower)), "L") + "Z", c.lip), 2, opacity=0.6)
        + path(_there(lower) + _there(back, "L") + "Z", "url(#liplow)")
        + path(_there(upper) + _there(back, "L") + "Z", "url(#lipup)")
        + soft(line(shine, c.lip_light, 7 * who.lips), 4, opacity=0.8)
        + soft(line(shine, "#ffffff", 2.5), 2, opacity=0.35)
        + line(_there(between), c.lip_dark, 3.2)
    )
