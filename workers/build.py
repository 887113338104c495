"""`greenroom build`: portraits of `avatars.v1` become faces. Needs the `neural` extra, Kafka and the assets, no
database.

It reads its partitions from their beginning when it gets them, so whatever a crash left unbuilt, or not removed, is
found again, and an event that it could not read is read by its next version (decision 13). Two builders that build the
same do no harm, since the first verdict in the log counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
import torch
from aiokafka.errors import KafkaError

from events.avatars import Avatar, evolve
from events.codec import Malformed, Record, Unknown, decode, new_event
from events.consumer import Batches, LogConsumer, Recoverable
from events.dead_letters import tell
from events.fold import Rejected
from events.offsets import end_offsets
from events.producer import EventProducer, UnknownOutcome
from events.topics import AVATARS
from faces.assets import Assets, MissingAsset
from faces.backdrop import behind
from faces.face import Face, Pixels
from faces.fit import Unfit, fit
from faces.nets import Missing
from faces.neural import NeuralRenderer
from faces.portrait import MOST_KEPT_BYTES, BadImage
from faces.portrait import decode as decode_portrait
from schemas.avatars import Shape
from schemas.background import until_one_ends
from schemas.events import AvatarFailed, AvatarReady
from schemas.internal_port import opened
from workers import build_metrics as metrics
from workers.playback import TICK_SAMPLES
from workers.renderers import RENDERED, format_of
from workers.settings import BuildSettings

log = structlog.get_logger()

SOURCE = "greenroom/build"
_AGAIN_S = 2.0
_SILENCE = np.zeros(TICK_SAMPLES, np.int16)

Ends = Callable[[frozenset[int]], Awaitable[Mapping[int, int]]]
"""Where these partitions end now."""


@dataclass(eq=False)
class _Partition:
    """What the log says of its avatars, and what is to be done about it once all is known up to `end`."""

    end: int
    next: int = 0
    avatars: dict[str, Avatar] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    wanted: dict[str, None] = field(default_factory=dict)
    """To be built: nothing in the log says how that went."""
    useless: dict[str, set[str]] = field(default_factory=dict)
    """Avatar → faces that are not its own. Of one that is failed or deleted nothing is needed."""

    @property
    def known(self) -> bool:
        return self.next >= self.end

    def follow(self, record: Record) -> None:
        """Raises Malformed: it is passed all the same."""
        self.next = record.offset + 1
        try:
            event = decode(record)
        except Unknown as unknown:
            self._leave_alone((record.key or b"").decode(errors="replace"), str(unknown))
            return
        avatar_id, data = event.subject, event.data
        if avatar_id in self.unreadable:
            return
        before = self.avatars.get(avatar_id)
        outcome = evolve(before, event, record.timestamp)
        if isinstance(outcome, Rejected):
            if before is not None and isinstance(data, AvatarReady) and data.face not in (None, before.face):
                self.useless.setdefault(avatar_id, set()).add(data.face)  # a verdict that came too late
            return
        after = self.avatars[avatar_id] = outcome.state
        self.wanted.pop(avatar_id, None)
        if after.status == "processing":
            self.wanted[avatar_id] = None
        elif after.status in ("failed", "deleted"):
            self.useless.setdefault(avatar_id, set())

    def _leave_alone(self, avatar_id: str, reason: str) -> None:
        """Whatever a newer version has said of it, it may be a reason not to build or not to remove."""
        log.error("avatar of a newer version, neither built nor removed", avatar_id=avatar_id, reason=reason)
        self.unreadable.add(avatar_id)
        self.wanted.pop(avatar_id, None)
        self.useless.pop(avatar_id, None)


class Builder:
    """The `events.consumer.Handler` of `avatars.v1`. One face at a time: building takes all of a core."""

    def __init__(self, producer: EventProducer, assets: Assets, ends: Ends) -> None:
        self._producer = producer
        self._assets = assets
        self._ends = ends
        self._renderer = NeuralRenderer(device="cpu")
        self._mine: dict[int, _Partition] = {}
        self._news = asyncio.Event()
        metrics.WAITING.set_function(lambda: sum(len(partition.wanted) for partition in self._mine.values()))

    def positions(self) -> Mapping[int, int]:
        return {number: partition.next for number, partition in self._mine.items()}

    async def assigned(self, partitions: frozenset[int], fresh: bool) -> Mapping[int, int]:
        """What is known of partitions that stay is still true: the log never changes."""
        gained = partitions - self._mine.keys()
        try:
            ends = await self._ends(gained) if gained else {}
        except (KafkaError, TimeoutError) as failed:
            raise Recoverable(f"the ends of the log are not known: {failed!r}") from failed
        self._mine = {number: self._mine.get(number) or _Partition(ends[number]) for number in partitions}
        return self.positions()

    async def drain(self) -> None:
        return

    def saw(self, ends: Mapping[int, int], heard_s: float) -> None:
        """What waits is known by itself."""

    async def handle(self, batches: Batches) -> None:
        tell("build", [each for number, records in batches.items() for each in self._follow(number, records)])
        if any(partition.known and (partition.wanted or partition.useless) for partition in self._mine.values()):
            self._news.set()

    def _follow(self, number: int, records: Sequence[Record]) -> Iterator[tuple[Record, str]]:
        """Yields what can never be read, and why."""
        partition = self._mine.get(number)
        for record in records:
            if partition is None or record.offset < partition.next:
                continue
            try:
                partition.follow(record)
            except Malformed as wrong:
                yield record, str(wrong)

    async def run(self) -> None:
        """Do what is to be done, for ever. Removing comes first: it takes no time."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._remove_useless()
            while (found := self._next()) is not None:
                await self._build_one(*found)
                await self._remove_useless()

    def _next(self) -> tuple[_Partition, Avatar] | None:
        for partition in self._mine.values():
            if partition.known and partition.wanted:
                return partition, partition.avatars[next(iter(partition.wanted))]
        return None

    # Removing

    async def _remove_useless(self) -> None:
        for partition in list(self._mine.values()):
            if partition.known and partition.useless:
                useless, partition.useless = partition.useless, {}
                found = [(partition.avatars[avatar_id], faces) for avatar_id, faces in useless.items()]
                await asyncio.to_thread(self._remove, found)

    def _remove(self, found: list[tuple[Avatar, set[str]]]) -> None:
        """In a thread. Said again at every start, for what a crash left behind."""
        for avatar, faces in found:
            try:
                if avatar.status in ("failed", "deleted"):
                    self._assets.remove_owned(avatar.avatar_id)
                    self._assets.remove(avatar.asset or "")
                    self._assets.remove(avatar.face or "")
                    self._assets.remove((avatar.background and avatar.background.asset) or "")
                for name in faces - {avatar.face}:
                    self._assets.remove(name)
            except OSError as failed:
                log.warning("assets not removed", avatar_id=avatar.avatar_id, error=repr(failed))

    # Building

    async def _build_one(self, partition: _Partition, avatar: Avatar) -> None:
        """If the process dies in here, the face may be stored without a verdict in the log: it is built anew then,
        or, when the avatar was deleted meanwhile, removed by its owner's name."""
        avatar_id = avatar.avatar_id
        began = time.perf_counter()
        try:
            verdict = await asyncio.to_thread(self._build, avatar)
            metrics.BUILD_SECONDS.observe(time.perf_counter() - began)
            if avatar_id in partition.wanted and self._holds(partition):
                await self._say(partition, avatar, verdict)
            elif avatar_id not in partition.unreadable:  # deleted while it was built, say
                partition.useless.setdefault(avatar_id, set()).update(_face(verdict))
        except (
            OSError,
            MemoryError,
            Missing,
            UnknownOutcome,
        ) as failed:  # not the portrait's fault; others may have more luck
            metrics.HINDERED.inc()
            log.error("avatar not built, tried again", avatar_id=avatar_id, error=repr(failed))
            if avatar_id in partition.wanted:
                del partition.wanted[avatar_id]
                partition.wanted[avatar_id] = None
            await asyncio.sleep(_AGAIN_S)

    def _holds(self, partition: _Partition) -> bool:
        return any(partition is mine for mine in self._mine.values())

    def _build(self, avatar: Avatar) -> AvatarReady | AvatarFailed:
        """In a thread. Raises OSError, MemoryError, Missing."""
        if avatar.runtime_type == "mock":
            return AvatarReady(avatar.avatar_id, face=None)
        try:
            face = self._face(avatar).to_bytes(avatar.avatar_id)
            open_as_sessions_do(self._renderer, face)
        except (Unfit, BadImage) as unfit:
            return AvatarFailed(avatar.avatar_id, str(unfit))
        except MissingAsset as missing:
            log.error("portrait missing", avatar_id=avatar.avatar_id, reason=str(missing))
            return AvatarFailed(avatar.avatar_id, "The uploaded portrait is gone; upload it again.")
        except (MemoryError, Missing):
            raise
        except Exception:
            # Whatever a picture can do to the builder is told once, instead of being tried for ever.
            log.exception("face not built", avatar_id=avatar.avatar_id)
            return AvatarFailed(avatar.avatar_id, "The face could not be built from this portrait; try another one.")
        return AvatarReady(avatar.avatar_id, self._assets.put(face, avatar.avatar_id))

    def _face(self, avatar: Avatar) -> Face:
        """Of the log and the assets alone, so the same whenever it is built."""
        face = fit(self._picture(avatar.asset), avatar.positions, avatar.shape)
        if avatar.background is None:
            return face
        image = self._picture(avatar.background.asset) if avatar.background.kind == "image" else None
        return behind(face, avatar.background, image)

    def _picture(self, asset: str | None) -> Pixels:
        return decode_portrait(self._assets.get(asset or ""), MOST_KEPT_BYTES)

    async def _say(self, partition: _Partition, avatar: Avatar, verdict: AvatarReady | AvatarFailed) -> None:
        """Raises UnknownOutcome. Not wanted any more before it is read back: else it would be built once more."""
        event = new_event(verdict, source=SOURCE, subject=avatar.avatar_id, account=avatar.account_id)
        await self._producer.send(AVATARS, event)
        metrics.BUILT.labels("ready" if isinstance(verdict, AvatarReady) else "failed").inc()
        log.info("avatar built", avatar_id=avatar.avatar_id, verdict=event.type)
        partition.wanted.pop(avatar.avatar_id, None)


