"""What events looked like that are in somebody's log: tests/schemas/baseline.json, against which every change is held.

`python -m tools.baseline release 0.2.0`: all schemas as they are now, from now on released. For who makes a release.
`python -m tools.baseline accept session.created.1`: as it is now, where no release has it yet. Logs that were written
until then cannot be read any more. Of a new type: it is held from now on, and not from the next release on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from schemas.documents import FOLDER
from schemas.events import CATALOGUE, EventType
from schemas.jsons import JsonObject
from tools.compatibility import changes
from tools.pages import ROOT

PATH = ROOT / "tests" / "schemas" / "baseline.json"


class Known(msgspec.Struct):
    """A schema as it was. `release`: the first one that had it; None: none yet."""

    release: str | None
    document: JsonObject


Baseline = dict[str, Known]
"""By type and version, such as `session.created.1`."""


class Refused(Exception):
    """The baseline stays as it is. The message says why."""


def read(path: Path = PATH) -> Baseline:
    return msgspec.json.decode(path.read_bytes(), type=Baseline)


def committed(folder: Path = FOLDER / "json") -> dict[str, JsonObject]:
    """The schemas of schemas/json, by type and version."""
    return {path.stem: orjson.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}


def problems(
    baseline: Baseline, schemas: Mapping[str, JsonObject], catalogue: Mapping[str, EventType] = CATALOGUE
) -> Iterator[str]:
    """A sentence for each schema that is not what it was, and for each version without one. What to do stands in it."""
    for name, known in baseline.items():
        current = schemas.get(name)
        found = ["it is gone, and what was written stays in the log"] if current is None else None
        for change in changes(known.document, current) if current is not None else found or ():
            yield f"{name}: {change}. {_advice(name, known.release)}"
    for event, kind in catalogue.items():
        for n in range(1, kind.version + 1):
            if f"{event}.{n}" not in schemas:
                yield f"{event}.{n}: schemas/json/{event}.{n}.json is missing: the log has that version for ever."


def _advice(name: str, release: str | None) -> str:
    event, _, version = name.rpartition(".")
    n = int(version)
    raised = (
        f"Keep schemas/json/{name}.json as it is, raise {event} to version {n + 1} in CATALOGUE, and write"
        f" @upcaster({event!r}, {n}) with its fixture: docs/how-to/add-an-event.md"
    )
    if release is not None:
        return f"Release {release} has it. {raised}."
    return f"{raised}. No release has it: `python -m tools.baseline accept {name}` gives up the logs there are."


def accept(baseline: Baseline, schemas: Mapping[str, JsonObject], name: str) -> Baseline:
    """Raises Refused."""
    if name not in baseline.keys() | schemas.keys():
        raise Refused(f"There is no schemas/json/{name}.json.")
    if name in baseline and (release := baseline[name].release) is not None:
        raise Refused(f"{name} is in release {release}: raise its version.")
    if name in schemas:
        return {**baseline, name: Known(None, schemas[name])}
    return {each: known for each, known in baseline.items() if each != name}


def release(baseline: Baseline, schemas: Mapping[str, JsonObject], version: str) -> Baseline:
    """Raises Refused."""
    if wrong := next(problems(baseline, schemas), None):
        raise Refused(wrong)
    first = {name: known.release for name, known in baseline.items()}
    return {name: Known(first.get(name) or version, document) for name, document in schemas.items()}


def main(args: list[str]) -> Any:
    """Returns what `sys.exit` takes."""
    does = {"accept": accept, "release": release}
    if len(args) != 2 or args[0] not in does:
        return __doc__
    try:
        made = does[args[0]](read(), committed(), args[1])
    except Refused as refused:
        return str(refused)
    PATH.write_bytes(orjson.dumps(msgspec.to_builtins(made), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
