"""Parts of pages that a command writes: between two marks, so that the words around them are a person's."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent


class NoPlace(Exception):
    """The page has not the two marks that the part belongs between."""


def with_part(text: str, name: str, part: str) -> str:
    """`text` with `part` between the marks of `name`. Raises NoPlace."""
    begin, end = f"<!-- {name}: written by `make pages` -->\n", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise NoPlace(f"{begin.strip()} … {end}")
    return f"{before}{begin}{part.rstrip()}\n{end}{after}"
