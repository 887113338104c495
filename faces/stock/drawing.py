"""Two characters, drawn in layers on a square of 1000: back hair, shoulders, neck, ears, head, eyes with lids and gaze,
brows, nose, lips, front hair. `make stock-faces` draws them; at run time only the result is read."""

from __future__ import annotations

from faces.stock.characters import Character, Colours

SIDE = 1000


EYE_Y, EYE_LEFT, EYE_RIGHT = 432.0, 401.0, 599.0
EYE_W, EYE_H = 110.0, 66.0
MOUTH_Y, MOUTH_W = 600.0, 148.0
CHIN_Y = 722.0
LIP_UPPER, LIP_LOWER = 19.0, 26.0


def svg(who: Character, person: bool = True, background: bool = True) -> str:
    """The portrait, or one of its two layers alone: outside of the person it is clear then."""
    c = who.colours
    layers = (
        _background(c) if background else "",
        *(
            (
                _path(who.back_hair, "url(#hair)"),
                _shoulders(who),
                _neck(who),
                _ears(c),
                _head(who),
                _eye(who, EYE_LEFT, mirrored=False),
                _eye(who, EYE_RIGHT, mirrored=True),
                _brows(who),
                _nose(c),
                _lips(who),
                _front_hair(who),
            )
            if person
            else ()
        ),
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" height="{SIDE}">'
        + _definitions(c)
        + "".join(layers)
        + "</svg>"
    )


Curve = tuple[tuple[float, float], ...]
"""A start and, for each cubic piece, two handles and an end."""


def eye_rims(x: float, mirrored: bool) -> tuple[Curve, Curve]:
    """The upper and the lower rim of an eye, each from the viewer's left to the right."""
    w, top, bottom = EYE_W / 2, EYE_H * 0.56, EYE_H * 0.36
    upper = (-w, 6.0), (-w * 0.6, -top * 1.28), (w * 0.5, -top * 1.32), (w, 2.0)
    lower = (-w, 6.0), (-w * 0.5, bottom * 1.3), (w * 0.6, bottom * 1.2), (w, 2.0)
    sign = -1 if mirrored else 1
    placed = tuple(tuple((x + sign * px, EYE_Y + py) for px, py in rim) for rim in (upper, lower))
    return (placed[0][::sign], placed[1][::sign])


def lip_lines(who: Character) -> tuple[Curve, Curve, Curve]:
    """The upper lip's edge, the line between the lips, the lower lip's edge; left to right."""
    w, y = MOUTH_W / 2, MOUTH_Y
    up, low = LIP_UPPER * who.lips, LIP_LOWER * who.lips
    upper = ((-w, -7.0), (-w * 0.6, -up * 0.75), (-w * 0.32, -up * 1.25), (-w * 0.14, -up),
             (-w * 0.05, -up * 0.8), (w * 0.05, -up * 0.8), (w * 0.14, -up),
             (w * 0.32, -up * 1.25), (w * 0.6, -up * 0.75), (w, -7.0))  # fmt: skip
    line = (-w, -7.0), (-w * 0.55, 3.0), (-w * 0.2, 1.0), (0.0, 2.0), (w * 0.2, 1.0), (w * 0.55, 3.0), (w, -7.0)
    lower = ((-w, -7.0), (-w * 0.6, low * 1.15), (-w * 0.2, low * 1.2), (0.0, low * 1.15),
             (w * 0.2, low * 1.2), (w * 0.6, low * 1.15), (w, -7.0))  # fmt: skip
    return tuple(tuple((500 + px, y + py) for px, py in curve) for curve in (upper, line, lower))  # type: ignore[return-value]


def _path(d: str, fill: str = "none", **attributes: str | float) -> str:
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<path d="{d}" fill="{fill}"{more}/>'


def _gradient(name: str, stops: list[tuple[float, str, float]], kind: str = "linear", **geometry: float) -> str:
    at = "".join(f' {key}="{value}"' for key, value in geometry.items())
    inner = "".join(f'<stop offset="{o}" stop-color="{colour}" stop-opacity="{alpha}"/>' for o, colour, alpha in stops)
    return f'<{kind}Gradient id="{name}" gradientUnits="userSpaceOnUse"{at}>{inner}</{kind}Gradient>'


