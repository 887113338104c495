"""A topic read from its beginning to where it ended when it was opened, partition by partition. It reads only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka.errors import KafkaError

from events.codec import Record
from events.consumer import LogGap, Stuck
from events.reader import LogReader
from events.settings import LogSettings
from events.topics import Topic


class CannotRead(Exception):
    """The log, or what was made of it, cannot be read in full. The message says what to do."""


class WholeTopic:
    """`ends`: partition → the offset after its last record, when it was opened."""

    def __init__(self, reader: LogReader, ends: dict[int, int]) -> None:
        self.ends = ends
        self._reader = reader

    async def partition(self, number: int) -> AsyncIterator[Sequence[Record]]:
        """Its records in order, some at a time. One partition after the other. Raises CannotRead."""
        try:
            async for records in self._reader.read(number, 0, self.ends[number]):
                if records:
                    yield records
        except (LogGap, Stuck) as failed:
            raise CannotRead(str(failed)) from failed
        except (KafkaError, TimeoutError) as failed:
            raise CannotRead(f"partition {number} of the log cannot be read: {failed!r}") from failed


@asynccontextmanager
async def opened(settings: LogSettings, topic: Topic) -> AsyncIterator[WholeTopic]:
    """Raises CannotRead: Kafka is away, or the log does not begin at offset 0."""
    async with AsyncExitStack() as stack:
        try:
            reader = await stack.enter_async_context(LogReader(settings, topic))
            begins, ends = await reader.begins(), await reader.ends()
        except (KafkaError, TimeoutError) as failed:
            raise CannotRead("Kafka cannot be reached; start it and try again.") from failed
        if cut := [partition for partition, begin in begins.items() if begin > 0]:
            raise CannotRead(f"the log is incomplete: partitions {cut} of {topic.name} do not begin at offset 0.")
        yield WholeTopic(reader, ends)
