"""Pieces of SVG."""

from __future__ import annotations

from collections.abc import Sequence

Stops = Sequence[tuple[float, str, float]]
"""Offset, colour, opacity."""


def path(d: str, fill: str = "none", **attributes: str | float) -> str:
    return f'<path d="{d}" fill="{fill}"{_written(attributes)}/>'


def line(d: str, colour: str, width: float, **attributes: str | float) -> str:
    ends: dict[str, str | float] = {
        "stroke": colour,
        "stroke_width": width,
        "stroke_linecap": "round",
        "stroke_linejoin": "round",
    }
    return f'<path d="{d}" fill="none"{_written({**ends, **attributes})}/>'


def ellipse(x: float, y: float, rx: float, ry: float, fill: str, **attributes: str | float) -> str:
    return f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="{fill}"{_written(attributes)}/>'


def group(content: str, **attributes: str | float) -> str:
    return f"<g{_written(attributes)}>{content}</g>"


def soft(content: str, by: int, **attributes: str | float) -> str:
    """Blurred by one of `BLURS`."""
    return group(content, filter=f"url(#blur{by})", **attributes)


def gradient(name: str, stops: Stops, kind: str = "linear", **geometry: float) -> str:
    inner = "".join(f'<stop offset="{o}" stop-color="{colour}" stop-opacity="{alpha}"/>' for o, colour, alpha in stops)
    return f'<{kind}Gradient id="{name}" gradientUnits="userSpaceOnUse"{_written(geometry)}>{inner}</{kind}Gradient>'


BLURS = (2, 4, 8, 14, 24, 40)


def blurs() -> str:
    return "".join(
        f'<filter id="blur{by}" x="-60%" y="-60%" width="220%" height="220%"><feGaussianBlur stdDeviation="{by}"/></filter>'
        for by in BLURS
    )


def _written(attributes: dict[str, str | float] | dict[str, float]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
