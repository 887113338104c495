"""Old versions of events, read as new ones. The log is never rewritten: what was written years ago is raised on read.

A version is a struct in schemas/events.py. Who raises it registers the way from the one before:

    @upcaster("session.joined", 1)
    def _(content: JsonObject) -> JsonObject:
        return {**content, "codec": "opus"}

and writes a golden fixture, tests/events/golden/upcasters/session.joined.1.json. An upcaster is pure: the same content
gives the same event in every replay, or bills would differ. What it is given is a copy of the value that it may keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from schemas.events import CATALOGUE, EventType
from schemas.jsons import JsonObject

Upcaster = Callable[[JsonObject], JsonObject]

UPCASTERS: dict[tuple[str, int], Upcaster] = {}
"""(type, n) → the pure function from version n to n + 1."""


def upcaster(name: str, version: int) -> Callable[[Upcaster], Upcaster]:
    """Registers the way of this type from `version` to the next one. Raises ValueError where there is one already."""

    def register(function: Upcaster) -> Upcaster:
        if (name, version) in UPCASTERS:
            raise ValueError(f"{name} has a way from version {version} to {version + 1} already")
        UPCASTERS[name, version] = function
        return function

    return register


def problems(
    catalogue: Mapping[str, EventType] = CATALOGUE, upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS
) -> Iterator[str]:
    """A sentence for each version that cannot be read, and for each upcaster of a version that there is not."""
    wanted = {(name, n) for name, known in catalogue.items() for n in range(1, known.version)}
    for name, n in sorted(wanted - upcasters.keys()):
        yield f"{name} version {n} cannot be read any more: register its way to {n + 1}, @upcaster({name!r}, {n})."
    for name, n in sorted(upcasters.keys() - wanted):
        yield f"{name} has a way from version {n}, and the catalogue no version {n + 1} of it."


@upcaster("session.assigned", 1)
def _(content: JsonObject) -> JsonObject:
    """Version 2 knows a reason more."""
    return content
