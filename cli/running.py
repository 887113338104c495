"""The stack of this folder, as whoever runs it has written it down. Loads no room: `greenroom env` is there at once."""

from __future__ import annotations

import psutil

from schemas.jsons import JsonObject
from stack.files import STACK_FOLDER, read

STACK_FILE = STACK_FOLDER / "stack.json"


def running() -> JsonObject | None:
    """The description of this folder's running stack, if one runs."""
    described = read(STACK_FILE)
    return described if _is_ours(described) else None


def _is_ours(described: JsonObject) -> bool:
    """The pid may have been given to another process since: the start time tells."""
    try:
        process = psutil.Process(described["supervisor"]["pid"])
        return bool(abs(process.create_time() - described["supervisor"]["started"]) < 2 and process.is_running())
    except (psutil.NoSuchProcess, KeyError):
        return False
