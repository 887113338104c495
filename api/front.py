"""The front: HTTP/1.1 with a bound on everything that a stranger can make us keep or wait for.

uvicorn's protocol limits neither URL nor headers nor time, and queues pipelined requests without end. This one
- counts what the parser keeps, and answers 414, 431 or 400 in our own form as soon as it is too much;
- gives a head and a body a time of their own, whatever drips in meanwhile, and an answer a time to be fetched;
- works on one request of a connection at a time: what is sent before the answer is not read, and the answer closes;
- when all connections are taken, closes those that have been longest without a whole request. A slow sender never keeps
  a fast one out: it would take a thousand newer connections in the milliseconds that an honest request needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from heapq import nsmallest
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.errors import ApiError, HeadersTooLarge, HttpMalformed, Overloaded, RequestTimeout, UrlTooLong, respond
from schemas.ids import REQUEST, new_id

MAX_URL = 8 * 1024
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
KEEP_ALIVE_S = 20
"""Longer than the pools of clients keep an idle connection, so that they close first."""
_MAX_UNSEEN = 48 * 1024
"""Bytes of a head, or between two parts of a body (chunk extensions, trailers), that the parser may eat unshown."""
_PIECE = 64 * 1024
_LINGER_S = 2.0
"""How long we go on reading for nothing after a refusal: a close with unread bytes could take the answer back."""
_DRAIN_S = 5.0
"""How long the rest of a body may come that nobody wants any more."""
_FETCH_S = 30.0
"""How long the client may leave an answer lying."""


@dataclass(frozen=True)
class Limits:
    connections: int
    head_s: float
    body_s: float


class _Reading(Enum):
    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class _Early(Exception):
    """A request that was sent before the answer to the one before."""


class Front(HttpToolsProtocol):
    """One connection. `since`: when it was made, began a request or got an answer."""

    limits: Limits

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.since = 0.0
        self._reading = self._watched = _Reading.NOTHING
        self._unseen = self._header_bytes = 0
        self._deaf = False
        self._alarm: asyncio.TimerHandle | None = None
        self._fetching: asyncio.TimerHandle | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = self.loop.time()
        if len(self.connections) > self.limits.connections and not self._make_room():
            self._refuse(Overloaded())
        else:
            self._set_alarm(self.limits.head_s, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_alarm()
        if self._fetching is not None:
            self._fetching.cancel()
        super().connection_lost(exc)

    def _make_room(self) -> bool:
        fronts = (each for each in self.connections if isinstance(each, Front) and each is not self)
        without = [each for each in fronts if not each._busy or each._reading is _Reading.BODY]
        for each in nsmallest(1 + self.limits.connections // 16, without, key=lambda each: each.since):
            self.connections.discard(each)
            each.transport.abort()
        return bool(without)

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # What comes in

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            for piece in _pieces(data):
                self._unseen += len(piece)
                self.parser.feed_data(piece)
                if self._unseen > _MAX_UNSEEN:
                    raise HeadersTooLarge if self._reading is _Reading.HEAD else HttpMalformed
        except HttpParserUpgrade:
            self._last_request()  # it is answered as if it had not asked to speak something else
        except HttpParserError as failed:
            why = failed.__context__
            if isinstance(why, _Early):
                self._last_request()
            else:
                self._refuse(why if isinstance(why, ApiError) else HttpMalformed())
        except ApiError as refused:
            self._refuse(refused)
        if self._watched is not self._reading and not self._deaf:
            self._watched = self._reading
            self._watch()

    def _watch(self) -> None:
        self._clear_alarm()
        if self._reading is not _Reading.NOTHING:
            seconds = self.limits.head_s if self._reading is _Reading.HEAD else self.limits.body_s
            self._set_alarm(seconds, lambda: self._refuse(RequestTimeout()))

    def on_message_begin(self) -> None:
        if self._busy:
            raise _Early
        self._clear_alarm()
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self.since = self.loop.time()
        self._reading, self._watched = _Reading.HEAD, _Reading.NOTHING
        self._unseen = self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL:
            raise UrlTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is not _Reading.HEAD:
            return  # a trailer: uvicorn would add it to the headers of a request that is already being worked on
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES or len(self.headers) >= MAX_HEADERS:
            raise HeadersTooLarge
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.tasks) >= 2 * self.limits.connections:  # the clients of as many have left before their answer
            raise Overloaded
        if self.parser.should_upgrade() and any(
            name in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        ):
            raise HttpMalformed("A request that asks for another protocol cannot have a body here: leave Upgrade out.")
        super().on_headers_complete()
        self._reading, self._unseen = _Reading.BODY, 0
        if self.expect_100_continue:
            # Answered without a 100, the client may send the body or leave it: only a new connection is unambiguous.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._unseen = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._reading, self._unseen = _Reading.NOTHING, 0
        super().on_message_complete()

    # What goes out

    def on_response_complete(self) -> None:
        self.cycle.body = bytearray()
        self.since = self.loop.time()
        super().on_response_complete()
        if self.transport.is_closing():
            self._set_alarm(_FETCH_S, self.transport.abort)
        elif self._reading is _Reading.BODY:
            self._set_alarm(_DRAIN_S, self._close)

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._fetching = self.loop.call_later(_FETCH_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._fetching is not None:
            self._fetching.cancel()

    def _refuse(self, error: ApiError) -> None:
        """Answer, unless an answer is under way already, and close."""
        self._last_request()
        if self._reading is _Reading.BODY and self.cycle.response_started:
            if self.cycle.response_complete:
                self._close()
            return
        if self._reading is _Reading.BODY:  # the application learns that nobody waits for it any more
            self.cycle.disconnected, self.cycle.waiting_for_100_continue = True, False
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self.transport.write(self._answer(error))
        self.transport.write_eof()
        self._set_alarm(_LINGER_S, self.transport.abort)

    def _answer(self, error: ApiError) -> bytes:
        request_id = new_id(REQUEST)
        answer = respond(error, request_id)
        fields = [*self.server_state.default_headers, *answer.raw_headers, (b"x-request-id", request_id.encode())]
        lines = [name + b": " + value + b"\r\n" for name, value in [*fields, (b"connection", b"close")]]
        return b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)])

    def _last_request(self) -> None:
        """Nothing more is parsed of this connection."""
        self._deaf = True
        self._clear_alarm()
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _close(self) -> None:
        self.transport.close()
        self._set_alarm(_FETCH_S, self.transport.abort)

    def _set_alarm(self, seconds: float, then: Callable[[], None]) -> None:
        self._clear_alarm()
        self._alarm = self.loop.call_later(seconds, then)

    def _clear_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def _pieces(data: bytes) -> Iterator[bytes]:
    if len(data) <= _PIECE:
        yield data
    else:
        for start in range(0, len(data), _PIECE):
            yield data[start : start + _PIECE]


def bounded_by(limits: Limits) -> type[Front]:
    """The class that uvicorn makes one of per connection."""
    return type("Front", (Front,), {"limits": limits})
