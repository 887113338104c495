"""Tables of index pages whose rows are files: the decisions, and what was measured."""

from __future__ import annotations

import re

from tools.pages import ROOT

_TITLE = re.compile(r"^# (?:\d+\. )?(.+)$", re.MULTILINE)


def decisions() -> str:
    """Markdown, by number."""
    lines = ["| | decision |", "| --- | --- |"]
    for page in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        lines.append(f"| {int(page.name[:4])} | [{_title(page.read_text())}]({page.name}) |")
    return "\n".join(lines)


def results() -> str:
    """Markdown, by name: what `make bench-…` and its like have written."""
    lines = ["| table | of |", "| --- | --- |"]
    for page in sorted((ROOT / "bench" / "results").glob("*.md")):
        lines.append(f"| [{page.stem}](../../bench/results/{page.name}) | {_title(page.read_text())} |")
    return "\n".join(lines)


def _title(text: str) -> str:
    found = _TITLE.search(text)
    assert found is not None
    return found[1]
