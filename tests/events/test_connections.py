"""Connections to Kafka that break while something is sent."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from aiokafka import conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

import events

pytestmark = pytest.mark.unit

assert events  # what is imported is mended


def test_what_is_sent_when_uvloop_has_just_closed_it_finds_it_broken() -> None:
    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def sent() -> None:
        server = await asyncio.start_server(broker, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        closed: list[conn.CloseReason] = []
        connection = conn.AIOKafkaConnection("127.0.0.1", port, on_close=lambda _, reason: closed.append(reason))
        connection._reader, writer = await asyncio.open_connection("127.0.0.1", port)
        connection._writer = writer
        connection._read_task = asyncio.Future()  # it has not come to reading the end
        try:
            connection._versions = {MetadataRequest.API_KEY: (98, 99)}
            with pytest.raises(NotImplementedError):  # which is a RuntimeError, too, and no connection's
                connection.send(MetadataRequest([]))
            connection._versions = {MetadataRequest.API_KEY: (0, 1)}
            writer.transport.abort()
            await asyncio.wait_for(writer.wait_closed(), 10)
            with pytest.raises(KafkaConnectionError, match="broken"):
                connection.send(MetadataRequest([]))
            assert closed == [conn.CloseReason.CONNECTION_BROKEN]
            assert not connection.connected()
        finally:  # uvloop waits for ever to close a loop whose server is open
            connection.close()
            server.close()
            await asyncio.wait_for(server.wait_closed(), 10)

    uvloop.run(sent())