def _face(verdict: AvatarReady | AvatarFailed) -> set[str]:
    return {verdict.face} if isinstance(verdict, AvatarReady) and verdict.face is not None else set()


def open_as_sessions_do(renderer: NeuralRenderer, face: bytes) -> None:
    """In each quality, and one frame drawn. Raises whatever a session would meet."""
    loaded = renderer.load("", face)
    shape: Shape = "square" if loaded.below is None else "portrait"
    for quality in RENDERED:
        stream = renderer.open(loaded, format_of(quality, shape).width, seed=0)
        stream.rest()
        for _ in range(2):  # the first tick fills the lookahead
            stream.push(_SILENCE)
            renderer.step([stream])


async def serve(settings: BuildSettings) -> None:
    torch.set_num_threads(1)

    async def ends(partitions: frozenset[int]) -> Mapping[int, int]:
        return await end_offsets(settings, AVATARS, partitions)

    async with EventProducer(settings) as producer:
        builder = Builder(producer, Assets(settings.assets), ends)
        consumer = LogConsumer(settings, AVATARS, "build", builder)

        async def ready() -> list[str]:
            return [] if consumer.joined else ["it has not been given its partitions"]

        async with opened("build", settings.metrics_host, settings.build_metrics_port, ready, metrics.TOLD):
            await until_one_ends(consumer.run(), builder.run())
