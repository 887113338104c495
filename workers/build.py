"""`greenroom build`: portraits of `avatars.v1` become faces. Needs the `neural` extra, Kafka and the assets, no
database.

It reads its partitions from their beginning at every start, so whatever a crash left unbuilt is found again; two
builders that build the same do no harm, since the first verdict in the log counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from events.avatars import Avatar, evolve
from events.codec import Malformed, Record, Unknown, decode, new_event
from events.consumer import Batches, LogConsumer
from events.producer import EventProducer, UnknownOutcome
from events.topics import AVATARS
from faces.assets import Assets, MissingAsset
from faces.fit import Unfit, fit
from faces.portrait import BadImage
from faces.portrait import decode as decode_portrait
from schemas import events as e
from workers.settings import BuildSettings

log = structlog.get_logger()

SOURCE = "greenroom/build"
_AGAIN_S = 2.0


class Builder:
    """The `events.consumer.Handler` of `avatars.v1`. One face at a time: building takes all of a core."""

    def __init__(self, producer: EventProducer, assets: Assets) -> None:
        self._producer = producer
        self._assets = assets
        self._avatars: dict[str, Avatar] = {}
        self._next: dict[int, int] = {}
        self._wanted: dict[str, None] = {}
        self._news = asyncio.Event()

    def positions(self) -> Mapping[int, int]:
        return self._next

    async def assigned(self, partitions: frozenset[int], fresh: bool) -> Mapping[int, int]:
        self._avatars.clear()
        self._wanted.clear()
        self._next = dict.fromkeys(partitions, 0)
        return self._next

    async def drain(self) -> None:
        return

    async def handle(self, batches: Batches) -> None:
        """Follow the log. What is still processing when nothing more comes is to be built: the log has no verdict."""
        for partition, records in batches.items():
            for record in records:
                if partition in self._next and record.offset >= self._next[partition]:
                    self._next[partition] = record.offset + 1
                    self._follow(record)
        if not batches and self._wanted:
            self._news.set()

    def _follow(self, record: Record) -> None:
        try:
            event = decode(record)
        except (Malformed, Unknown) as unreadable:
            log.warning("avatar event not readable", reason=str(unreadable))
            return
        after = evolve(self._avatars.get(event.subject), event)
        if after is None:
            return
        self._avatars[event.subject] = after
        if after.status == "processing":
            self._wanted[after.avatar_id] = None
        else:
            self._wanted.pop(after.avatar_id, None)
        if after.status == "deleted":
            self._remove(after)

    def _remove(self, avatar: Avatar) -> None:
        """Said again at every start, for what a crash left behind."""
        for asset in (avatar.asset, avatar.face):
            if asset is not None:
                try:
                    self._assets.remove(asset)
                except OSError as failed:
                    log.warning("asset not removed", avatar_id=avatar.avatar_id, error=repr(failed))

    async def run(self) -> None:
        """Build what is wanted, for ever."""
        while True:
            await self._news.wait()
            avatar_id = next(iter(self._wanted), None)
            if avatar_id is None:
                self._news.clear()
                continue
            avatar = self._avatars[avatar_id]
            try:
                verdict = await asyncio.to_thread(self._build, avatar)
            except OSError as failed:  # a full disk, say: not the portrait's fault
                log.error("face not stored, tried again", avatar_id=avatar_id, error=repr(failed))
                await asyncio.sleep(_AGAIN_S)
                continue
            await self._say(avatar, verdict)

    def _build(self, avatar: Avatar) -> e.AvatarEvent:
        """In a thread. Raises OSError."""
        if avatar.runtime_type == "mock":
            return e.AvatarReady(avatar.avatar_id, face=None)
        try:
            picture = decode_portrait(self._assets.get(avatar.asset or ""))
            face = fit(picture, avatar.positions).to_bytes(avatar.avatar_id)
        except (Unfit, BadImage) as unfit:
            return e.AvatarFailed(avatar.avatar_id, str(unfit))
        except MissingAsset as missing:
            log.error("portrait missing", avatar_id=avatar.avatar_id, reason=str(missing))
            return e.AvatarFailed(avatar.avatar_id, "The uploaded portrait is gone; upload it again.")
        except Exception:
            # Whatever a picture can do to the builder is told once, instead of being tried for ever.
            log.exception("face not built", avatar_id=avatar.avatar_id)
            return e.AvatarFailed(avatar.avatar_id, "The face could not be built from this portrait; try another one.")
        return e.AvatarReady(avatar.avatar_id, self._assets.put(face))

    async def _say(self, avatar: Avatar, verdict: e.AvatarEvent) -> None:
        event = new_event(verdict, source=SOURCE, subject=avatar.avatar_id, account=avatar.account_id)
        try:
            await self._producer.send(AVATARS, event)
        except UnknownOutcome as unknown:
            log.warning("verdict not acknowledged, tried again", error=str(unknown))
            await asyncio.sleep(_AGAIN_S)
            return
        log.info("avatar built", avatar_id=avatar.avatar_id, verdict=event.type)
        self._wanted.pop(avatar.avatar_id, None)


async def serve(settings: BuildSettings) -> None:
    async with EventProducer(settings) as producer:
        builder = Builder(producer, Assets(settings.assets))
        consumer = asyncio.create_task(LogConsumer(settings, AVATARS, "build", builder).run())
        building = asyncio.create_task(builder.run())
        done, pending = await asyncio.wait([consumer, building], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()