def _definitions(c: Colours) -> str:
    return (
        "<defs>"
        + "".join(
            (
                _gradient("back", [(0, c.back_top, 1), (1, c.back_bottom, 1)], x1=0, y1=0, x2=0, y2=1000),
                _gradient("glow", [(0, "#ffffff", 0.75), (1, "#ffffff", 0)], "radial", cx=500, cy=400, r=470),
                _gradient(
                    "skin", [(0, c.light, 1), (0.55, c.skin, 1), (1, c.shade, 1)], "radial", cx=470, cy=400, r=390
                ),
                _gradient("neck", [(0, c.shade, 1), (0.5, c.shade, 1), (1, c.skin, 1)], x1=0, y1=690, x2=0, y2=850),
                _gradient("blushl", [(0, c.blush, 0.42), (1, c.blush, 0)], "radial", cx=366, cy=540, r=82),
                _gradient("blushr", [(0, c.blush, 0.42), (1, c.blush, 0)], "radial", cx=634, cy=540, r=82),
                _gradient(
                    "hair", [(0, c.hair_light, 1), (0.3, c.hair, 1), (1, c.hair_dark, 1)], x1=420, y1=70, x2=560, y2=800
                ),
                _gradient(
                    "fringe",
                    [(0, c.hair_light, 1), (0.5, c.hair, 1), (1, c.hair_dark, 1)],
                    x1=420,
                    y1=80,
                    x2=520,
                    y2=460,
                ),
                _gradient(
                    "shirt",
                    [(0, c.shirt_light, 1), (0.4, c.shirt, 1), (1, c.shirt_dark, 1)],
                    x1=420,
                    y1=770,
                    x2=560,
                    y2=1000,
                ),
                _gradient("lipup", [(0, c.lip, 1), (1, c.lip_dark, 1)], x1=0, y1=572, x2=0, y2=612),
                _gradient("liplow", [(0, c.lip_dark, 1), (0.25, c.lip, 1), (1, c.lip, 1)], x1=0, y1=596, x2=0, y2=640),
                _gradient(
                    "white", [(0, "#c9c6c6", 1), (0.35, "#fbf9f6", 1), (1, "#fbf9f6", 1)], x1=0, y1=398, x2=0, y2=462
                ),
                '<filter id="soft" x="-30%" y="-30%" width="160%" height="160%"><feGaussianBlur stdDeviation="14"/></filter>',
                '<filter id="softer" x="-50%" y="-50%" width="200%" height="200%"><feGaussianBlur stdDeviation="6"/></filter>',
                f'<clipPath id="headclip">{_path(_head_outline(0.0))}</clipPath>',
            )
        )
        + "</defs>"
    )


def _background(c: Colours) -> str:
    return '<rect width="1000" height="1000" fill="url(#back)"/><rect width="1000" height="1000" fill="url(#glow)"/>'


def _shoulders(who: Character) -> str:
    body = "M500 800 C420 800 400 806 330 838 C220 880 150 906 128 1000 L872 1000 C850 906 780 880 670 838 C600 806 580 800 500 800 Z"
    folds = "M300 1000 C310 950 320 920 340 900 M700 1000 C690 950 680 920 660 900"
    return _path(body, "url(#shirt)") + _path(
        folds, stroke=who.colours.shirt_dark, stroke_width=6, stroke_linecap="round", opacity=0.5
    )


def _neck(who: Character) -> str:
    width = 84 + 14 * who.jaw
    neck = (
        f"M{500 - width} 640 L{500 - width} 752 C{500 - width} 790 {408 - 10 * who.jaw} 796 396 800 "
        f"C430 884 570 884 604 800 C{592 + 10 * who.jaw} 796 {500 + width} 790 {500 + width} 752 L{500 + width} 640 Z"
    )
    return _path(neck, "url(#neck)") + _path(
        who.collar, stroke=who.colours.shirt_dark, stroke_width=12, stroke_linecap="round"
    )


def _ears(c: Colours) -> str:
    ear = (
        "M290 408 C262 386 240 406 246 452 C250 500 270 536 296 522 Z"
        "M710 408 C738 386 760 406 754 452 C750 500 730 536 704 522 Z"
    )
    inner = "M282 426 C264 420 258 446 264 470 C268 490 276 502 286 500 M718 426 C736 420 742 446 736 470 C732 490 724 502 714 500"
    return _path(ear, c.skin) + _path(inner, stroke=c.shade, stroke_width=6, stroke_linecap="round", opacity=0.8)


