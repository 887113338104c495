"""What the import contracts cannot say: who writes a table, and who names a projection's schema."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[1]
WRITES = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM|COPY)\s+([a-z_.{}0-9]+)")
NOT_TABLES = {"of", "set"}
SCHEMAS = re.compile(r"\b(sessions|usage|history|avatars)_v\d+\b")
ROOMS = ("api", "cli", "projections", "reactors", "store", "workers")


def texts() -> Iterator[tuple[str, str]]:
    """(module, string) of every string of the rooms that is no docstring."""
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (each.value if isinstance(each, ast.Constant) else "{}" for each in node.values)
                yield str(path.relative_to(ROOT)), "".join(str(part) for part in parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n\n" not in node.value:
                yield str(path.relative_to(ROOT)), node.value


def test_each_table_is_written_by_one_module() -> None:
    """SQL functions are the migrations'; `delete_by_batches` is told its table by the module that has it."""
    writers: dict[str, set[str]] = defaultdict(set)
    for module, text in texts():
        for table in WRITES.findall(text):
            if table not in NOT_TABLES and "{}" not in table:
                writers[table.removeprefix("{schema}.")].add(module)
    assert len(writers) > 12
    assert {table: found for table, found in writers.items() if len(found) > 1} == {}


def test_a_projections_schema_is_named_by_nobody() -> None:
    """Another version can take its place: it is what `projections/versions.py` makes of its name and number, and
    everybody but the projection reads the views in `r`."""
    assert {(module, match[0]) for module, text in texts() if (match := SCHEMAS.search(text))} == set()
