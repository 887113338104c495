"""Lists: newest first, a page at a time; the cursor is the id of the last item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from api.errors import InvalidRequest
from schemas.jsons import JsonObject

T = TypeVar("T")

MOST = 100
Limit = Annotated[int, Query(ge=1, le=MOST)]
DEFAULT = 20
"""Items of a page whose size nobody asked for."""


def starting_after(prefix: str, rest: str = r"[^\x00-\x1f]*") -> Any:
    """The annotation of a list's cursor parameter; `checked` checks it, with an error of its own."""
    pattern = {"pattern": f"^{prefix}_{rest}$"}
    return Query(description="The id of the last item of the page before.", json_schema_extra=pattern)


def checked(cursor: str | None, prefix: str, what: str) -> str | None:
    """The cursor, if it is an id of that kind; what it names may be gone. Raises InvalidRequest."""
    if cursor is not None and not cursor.startswith(f"{prefix}_"):
        raise unknown(what)
    return cursor


def unknown(what: str) -> InvalidRequest:
    return InvalidRequest(f"starting_after is not {what} id.", code="cursor.invalid", param="starting_after")


def page(found: Sequence[T], limit: int, id_of: Callable[[T], str]) -> JsonObject:
    """The envelope of the first `limit` of `found`, which is one longer when there are more."""
    data, more = found[:limit], len(found) > limit
    return {"object": "list", "data": data, "has_more": more, "next_cursor": id_of(data[-1]) if more else None}
