"""The table of docs/reference/settings.md: every variable that a process reads, of the classes that read it."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from cli.processes import KINDS, PREFIX
from reactors.settings import FinanceSettings
from tools.tables import cell

COMMANDS: dict[str, type[BaseSettings]] = {"usage": FinanceSettings}
"""Commands that read settings which no process has."""


def table() -> str:
    """Markdown, by name. A secret's default is not shown, there is none that works."""
    lines = ["| variable | default | read by | what |", "| --- | --- | --- | --- |"]
    readers: dict[str, list[str]] = {}
    fields: dict[str, FieldInfo] = {}
    for kind, settings in (KINDS | COMMANDS).items():
        for name, field in settings.model_fields.items():
            readers.setdefault(name, []).append(kind)
            fields[name] = field
    for name, field in sorted(fields.items()):
        what = field.description or ""
        lines.append(f"| `{PREFIX}{name.upper()}` | {_default(field)} | {_kinds(readers[name])} | {cell(what)} |")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=False)
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, SecretStr) or default is None or default == "":
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _kinds(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
