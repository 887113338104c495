"""NOTIFY from within a batch's transaction: delivered when it commits, and then the rows are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from store.database import Connection

_MOST_NOTIFIED = 7900
"""Bytes of one: PostgreSQL refuses 8,000, and with it the whole transaction."""


async def tell(connection: Connection, channel: str, subjects: Iterable[str]) -> None:
    """Each subject is a line: an id has no control character."""
    for payload in payloads(subjects):
        await connection.execute("SELECT pg_notify(%s, %s)", [channel, payload])


def payloads(subjects: Iterable[str]) -> Iterator[str]:
    """As few as will do. An id of the log may have any letters, and four bytes for each."""
    lines, size = list[str](), 0
    for each in subjects:
        length = len(each.encode()) + 1
        if lines and size + length > _MOST_NOTIFIED:
            yield "\n".join(lines)
            lines, size = [], 0
        lines.append(each)
        size += length
    if lines:
        yield "\n".join(lines)
