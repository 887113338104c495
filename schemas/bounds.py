"""How large and how long a field of an event may be: what keeps to it fits every column, id and sum made of it.

The fold multiplies and adds without looking: no event within these bounds makes a number that PostgreSQL's bigint
does not hold, or a text that it does not store. Counts are exact in every reader of JSON.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MOST = 2**53 - 1
MOST_SMALL = 2**31 - 2
"""One below what an `integer` column holds: a final reading is filed under the n after the last one."""
MOST_MILLI = 100_000
"""A hundred times the standard rate: the credit of all the time until LAST_MS still fits."""
ID_CHARS = 128
"""Ids are keys of indexes, whose entries PostgreSQL limits to 2,704 bytes."""

_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$(?!\n)"  # Python's $ would let one last line feed pass
_NO_NUL = r"^[^\x00]*$"

Id = Annotated[str, Meta(min_length=1, max_length=ID_CHARS, pattern=_NO_CONTROLS)]
"""An id, or a name of ours: what becomes a key."""
Line = Annotated[str, Meta(pattern=_NO_CONTROLS)]
Sentence = Annotated[str, Meta(pattern=_NO_NUL)]
"""Free text that is stored. PostgreSQL's text holds everything but NUL."""
Count = Annotated[int, Meta(ge=0, le=MOST)]
Signed = Annotated[int, Meta(ge=-MOST, le=MOST)]
Small = Annotated[int, Meta(ge=0, le=MOST_SMALL)]
Milli = Annotated[int, Meta(ge=0, le=MOST_MILLI)]
