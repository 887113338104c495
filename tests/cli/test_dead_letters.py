"""`greenroom dead-letters` as an operator types them, of what a usage projection has copied."""

from __future__ import annotations

import pytest

from events.topics import DEAD_LETTERS, SESSIONS, partition_of
from tests.cli.test_admin import greenroom
from tests.hostile.test_log import Raw, write
from tests.world import World, eventually

pytestmark = pytest.mark.servers

KEY = b"\x1b]0;owned\x07"
BROKEN: list[Raw] = [
    (KEY, b"\x1b[2J\x1b[31mpay me", [("ce_type\x1b[8m", b"\x9b\x00\xff")], partition_of(KEY)),
    (None, b"second", [], 3),
]


async def test_what_was_copied_is_listed_and_shown(world: World) -> None:
    await world.start("usage")
    await write(world, SESSIONS, BROKEN)

    async def copied() -> bool:
        return len(await world.records(DEAD_LETTERS)) == 2

    await eventually(copied, what="two copies")
    code, said, _ = await greenroom(world, "dead-letters", "list")
    assert code == 0
    assert said.count(f"{world.prefix}{SESSIONS.name}") == 2
    assert said.count("the key is no session id") == said.count("no ce_subject") == 1
    code, latest, complained = await greenroom(world, "dead-letters", "list", "--limit", "1")
    assert latest.count(f"{world.prefix}{SESSIONS.name}") == 1
    assert "1 older ones are not shown" in complained
    pages = [(await greenroom(world, "dead-letters", "show", str(n)))[1] for n in (0, 1)]
    hostile = next(page for page in pages if "pay me" in page)
    assert r"\x1b[2J\x1b[31mpay me" in hostile
    assert "9b 00 ff" in hostile
    for page in (said, *pages):
        assert all(line.isprintable() for line in page.split("\n"))
    code, _, complained = await greenroom(world, "dead-letters", "show", "99")
    assert (code, "is not in the log" in " ".join(complained.split())) == (1, True)
