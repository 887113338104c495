"""All that is generated below `docs/`: (path, content) of each file, as it must be committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools import error_codes
from tools.pages import ROOT, with_part

DOCS = ROOT / "docs"


def made() -> Iterator[tuple[Path, str]]:
    errors = DOCS / "errors.md"
    text = with_part(errors.read_text(), "codes", error_codes.table())
    yield errors, with_part(text, "rules", error_codes.rules())
