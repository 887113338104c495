"""docs/reference/cli.md: every command of `greenroom` with its options, as typer has them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from cli.main import app
from tools.tables import cell


def page() -> str:
    """Markdown, in the order and by the panels of `greenroom --help`."""
    panels: dict[str, list[Any]] = {}
    for command in _commands(typer.main.get_command(app)):
        panels.setdefault(str(command.rich_help_panel), []).append(command)
    return "\n".join(line for panel, commands in panels.items() for line in _panel(panel, commands))


def _commands(group: Any) -> Iterator[Any]:
    yield from (command for command in group.commands.values() if not command.hidden)


def _panel(panel: str, commands: list[Any]) -> Iterator[str]:
    yield f"\n## {panel}"
    for command in commands:
        yield from _command(f"greenroom {command.name}", command)


def _command(name: str, command: Any) -> Iterator[str]:
    inner = list(_commands(command)) if hasattr(command, "commands") else []
    told = " ".join((command.help or "").split())
    if inner and not command.params:
        yield f"\n### {name}\n\n{told}"
    else:
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        usage = " ".join([name, *(_argument(one) for one in arguments)])
        yield f"\n### {name}\n\n`{usage}`\n\n{told}"
        yield from _parameters(command)
    for one in inner:
        yield from _command(f"{name} {one.name}", one)


def _argument(one: Any) -> str:
    shown = (one.metavar or one.name).upper()
    return f"{shown}{' …' if one.nargs == -1 else ''}" if one.required else f"[{shown}]"


def _parameters(command: Any) -> Iterator[str]:
    shown = [param for param in command.params if not getattr(param, "hidden", False) and (param.help or param.opts)]
    if not shown:
        return
    yield "\n| option | what | default |\n| --- | --- | --- |"
    for param in shown:
        yield f"| {_names(param)} | {cell(param.help or '')} | {_default(param)} |"


def _names(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{(param.metavar or param.name).upper()}`"
    return ", ".join(f"`{name}`" for name in [*param.opts, *param.secondary_opts])


def _default(param: Any) -> str:
    default = param.default
    if default in (None, False, "", ()) or callable(default):
        return "required" if param.required and param.param_type_name == "option" else ""
    if isinstance(default, Enum):
        default = default.value
    return f"`{default.as_posix() if isinstance(default, Path) else default}`"
