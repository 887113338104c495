"""A small hand for drawings: boxes, arrows and words on a card of its own, so that they are read on any background."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

FONT = "Inter, system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"
LIGHT = """
.card{fill:#fbfcfe;stroke:#d5dbe5}.line{stroke:#5b6677;fill:none}.tip{fill:#5b6677}.text{fill:#1d2530}.soft{fill:#5b6677}
.ours{fill:#e4edfb;stroke:#7ea3dc}.log{fill:#fdf1dc;stroke:#d9a74a}.theirs{fill:#eef1f4;stroke:#a6b0bf}
.done{fill:#e2f3e8;stroke:#6fb58a}.wrong{fill:#fbe6e6;stroke:#d58585}.zone{fill:none;stroke:#a6b0bf}.badge{fill:#2c5fb3}
"""
DARK = """
.card{fill:#161b22;stroke:#30363d}.line{stroke:#9aa7b8;fill:none}.tip{fill:#9aa7b8}.text{fill:#e8edf3}.soft{fill:#a9b4c3}
.ours{fill:#1b2e4a;stroke:#5886c9}.log{fill:#3c2f14;stroke:#c0923b}.theirs{fill:#252b34;stroke:#6c7889}
.done{fill:#17342a;stroke:#4f9b74}.wrong{fill:#3d2024;stroke:#b96a6a}.zone{fill:none;stroke:#6c7889}.badge{fill:#3f78d1}
"""
Point = tuple[float, float]


class Drawing:
    def __init__(self, width: int, height: int, title: str) -> None:
        self._size = width, height
        self._title = title
        self._parts: list[str] = []

    def text(
        self, x: float, y: float, words: str, *, size: int = 13, soft: bool = False, anchor: str = "middle"
    ) -> None:
        kind = "soft" if soft else "text"
        self._parts.append(
            f'<text class="{kind}" x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, kind: str, title: str = "", *lines: str) -> None:
        """Centred: a title, and softer lines below it."""
        self._parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="9"'
            ' stroke-width="1.5"/>'
        )
        top = y + height / 2 - 8.5 * len(lines) + 5
        if title:
            self._parts.append(
                f'<text class="text" x="{x + width / 2:g}" y="{top:g}" font-size="15" font-weight="600"'
                f' text-anchor="middle">{escape(title)}</text>'
            )
        for number, line in enumerate(lines, 1):
            self.text(x + width / 2, top + 17 * number, line, size=12, soft=True)

    def zone(self, x: float, y: float, width: float, height: float) -> None:
        self._parts.append(
            f'<rect class="zone" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="14" stroke-width="1.3"'
            ' stroke-dasharray="5 5"/>'
        )

    def arrow(self, points: Sequence[Point], *, both: bool = False) -> None:
        """Straight from point to point."""
        start = ' marker-start="url(#tip)"' if both else ""
        way = " L".join(f"{x:g} {y:g}" for x, y in points)
        self._parts.append(f'<path class="line" d="M{way}" stroke-width="1.6" marker-end="url(#tip)"{start}/>')

    def arc(self, start: Point, end: Point, lift: float) -> None:
        (x1, y1), (x2, y2) = start, end
        self._parts.append(
            f'<path class="line" d="M{x1:g} {y1:g} C{x1:g} {y1 - lift:g} {x2:g} {y2 - lift:g} {x2:g} {y2:g}"'
            ' stroke-width="1.6" marker-end="url(#tip)"/>'
        )

    def dot(self, x: float, y: float) -> None:
        self._parts.append(f'<circle class="tip" cx="{x:g}" cy="{y:g}" r="7"/>')

    def badge(self, x: float, y: float, number: int) -> None:
        self._parts.append(
            f'<circle class="badge" cx="{x:g}" cy="{y:g}" r="9.5"/><text x="{x:g}" y="{y + 4.2:g}" font-size="12"'
            f' font-weight="600" fill="#ffffff" text-anchor="middle">{number}</text>'
        )

    def svg(self) -> str:
        width, height = self._size
        style = f"{LIGHT}@media (prefers-color-scheme: dark){{{DARK}}}"
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
                f' height="{height}" role="img" font-family="{FONT}">',
                f"<title>{escape(self._title)}</title>",
                f"<style>{style}</style>",
                '<defs><marker id="tip" viewBox="0 0 10 10" refX="8.5" refY="5" markerWidth="7.5" markerHeight="7.5"'
                ' orient="auto-start-reverse"><path class="tip" d="M0 1 L9.5 5 L0 9 z"/></marker></defs>',
                f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="12"/>',
                *self._parts,
                "</svg>\n",
            ]
        )
