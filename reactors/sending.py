"""One attempt of one delivery: signed, to an address that was checked, over a connection of its own."""

from __future__ import annotations

import asyncio
import errno
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import h11
import httpx
import structlog
from standardwebhooks.webhooks import Webhook

from events.sealing import Keyring, SealError
from reactors.outbound import ConnectError, Exchange, ReadError, connected
from schemas.addresses import InvalidUrl, UnsafeAddress
from store.deliveries import Attempt, Due, retry_after_s
from store.resolving import ResolverAway, Unresolvable, WebhookHosts

log = structlog.get_logger()

TIMEOUT_S = 15.0
_ANSWER_WITHIN_S = 3.0
_ANSWER_READ = 64 * 1024
_ANSWER_KEPT = 2048
_MOST_ADDRESSES = 3
_STOOD_STILL_S = 1.0
_EXPECTED = (ConnectError, ReadError, h11.RemoteProtocolError, TimeoutError)
_OUR_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})


class Hindered(Exception):
    """Something of ours failed before the receiver had its chance: no attempt of its."""


@dataclass
class _Answer:
    """What is known of it so far: a status that came counts, whatever becomes of the rest."""

    status: int | None = None
    retry_after_s: int | None = None
    text: str | None = None


class Sender:
    """Sends as docs/reference/webhooks.md says. Nothing is kept between attempts: docs/decisions/0010."""

    def __init__(self, keyring: Keyring, hosts: WebhookHosts) -> None:
        self._keyring = keyring
        self._hosts = hosts
        self._tls = httpx.create_ssl_context(trust_env=False)  # reads all root certificates: once

    async def attempt(self, due: Due) -> Attempt:
        """Raises Hindered. Whatever else goes wrong is an attempt, so that no delivery lives for ever."""
        at, began = datetime.now(UTC), time.monotonic()
        answer, error = _Answer(), None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._send(due, at, answer)
        except Hindered:
            raise
        except ResolverAway as away:
            raise Hindered(f"name servers: {away}") from None
        except (InvalidUrl, UnsafeAddress, Unresolvable) as refused:
            error = f"URL {refused}" if isinstance(refused, InvalidUrl) else str(refused)
        except Exception as failed:
            if answer.status is None:
                _look_for_our_own(failed, time.monotonic() - began)
                error = type(failed).__name__
            if not isinstance(failed, _EXPECTED):
                log.exception("unexpected failure of an attempt", delivery=due.id)
        latency_ms = round((time.monotonic() - began) * 1000)
        return Attempt(at, answer.status, latency_ms, error, answer.text, answer.retry_after_s)

    async def _send(self, due: Due, at: datetime, answer: _Answer) -> None:
        """Fills `answer` as far as it comes. Raises what ends it early."""
        headers = self._headers(due, at)
        addresses = (await self._hosts.addresses(due.url))[:_MOST_ADDRESSES]
        target = _target(due.url)
        tls = self._tls if target.tls else None
        async with connected(addresses, target.port, tls, target.host) as exchange:
            exchange.send(_request(target, headers), due.body)
            head = await exchange.head()
            answer.status = head.status_code
            answer.retry_after_s = _retry_after(head)
            exchange.left = _ANSWER_READ
            await _read(exchange, answer)

    def _headers(self, due: Due, at: datetime) -> dict[str, str]:
        """Signed with every secret that is valid now: while one is rotated, receivers may still know the one before."""
        try:
            secrets = [self._keyring.unwrap(key, secret, due.endpoint_id).decode() for key, secret in due.secrets]
        except SealError as sealed:
            raise Hindered(f"the endpoint's secret cannot be opened: {sealed}") from None
        text = due.body.decode()
        return {
            "content-type": "application/json",
            "content-length": str(len(due.body)),
            "user-agent": "Greenroom-Webhooks/1",
            "accept": "*/*",
            "connection": "close",
            "webhook-id": due.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(Webhook(secret).sign(due.id, at, text) for secret in secrets),
        }


@dataclass(frozen=True)
class _Target:
    """What a URL says of where and what for to ask."""

    tls: bool
    host: str
    port: int
    host_header: str
    path: bytes


@lru_cache(maxsize=4096)
def _target(text: str) -> _Target:
    url = httpx.URL(text)
    tls = url.scheme == "https"
    return _Target(tls, url.raw_host.decode(), url.port or (443 if tls else 80), url.netloc.decode(), url.raw_path)


def _request(target: _Target, headers: dict[str, str]) -> h11.Request:
    return h11.Request(method="POST", target=target.path, headers=[("host", target.host_header), *headers.items()])


def _retry_after(head: h11.Response) -> int | None:
    for name, value in head.headers:
        if name == b"retry-after":
            return retry_after_s(value.decode("latin-1"), datetime.now(UTC))
    return None


async def _read(exchange: Exchange, answer: _Answer) -> None:
    """The beginning of the answer's body, for the customer to look at."""
    body = bytearray()
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            async for part in exchange.body():
                body += part
                if len(body) >= _ANSWER_READ:
                    return
    finally:
        answer.text = bytes(body[:_ANSWER_KEPT]).decode(errors="replace").replace("\0", "")


def _look_for_our_own(failed: BaseException, took_s: float) -> None:
    """Raises Hindered when this machine was out of something, or this process stood still while time ran out."""
    if took_s > TIMEOUT_S + _STOOD_STILL_S:
        raise Hindered("this process stood still") from failed
    cause: BaseException | None = failed
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _OUR_SHORTAGES:
            raise Hindered(errno.errorcode[cause.errno]) from failed
        cause = cause.__cause__ or cause.__context__
