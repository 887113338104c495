"""`python -m tests.hostile.foreign_producer BOOTSTRAP TOPIC PARTITION`: what a client of another make can write.

A process of its own, since aiokafka's producer has to be bent for it: header names that are not UTF-8, between records
of the same batch that are fine; a codec that our readers lack; a transaction, and one that is aborted.
"""

from __future__ import annotations

import asyncio
import os
import re
import struct
import sys

os.environ["AIOKAFKA_NO_EXTENSIONS"] = "1"  # before aiokafka is imported: its C builder takes plain str only

import aiokafka.codec
from aiokafka import AIOKafkaProducer
from aiokafka.record import default_records


class Foreign(str):
    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


def snappy(data: bytes) -> bytes:
    """Runs of one byte compressed, the rest as it is, in the frame that Kafka's clients write."""
    length, block = len(data), b""
    while length > 127:
        block += bytes([length & 127 | 128])
        length >>= 7
    block += bytes([length])
    for found in re.finditer(rb"(.)\1{4,60}|.", data, re.DOTALL):
        run = found[0]
        block += b"\0" + run[:1]  # a literal of one byte, then as many copies of what is one byte back
        if len(run) > 1:
            block += bytes([len(run) - 2 << 2 | 2, 1, 0])
    return b"\x82SNAPPY\x00" + struct.pack(">iii", 1, 1, len(block)) + block


async def write(bootstrap: str, topic: str, partition: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=300)
    await producer.start()
    fine = [("x", b"1")]
    await asyncio.gather(
        *[
            await producer.send(
                topic, b"v%d" % n, b"foreign", partition, headers=[(Foreign("h"), b"1")] if n == 2 else fine
            )
            for n in range(5)
        ]
    )
    await producer.stop()

    aiokafka.codec.has_snappy = lambda: True
    AIOKafkaProducer._COMPRESSORS["snappy"] = (
        aiokafka.codec.has_snappy,
        default_records.DefaultRecordBatch.CODEC_SNAPPY,
    )
    default_records.snappy_encode = snappy
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type="snappy")
    await producer.start()
    await producer.send_and_wait(topic, b"z" * 500, b"foreign", partition)
    await producer.stop()

    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"of {topic}")
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(topic, b"in a transaction", b"foreign", partition)
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"in an aborted one", b"foreign", partition)
    await producer.abort_transaction()
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], sys.argv[2], int(sys.argv[3])))
