"""The renderer that docs/reference/renderers.md shows, as an installed package."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "renderers.md"


def install(folder: Path) -> str:
    """For who has `folder` on PYTHONPATH; returns its code."""
    code, entry = re.findall(r"```(?:python|toml)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (folder / "scope.py").write_text(code)
    package = folder / "scope-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: scope\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[greenroom.renderers]\n" + entry.splitlines()[-1].replace('"', ""))
    return str(code)
