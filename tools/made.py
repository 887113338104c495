"""All that is generated below `docs/` and `deploy/`: (path, content) of each file, as it must be committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools import (
    architecture_picture,
    commands_page,
    dashboard,
    endpoints_page,
    error_codes,
    event_types_page,
    index_pages,
    metrics_table,
    session_states,
    settings_table,
)
from tools.pages import ROOT, with_part

DOCS = ROOT / "docs"


def made() -> Iterator[tuple[Path, str]]:
    errors = DOCS / "reference" / "errors.md"
    text = with_part(errors.read_text(), "codes", error_codes.table())
    yield errors, with_part(text, "rules", error_codes.rules())
    metrics = DOCS / "reference" / "metrics.md"
    yield metrics, with_part(metrics.read_text(), "metrics", metrics_table.table())
    architecture = DOCS / "concepts" / "architecture.md"
    yield architecture, with_part(architecture.read_text(), "session states", session_states.table())
    for name, part, written in (
        ("settings", "settings", settings_table.table()),
        ("cli", "commands", commands_page.page()),
        ("endpoints", "endpoints", endpoints_page.page()),
        ("event-types", "types", event_types_page.page()),
    ):
        page = DOCS / "reference" / f"{name}.md"
        yield page, with_part(page.read_text(), part, written)
    index = DOCS / "decisions" / "README.md"
    yield index, with_part(index.read_text(), "decisions", index_pages.decisions())
    project = DOCS / "project" / "README.md"
    yield project, with_part(project.read_text(), "results", index_pages.results())
    yield DOCS / "pictures" / "session-states.svg", session_states.picture()
    yield DOCS / "pictures" / "architecture.svg", architecture_picture.picture()
    yield ROOT / "deploy" / "grafana" / "greenroom.json", dashboard.document()
