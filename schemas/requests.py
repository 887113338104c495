"""What request bodies are made of: strict models, texts that every store can hold, URLs whose host can exist."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictStr

from schemas.addresses import host_of

CONTROLS = re.compile(r"[\x00-\x1f]")
"""The C0 controls. PostgreSQL's text has no NUL, and the others have no place in an id, a name or a note."""
_AFTER_SCHEME = (
    r"://([A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?#][!-\[\]-~]*)?$"
)
WEB_URL = rf"^[Hh][Tt][Tt][Pp][Ss]?{_AFTER_SCHEME}"
SOCKET_URL = rf"^[Ww][Ss][Ss]?{_AFTER_SCHEME}"
"""Visible ASCII, as RFC 3986 has it: a name in other letters is written as `xn--…`. No credentials."""


class Strict(BaseModel):
    """Unknown fields are refused, so that a typo is told at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Text = Annotated[StrictStr, Field(pattern=r"^[^\x00-\x1f]*$")]
"""Every string of a request body is one of these, or a literal, or has a pattern that takes less."""


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Last in the annotation of a StrictInt: 600 and 600.0 are one number in JSON Schema; "600" and true are none."""


def with_usable_host(url: str) -> str:
    """The URL. Raises InvalidUrl, a ValueError, for a host or port that no resolver can be asked for."""
    host_of(url)
    return url
