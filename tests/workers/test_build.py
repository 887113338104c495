"""The builder, a real process on a real log: what it builds, removes, and leaves alone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio

from events import metrics
from events.codec import decode, encode, new_event
from events.producer import EventProducer
from events.topics import AVATARS
from faces.assets import Assets
from faces.face import Face
from faces.fit import fit
from faces.neural import NeuralRenderer
from faces.portrait import normalise
from schemas.avatars import Background
from schemas.events import AvatarCreated, AvatarDeleted, AvatarEvent, AvatarFailed, AvatarReady
from schemas.ids import AVATAR, new_id
from tests import portraits
from tests.builders import HIDDEN, record
from tests.world import World, eventually, stored
from workers.build import Builder, open_as_sessions_do

pytestmark = pytest.mark.servers

PORTRAIT = portraits.file(portraits.drawn())
NOISE = portraits.file(portraits.noise())


class Workshop:
    """The log and the assets of a builder."""

    def __init__(self, world: World, producer: EventProducer) -> None:
        self.world = world
        self.assets = Assets(world.folder / "assets")
        self.producer = producer

    async def say(self, *data: AvatarEvent) -> None:
        for each in data:
            await self.producer.send(AVATARS, new_event(each, source="tests", subject=each.avatar_id))

    async def upload(self, picture: bytes = PORTRAIT, avatar_id: str | None = None) -> str:
        avatar_id = avatar_id or new_id(AVATAR)
        asset = self.assets.put(normalise(picture, avatar_id)[0], avatar_id)
        await self.say(AvatarCreated(avatar_id, "acct_1", HIDDEN, "avtr1", asset, None))
        return avatar_id

    async def verdicts(self, avatar_id: str) -> list[AvatarReady | AvatarFailed]:
        records = [each for each in await self.world.records(AVATARS) if each.key == avatar_id.encode()]
        verdicts = [each for each in records if dict(each.headers)["ce_type"] in (b"avatar.ready", b"avatar.failed")]
        return [decode(each).data for each in verdicts]  # type: ignore[misc]

    async def verdict(self, avatar_id: str) -> AvatarReady | AvatarFailed:
        async def there() -> list[AvatarReady | AvatarFailed]:
            return await self.verdicts(avatar_id)

        return (await eventually(there, timeout_s=120, what="a verdict"))[0]

    def stored(self) -> set[str]:
        return set(stored(self.world))

    async def gone(self, *names: str) -> None:
        async def absent() -> bool:
            return not self.stored() & set(names)

        await eventually(absent, what=f"the removal of {names}")


@pytest_asyncio.fixture(scope="module")
async def shop(world: World) -> AsyncIterator[Workshop]:
    async with EventProducer(world.settings) as producer:
        yield Workshop(world, producer)


async def test_what_a_crash_left_behind_is_removed_and_nothing_is_built_twice(shop: Workshop) -> None:
    """A builder died between storing a face and saying so; then its avatar was deleted. Others have their verdicts."""
    deleted, orphan = await shop.upload(), b"a face that no event names"
    lost = shop.assets.put(orphan, deleted)
    await shop.say(AvatarDeleted(deleted))
    done = [new_id(AVATAR) for _ in range(1200)]
    for avatar_id in done:
        created = AvatarCreated(avatar_id, "acct_1", HIDDEN, "avtr1", "a" * 64, None)
        await asyncio.gather(shop.say(created), shop.say(AvatarReady(avatar_id, "f" * 64)))
    wanted = await shop.upload()
    await shop.world.start("build")
    assert isinstance(await shop.verdict(wanted), AvatarReady)
    await shop.gone(lost)
    by_builder = [event for event, _ in await shop.world.log(topic=AVATARS) if event.source == "greenroom/build"]
    assert [event.subject for event in by_builder] == [wanted]


async def test_shape_and_background_are_built_into_the_face_and_go_with_it(shop: Workshop) -> None:
    """All that is needed is in the log and the assets; of an avatar that is deleted nothing stays."""
    if "build" not in shop.world.processes:
        await shop.world.start("build")
    ids = [new_id(AVATAR) for _ in range(2)]
    wall = normalise(portraits.file(portraits.noise(300, 900)), ids[0])[0]
    for avatar_id in ids:
        asset = shop.assets.put(normalise(portraits.file(portraits.hopper()), avatar_id)[0], avatar_id)
        image = shop.assets.put(wall, avatar_id) if avatar_id == ids[0] else "0" * 64
        behind = Background("image", asset=image)
        await shop.say(AvatarCreated(avatar_id, "acct_1", HIDDEN, "avtr1", asset, None, "portrait", behind))
    ready, failed = [await shop.verdict(avatar_id) for avatar_id in ids]
    assert isinstance(ready, AvatarReady)
    assert isinstance(failed, AvatarFailed)
    assert "upload it again" in failed.reason
    assert ready.face is not None
    face = Face.from_bytes(shop.assets.get(ready.face))
    assert face.below is not None
    assert face.backdrop is not None
    assert face.backdrop.std() > 40
    await shop.say(AvatarDeleted(ids[0]))
    await shop.gone(ready.face, *(path.name for path in (shop.world.folder / "assets" / "owners" / ids[0]).iterdir()))


async def test_news_all_the_time_do_not_keep_it_from_building(shop: Workshop) -> None:
    """A builder of this process, whose log is never at rest: there is something new in each poll."""

    async def ends(partitions: frozenset[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 3)

    builder = Builder(shop.producer, shop.assets, ends)
    await builder.assigned(frozenset({0}), fresh=True)
    avatar_id = new_id(AVATAR)
    asset = shop.assets.put(normalise(PORTRAIT, avatar_id)[0], avatar_id)
    first: AvatarEvent = AvatarCreated(avatar_id, "acct_1", HIDDEN, "avtr1", asset, None)
    building = asyncio.create_task(builder.run())
    verdict = asyncio.create_task(shop.verdict(avatar_id))
    try:
        for offset in itertools.count():
            data = first if offset == 0 else AvatarDeleted(new_id(AVATAR))
            await builder.handle({0: [record(new_event(data, source="tests", subject=data.avatar_id), offset)]})
            if offset < 2:
                assert not builder._news.is_set()  # it has not read yet what the log held when it began
            if (await asyncio.wait([verdict], timeout=0.02))[0]:
                break
        assert isinstance(await verdict, AvatarReady)
    finally:
        building.cancel()
        await asyncio.gather(building, return_exceptions=True)


async def test_what_can_never_be_read_is_counted_and_passed(shop: Workshop) -> None:
    async def ends(partitions: frozenset[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 3)

    builder = Builder(shop.producer, shop.assets, ends)
    await builder.assigned(frozenset({0}), fresh=True)
    events = [new_event(AvatarDeleted(avatar), source="tests", subject=avatar) for avatar in ("av_1", "av_2")]
    good, broken = (record(event, offset) for offset, event in enumerate(events))
    counted = metrics.MALFORMED.labels("build")
    before = counted._value.get()
    await builder.handle({0: [good, replace(broken, value=b"no JSON")]})
    assert counted._value.get() == before + 1
    assert builder.positions() == {0: 2}


async def test_a_deletion_while_it_builds_leaves_nothing(shop: Workshop) -> None:
    before = shop.stored()
    deleted = [await shop.upload() for _ in range(4)]

    async def one_is_built() -> bool:
        return any([await shop.verdicts(avatar_id) for avatar_id in deleted])

    await eventually(one_is_built, timeout_s=120, what="the first face")  # and by now it is at the next
    await shop.say(*(AvatarDeleted(avatar_id) for avatar_id in deleted))
    after = await shop.verdict(await shop.upload())
    assert isinstance(after, AvatarReady)

    async def left() -> bool:
        more = shop.stored() - before
        return len(more) == 2 and after.face in more

    await eventually(left, what="portrait and face of the last alone")


async def test_a_verdict_that_came_too_late_takes_its_face_with_it(shop: Workshop) -> None:
    avatar_id = await shop.upload()
    first = await shop.verdict(avatar_id)
    assert isinstance(first, AvatarReady)
    assert first.face is not None
    late = shop.assets.put(b"the same face by another builder", avatar_id)
    await shop.say(AvatarReady(avatar_id, late), AvatarReady(avatar_id, first.face))
    await shop.gone(late)
    assert first.face in shop.stored()


async def test_the_portrait_of_a_failed_avatar_is_removed(shop: Workshop) -> None:
    before = shop.stored()
    assert isinstance(await shop.verdict(await shop.upload(NOISE)), AvatarFailed)

    async def as_before() -> bool:
        return shop.stored() == before

    await eventually(as_before, what="the removal of its portrait")


async def test_what_it_cannot_read_it_leaves_alone(shop: Workshop) -> None:
    """A newer version said something of the avatar: neither a build nor a removal may contradict it."""
    before = shop.stored()
    avatar_id = new_id(AVATAR)
    value, headers = encode(new_event(AvatarDeleted(avatar_id), source="tests", subject=avatar_id))
    newer = {"ce_type": b"avatar.moved", "ce_dataschema": b"urn:greenroom:avatar.moved:1"}
    headers = [(name, newer.get(name, content)) for name, content in headers]
    await shop.producer._producer.send_and_wait(
        shop.world.prefix + AVATARS.name, value=value, key=avatar_id.encode(), headers=headers
    )
    await shop.upload(avatar_id=avatar_id)
    await shop.say(AvatarDeleted(avatar_id))
    other = await shop.verdict(await shop.upload())
    assert isinstance(other, AvatarReady)
    assert await shop.verdicts(avatar_id) == []
    assert len(shop.stored() - before) == 3  # its portrait, and the other's portrait and face


async def test_a_portrait_that_becomes_larger_than_an_upload_is_read(shop: Workshop) -> None:
    """PNG loses nothing: of 4 MB of grainy JPEG become 12 MB, and the builder judges the picture, not its size."""
    picture = portraits.file(portraits.noise(2048, 2048), "JPEG", quality=90)
    verdict = await shop.verdict(await shop.upload(picture))
    assert isinstance(verdict, AvatarFailed)
    assert verdict.reason.startswith("No face")


async def test_a_face_that_no_session_could_open_is_told_before_it_is_ready() -> None:
    renderer = NeuralRenderer(device="cpu")
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is, it becomes avatar.failed
        open_as_sessions_do(renderer, portraits.undrawable().to_bytes("av_1"))
    open_as_sessions_do(renderer, fit(np.asarray(portraits.drawn())).to_bytes("av_1"))


async def test_partitions_move_between_builders(shop: Workshop) -> None:
    await shop.world.start("build-2")
    uploads = [await shop.upload() for _ in range(2)]
    await shop.world.kill("build-2")
    uploads.append(await shop.upload())
    for avatar_id in uploads:
        assert isinstance(await shop.verdict(avatar_id), AvatarReady)
        faces = {verdict.face for verdict in await shop.verdicts(avatar_id) if isinstance(verdict, AvatarReady)}
        assert len(faces) == 1  # built twice, it is the same one
        assert faces <= shop.stored()
