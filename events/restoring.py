"""Topics from an archive, with the offsets and the times that their records had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from events import topics
from events.archive import TOPICS, ArchivedTopic, Manifest, read_manifest, verify
from events.producer import EventProducer
from events.reader import LogReader
from events.settings import LogSettings
from events.topics import Topic

_ACKNOWLEDGED_WITHIN_S = 60.0

Progress = Callable[[int, int], None]


class Refused(Exception):
    """Nothing was written."""


class NotRestored(Exception):
    """What was written is not what the archive holds: the topics are to be deleted, and restored again."""


async def restore(settings: LogSettings, folder: Path, replication: int, progress: Progress) -> int:
    """Fill the empty topics of `settings` from the archive; returns how many records there are now.

    If the process dies in here the topics hold a part of it: the next call refuses, until they are deleted. Raises
    Damaged, Refused, NotRestored, UnknownOutcome, TimesNotKept, TopicError, KafkaError, TimeoutError.
    """
    manifest = read_manifest(folder)
    verify(folder, manifest, progress)
    _refuse_parts(manifest)
    await topics.apply(settings.kafka_bootstrap, settings.topic_prefix, replication)
    for topic in TOPICS:
        await _refuse_filled(settings, topic)
    await topics.keep_times(settings.kafka_bootstrap, settings.topic_prefix, TOPICS)
    total, done = sum(file.end - file.begin for file in manifest.files), 0
    try:
        async with EventProducer(settings) as producer:
            for topic in TOPICS:
                archived = ArchivedTopic(folder, manifest, topic)
                for partition, end in (await archived.ends()).items():
                    async for records in archived.read(partition, 0, end):
                        first = await producer.send_as_they_were(topic, partition, records, _ACKNOWLEDGED_WITHIN_S)
                        if first != records[0].offset:
                            raise NotRestored(f"Somebody else writes to {topic.name}: delete it, and restore again.")
                        progress(done := done + len(records), total)
                await _check_ends(settings, topic, await archived.ends())
    finally:
        await topics.apply(settings.kafka_bootstrap, settings.topic_prefix, replication)
    return total


def _refuse_parts(manifest: Manifest) -> None:
    for topic in TOPICS:
        for partition in range(topic.partitions):
            files = manifest.of(topic, partition)
            if files and files[0].begin:
                place = f"offset {files[0].begin} of partition {partition} of {topic.name}"
                raise Refused(f"The archive begins at {place}: only a whole log can be restored.")


async def _refuse_filled(settings: LogSettings, topic: Topic) -> None:
    async with LogReader(settings, topic) as log:
        if any((await log.ends()).values()):
            raise Refused(f"{settings.topic_prefix}{topic.name} holds records, or did; restore to a cluster without.")


async def _check_ends(settings: LogSettings, topic: Topic, wanted: dict[int, int]) -> None:
    async with LogReader(settings, topic) as log:
        if await log.ends() != wanted:
            raise NotRestored(f"{topic.name} does not end where the archive does: delete it, and restore again.")
