"""Words in a cell of a Markdown table."""

from __future__ import annotations

import re

_CODE = re.compile(r"(`[^`]*`)")


def cell(text: str) -> str:
    """One line, whose bars end no cell, and whose `<…>` outside of code is no HTML."""
    words = _CODE.split(" ".join(text.split()).replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in words)
