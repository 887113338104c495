"""The tables of docs/reference/errors.md: every code that the API answers, of the classes and where they are raised."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import api
from api import errors
from api.errors import ApiError

RULES = {
    "required": "The field is missing.",
    "unknown": "The request has no such field: a typo, or a field of another version.",
    "invalid": "The value is of the right type and not one of those that are taken; the message says which are.",
    "invalid_type": "The value is of another type than the field.",
    "too_small": "The number is below the least one.",
    "too_large": "The number is above the greatest one, or the value is larger than its bound.",
    "too_short": "The text or list is shorter than its least length.",
    "too_long": "The text or list is longer than its greatest length.",
}
"""The rules that `api.errors.refused` ends a code with."""

_IN_WORDS = {
    "background.invalid": "background is blur, green, a colour such as #20304a, or a PNG or JPEG sent as a file."
    " Or: what is wrong with the picture, in a sentence.",
    "image.invalid": "What is wrong with the picture, in a sentence.",
    "request.invalid": "Whatever else the framework refuses, in its words.",
}
"""Where the message is known at the request alone."""
_UNKNOWN = "…"


@dataclass
class Row:
    code: str
    error: type[ApiError]
    messages: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        if message not in self.messages:
            self.messages.append(message)


def table() -> str:
    """Markdown, by status and code."""
    lines = ["| code | HTTP | type | `Retry-After` | what it says |", "| --- | --- | --- | --- | --- |"]
    for row in sorted(rows(), key=lambda row: (row.error.status, row.code)):
        message = _IN_WORDS.get(row.code) or " Or: ".join(row.messages)
        wait = "" if row.error.retry_after is None else f"{row.error.retry_after} s"
        lines.append(f"| `{row.code}` | {row.error.status} | `{row.error.type}` | {wait} | {message} |")
    return "\n".join(lines)


def rules() -> str:
    """Markdown: what `<field path>.<rule>` can end with."""
    return "\n".join(["| rule | when |", "| --- | --- |", *(f"| `{rule}` | {when} |" for rule, when in RULES.items())])


def rows() -> list[Row]:
    found: dict[tuple[str, int], Row] = {}

    def row(code: str, error: type[ApiError]) -> Row:
        return found.setdefault((code, error.status), Row(code, error))

    for error in classes():
        if "message" in vars(error):
            row(error.code, error).say(error.message)
    for path in _modules():
        for error, codes, message in _raised(path):
            for code in codes:
                row(code, error).say(message)
    return list(found.values())


def _modules() -> list[Path]:
    return sorted(path for path in Path(*api.__path__).glob("*.py") if path.stem != "__init__")


def classes() -> list[type[ApiError]]:
    """Those that have a code of their own, of all modules."""
    for path in _modules():
        importlib.import_module(f"api.{path.stem}")
    todo, found = [ApiError], list[type[ApiError]]()
    while todo:
        error = todo.pop(0)
        todo += error.__subclasses__()
        if "code" in vars(error):
            found.append(error)
    return found


# Where they are raised


def _raised(path: Path) -> Iterator[tuple[type[ApiError], list[str], str]]:
    """(class, codes, message) of each error that is made with words of its own."""
    module = importlib.import_module(f"api.{path.stem}")
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or function.name == "refused":
            continue
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                yield from _made(module, function, call)


def _made(module: ModuleType, function: ast.AST, call: ast.Call) -> Iterator[tuple[type[ApiError], list[str], str]]:
    assert isinstance(call.func, ast.Name)
    made = getattr(module, call.func.id, None)
    if isinstance(made, type) and issubclass(made, ApiError):
        code = next((word.value for word in call.keywords if word.arg == "code"), None)
        message = _text(module, call.args[0], _UNKNOWN) if call.args else made.message
        codes = [made.code] if code is None else _codes(module, function, code)
        yield from ((made, [one], message) for one in codes if not one.endswith(".<rule>"))
    elif call.func.id == "_refuse" and module.__name__ == "api.tokens":
        rule, message = (_text(module, argument, _UNKNOWN) for argument in call.args)
        yield errors.Unprocessable, [f"transport.worker_token.{rule}"], message


def _codes(module: ModuleType, function: ast.AST, code: ast.expr) -> list[str]:
    """A code may be a variable of its function, and either of two."""
    if isinstance(code, ast.IfExp):
        return [*_codes(module, function, code.body), *_codes(module, function, code.orelse)]
    if isinstance(code, ast.Name):
        for assigned in ast.walk(function):
            if isinstance(assigned, ast.Assign) and ast.unparse(assigned.targets[0]) == code.id:
                return _codes(module, function, assigned.value)
    return [_text(module, code, None)]


def _text(module: ModuleType, words: ast.expr, unknown: str | None) -> str:
    """The text of an expression; what is known at the request alone is `unknown`, or named: `<name>`."""
    if isinstance(words, ast.Constant):
        return str(words.value)
    if isinstance(words, ast.JoinedStr):
        return "".join(_text(module, part, unknown) for part in words.values)
    if isinstance(words, ast.FormattedValue):
        return _text(module, words.value, unknown)
    if isinstance(words, ast.Name) and isinstance(value := getattr(module, words.id, None), str | int):
        return str(value)
    return unknown or f"<{ast.unparse(words)}>"
