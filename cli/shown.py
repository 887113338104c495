"""Records and their bytes on a terminal: nothing that somebody wrote to the log reaches it but as plain text."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.text import Text

from cli.console import out

if TYPE_CHECKING:
    from events.codec import Record

_WIDTH = 16
_MOST = 4096
"""Bytes of a dump; of more the beginning is shown, and how many there are."""


def plain(text: str) -> str:
    """The text with all that a terminal, or its reader, may take for something else written as an escape."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def cell(text: object) -> Text:
    """The same in a table, where a text in brackets would be taken for a style."""
    return Text(plain(str(text)))


def shown_facts(facts: Mapping[str, object], indent: str = "") -> None:
    """A line for each, whatever somebody has put into it."""
    for name, value in facts.items():
        out.print(f"{indent}{name}: {plain(str(value))}", markup=False, highlight=False, soft_wrap=True)


def dump(data: bytes) -> Iterator[str]:
    """Offset, hexadecimal and ASCII of sixteen bytes a line."""
    for at in range(0, min(len(data), _MOST), _WIDTH):
        part = data[at : min(at + _WIDTH, _MOST)]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{at:08x}  {part.hex(' '):<{3 * _WIDTH - 1}}  {text}"
    if len(data) > _MOST:
        yield f"… {len(data)} bytes in all"


def shown_bytes(data: bytes | None) -> Iterator[str]:
    """As JSON where it is some, as text where it is UTF-8, else as a dump."""
    if not data:
        yield "null" if data is None else "(empty)"
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:
        yield from dump(data)
        return
    with contextlib.suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False) if len(data) <= _MOST else text
    yield from (plain(line) for line in text[:_MOST].split("\n"))
    if len(text) > _MOST:
        yield f"… {len(data)} bytes in all"


def shown_record(record: Record) -> None:
    """Place, envelope and value."""
    from schemas.times import to_wire

    out.print(f"{plain(record.topic)}, partition {record.partition}, offset {record.offset}", markup=False)
    out.print(f"  appended {to_wire(record.timestamp)}", markup=False)
    _section("key", record.key)
    for name, value in record.headers:
        _section(plain(name), value)
    _section("value", record.value)


def _section(name: str, data: bytes | None) -> None:
    lines = list(shown_bytes(data))
    if len(lines) == 1:
        out.print(f"  {name}: {lines[0]}", markup=False, highlight=False, soft_wrap=True)
        return
    out.print(f"  {name}:", markup=False, highlight=False)
    for line in lines:
        out.print(f"    {line}", markup=False, highlight=False, soft_wrap=True)