def _head_outline(jaw: float) -> str:
    j = 12 * jaw
    return (
        "M500 150 C380 150 284 226 284 392 C284 470 294 530 "
        f"{314 - j} 588 C{334 - j} 650 {410 - j} 716 {462 - j / 2} 722 C486 725 514 725 {538 + j / 2} 722 "
        f"C{590 + j} 716 {666 + j} 650 {686 + j} 588 C706 530 716 470 716 392 C716 226 620 150 500 150 Z"
    )


def _head(who: Character) -> str:
    c = who.colours
    outline = _head_outline(who.jaw)
    parts = [
        f'<g filter="url(#soft)" opacity="0.22">{_path(outline, c.shade, transform="translate(0 20)")}</g>',
        _path(outline, "url(#skin)"),
        '<rect x="270" y="440" width="200" height="200" fill="url(#blushl)"/>',
        '<rect x="530" y="440" width="200" height="200" fill="url(#blushr)"/>',
        f'<g filter="url(#softer)" opacity="0.28">{_path("M462 654 C486 664 514 664 538 654", stroke=c.shade, stroke_width=12)}</g>',
    ]
    if who.extras == "stubble":
        beard = (
            "M300 520 C306 590 330 668 400 706 C460 736 540 736 600 706 C670 668 694 590 700 520 "
            "C676 560 650 590 622 580 C590 546 540 548 500 556 C460 548 410 546 378 580 C350 590 324 560 300 520 Z"
        )
        parts.append(
            f'<g clip-path="url(#headclip)"><g filter="url(#soft)" opacity="0.34">{_path(beard, c.hair)}</g></g>'
        )
    return "".join(parts)


def _eye(who: Character, x: float, mirrored: bool) -> str:
    """Drawn for the picture's left eye, mirrored for the other."""
    c = who.colours
    w, top, bottom = EYE_W / 2, EYE_H * 0.56, EYE_H * 0.36
    upper = f"M{-w} 6 C{-w * 0.6} {-top * 1.28} {w * 0.5} {-top * 1.32} {w} 2"
    whole = f"{upper} C{w * 0.6} {bottom * 1.2} {-w * 0.5} {bottom * 1.3} {-w} 6 Z"
    light = -1 if mirrored else 1
    ident = f"eye{int(x)}"
    lashes = who.lashes
    crease = f"M{-w * 0.86} -16 C{-w * 0.5} {-top * 1.5} {w * 0.5} {-top * 1.55} {w * 0.95} -18"
    ball = (
        f'<g clip-path="url(#{ident})">'
        + _path(whole, "url(#eyewhite)")
        + f'<circle cx="0" cy="-4" r="27" fill="{c.iris_dark}"/><circle cx="0" cy="-2" r="23" fill="{c.iris}"/>'
        + '<circle cx="0" cy="-3" r="12" fill="#120d0d"/>'
        + f'<circle cx="{-8 * light}" cy="-12" r="6.5" fill="#ffffff"/>'
        + f'<circle cx="{8 * light}" cy="6" r="3" fill="#ffffff" opacity="0.7"/>'
        + _path(
            f"M{-w} {-top} L{w} {-top} L{w} {-top * 0.5} C{w * 0.4} {-top * 0.9} {-w * 0.4} {-top * 0.9} {-w} 0 Z",
            "#000000",
            opacity=0.12,
        )
        + "</g>"
    )
    lash_line = _path(upper, stroke="#2a1a18", stroke_width=5 + 3 * lashes, stroke_linecap="round")
    wing = (
        _path(
            f"M{-w + 4} 5 C{-w - 4} -2 {-w - 9} -7 {-w - 13} -13",
            stroke="#2a1a18",
            stroke_width=4.5,
            stroke_linecap="round",
        )
        if lashes > 0.5
        else ""
    )
    lower = _path(
        f"M{w} 2 C{w * 0.6} {bottom * 1.2} {-w * 0.5} {bottom * 1.3} {-w} 6",
        stroke=c.shade,
        stroke_width=3,
        opacity=0.75,
    )
    shadow = f'<g filter="url(#softer)" opacity="0.35">{_path(whole, c.shade, transform="scale(1.22 1.3)")}</g>'
    flip = " scale(-1 1)" if mirrored else ""
    return (
        f'<g transform="translate({x} {EYE_Y}){flip}">'
        f'<defs><clipPath id="{ident}">{_path(whole)}</clipPath>'
        + _gradient("eyewhite", [(0, "#cfcaca", 1), (0.4, "#fbf9f6", 1), (1, "#f4efeb", 1)], x1=0, y1=-30, x2=0, y2=26)
        + "</defs>"
        + shadow
        + ball
        + lower
        + _path(crease, stroke=c.shade, stroke_width=3.5, stroke_linecap="round", opacity=0.8)
        + lash_line
        + wing
        + "</g>"
    )


