"""Times in queries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.errors import Unprocessable
from schemas.times import from_wire, to_wire

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


def moment(name: str, text: str | None) -> int | None:
    """Epoch ms of the parameter `name`. Raises Unprocessable."""
    if text is None:
        return None
    try:
        found = from_wire(text.replace(" ", "+"))  # a + of an unescaped zone arrives as a space
        to_wire(found)  # in its own zone it was a year that there is; in UTC it may be none
        return found
    except (ValueError, OverflowError):
        raise Unprocessable(
            f"{name} must be an ISO 8601 time with a zone, such as 2026-11-23T05:00:00Z.",
            code=f"{name}.invalid",
            param=name,
        ) from None
