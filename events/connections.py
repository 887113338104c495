"""A connection to Kafka that has just been closed is a broken one.

uvloop raises RuntimeError when something is written to it before its end was read, where other loops raise OSError.
aiokafka expects no other (#1038): the tasks that learn where partitions are and who coordinates a group ended by it,
and their process after them, or it waited for ever beside a Kafka that was there again.
"""

from __future__ import annotations

from typing import Any

from aiokafka import conn
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


class _Connection(AIOKafkaConnection):  # type: ignore[misc]
    def send(self, request: Any, expect_response: bool = True) -> Any:
        try:
            return super().send(request, expect_response)
        except RuntimeError as closed:
            if not self._writer.is_closing():
                raise
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {closed}") from closed


def install() -> None:
    """For every client of this process."""
    conn.AIOKafkaConnection = _Connection