def _brows(who: Character) -> str:
    parts = []
    for a, b, cc, d in ((336, 366, 420, 462), (664, 634, 580, 538)):
        parts.append(
            _path(
                who.brow.format(a=a, b=b, c=cc, d=d),
                stroke=who.colours.hair if who.name == "av_demo" else who.colours.hair_dark,
                stroke_width=who.brow_width,
                stroke_linecap="round",
                opacity=0.92,
            )
        )
    return "".join(parts)


def _nose(c: Colours) -> str:
    return (
        f'<g filter="url(#softer)" opacity="0.45">{_path("M478 420 C474 470 458 506 460 524 C470 546 530 546 540 524 C542 506 526 470 522 420 Z", c.shade)}</g>'
        + f'<g filter="url(#softer)" opacity="0.8">{_path("M492 420 C490 470 484 500 488 516 C494 524 506 524 512 516 C516 500 508 470 506 420 Z", c.light)}</g>'
        + _path(
            "M464 524 C470 536 484 534 490 532 C496 538 506 538 511 532 C518 534 530 536 536 524",
            stroke=c.shade,
            stroke_width=5,
            stroke_linecap="round",
        )
    )


def _lips(who: Character) -> str:
    c, w, y = who.colours, MOUTH_W / 2, MOUTH_Y
    up, low = LIP_UPPER * who.lips, LIP_LOWER * who.lips
    line = f"C{500 + w * 0.55} {y + 3} {500 + w * 0.2} {y + 1} 500 {y + 2} C{500 - w * 0.2} {y + 1} {500 - w * 0.55} {y + 3} {500 - w} {y - 7}"
    upper = (
        f"M{500 - w} {y - 7} C{500 - w * 0.6} {y - up * 0.75} {500 - w * 0.32} {y - up * 1.25} {500 - w * 0.14} {y - up} "
        f"C{500 - w * 0.05} {y - up * 0.8} {500 + w * 0.05} {y - up * 0.8} {500 + w * 0.14} {y - up} "
        f"C{500 + w * 0.32} {y - up * 1.25} {500 + w * 0.6} {y - up * 0.75} {500 + w} {y - 7} {line} Z"
    )
    lower = (
        f"M{500 - w} {y - 7} C{500 - w * 0.6} {y + low * 1.15} {500 - w * 0.2} {y + low * 1.2} 500 {y + low * 1.15} "
        f"C{500 + w * 0.2} {y + low * 1.2} {500 + w * 0.6} {y + low * 1.15} {500 + w} {y - 7} {line} Z"
    )
    return (
        _path(lower, "url(#liplow)")
        + _path(upper, "url(#lipup)")
        + f'<g filter="url(#softer)" opacity="0.5">{_path(f"M{500 - w * 0.36} {y + low * 0.55} C{500 - w * 0.1} {y + low * 0.8} {500 + w * 0.1} {y + low * 0.8} {500 + w * 0.36} {y + low * 0.55}", stroke="#ffffff", stroke_width=6, stroke_linecap="round", opacity=0.7)}</g>'
        + _path(f"M{500 + w} {y - 7} {line}", stroke=c.lip_dark, stroke_width=3.5, stroke_linecap="round")
    )


def _front_hair(who: Character) -> str:
    c = who.colours
    return (
        f'<g filter="url(#soft)" opacity="0.3" clip-path="url(#headclip)">{_path(who.front_hair, c.hair_dark, transform="translate(0 16)")}</g>'
        + _path(who.front_hair, "url(#fringe)")
        + _path(who.strands, stroke=c.hair_light, stroke_width=5, stroke_linecap="round", opacity=0.45)
    )
