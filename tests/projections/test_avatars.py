"""The avatars projection on real servers."""

from __future__ import annotations

import pytest

from events.codec import encode, new_event
from events.producer import EventProducer
from events.topics import AVATARS
from schemas.events import AvatarCreated, AvatarDeleted, AvatarEvent, AvatarFailed, AvatarReady
from schemas.ids import AVATAR, new_id
from tests.builders import HIDDEN
from tests.world import World, eventually

pytestmark = pytest.mark.servers


async def test_an_avatar_of_a_newer_version_is_parked_and_the_others_go_on(world: World) -> None:
    """As sessions are: what comes after an event that nobody could read means nothing without it."""
    await world.start("avatars")
    parked, fine = new_id(AVATAR), new_id(AVATAR)

    async with EventProducer(world.settings) as producer:

        async def say(data: AvatarEvent, **headers: bytes) -> None:
            value, known = encode(new_event(data, source="tests", subject=data.avatar_id))
            changed = [(name, headers.get(name, content)) for name, content in known]
            await producer._producer.send_and_wait(
                world.prefix + AVATARS.name, value=value, key=data.avatar_id.encode(), headers=changed
            )

        for avatar_id in (parked, fine):
            await say(AvatarCreated(avatar_id, "acct_1", HIDDEN, "avtr1", "a" * 64, None))
        await say(AvatarReady(parked, None), ce_dataschema=b"urn:greenroom:avatar.ready:9")
        for avatar_id in (parked, fine):
            await say(AvatarFailed(avatar_id, "No face was found."))

    async def there() -> bool:
        return await world.sql("SELECT status FROM avatars_v1.avatars WHERE avatar_id = %s", fine) == [("failed",)]

    await eventually(there)
    kept = "SELECT consumer, topic, session_id FROM parked WHERE consumer = 'avatars'"

    async def told() -> bool:
        return await world.sql(kept) == [("avatars", "avatars.v1", parked)]

    await eventually(told, what="the parked avatar")
    status = "SELECT status FROM avatars_v1.avatars WHERE avatar_id = %s"
    assert await world.sql(status, parked) == [("processing",)]
    async with EventProducer(world.settings) as producer:
        await producer.send(AVATARS, new_event(AvatarDeleted(parked), source="tests", subject=parked))

    async def read_on() -> bool:
        moved = "SELECT sum(next_offset) FROM checkpoints WHERE name = 'avatars'"
        return bool((await world.sql(moved))[0][0] >= 6)

    await eventually(read_on)
    assert await world.sql(status, parked) == [("processing",)]
