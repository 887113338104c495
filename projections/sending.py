"""One attempt of one delivery: signed, to an address that was checked, over a connection of its own."""

from __future__ import annotations

import asyncio
import errno
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import structlog
from standardwebhooks.webhooks import Webhook

from events.sealing import Keyring, SealError
from projections.deliveries import Attempt, Due, retry_after_s
from projections.resolving import ResolverAway, Unresolvable, WebhookHosts
from schemas.addresses import InvalidUrl, UnsafeAddress

log = structlog.get_logger()

TIMEOUT_S = 15.0
_CONNECT_S = 5.0
_ANSWER_WITHIN_S = 3.0
_ANSWER_READ = 64 * 1024
_ANSWER_KEPT = 2048
_MOST_ADDRESSES = 3
_STOOD_STILL_S = 1.0
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
    """Sends as docs/webhooks.md says. Nothing is kept between attempts.

    No connection is used twice and none is waited for: a pool would be shared by accounts, and httpcore's looks at
    address and port alone, so that two customers behind one address would get each other's connections; a client would
    keep the cookies of one for the other. One request in a while to each of many receivers gains nothing from either.
    """

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
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as failed:
            if answer.status is None:
                _look_for_our_own(failed, time.monotonic() - began)
                error = type(failed).__name__
        except Exception as unexpected:
            log.exception("unexpected failure of an attempt", delivery=due.id)
            error = type(unexpected).__name__
        latency_ms = round((time.monotonic() - began) * 1000)
        return Attempt(at, answer.status, latency_ms, error, answer.text, answer.retry_after_s)

    async def _send(self, due: Due, at: datetime, answer: _Answer) -> None:
        headers = self._headers(due, at)
        addresses = (await self._hosts.addresses(due.url))[:_MOST_ADDRESSES]
        for address in addresses:
            try:
                await self._post(_request(due, address, headers), answer)
                return
            except (httpx.ConnectError, httpx.ConnectTimeout):  # nothing was sent yet
                if address == addresses[-1]:
                    raise

    def _headers(self, due: Due, at: datetime) -> dict[str, str]:
        try:
            secret = self._keyring.unwrap(due.secret_key_id, due.secret, due.endpoint_id).decode()
        except SealError as sealed:
            raise Hindered(f"the endpoint's secret cannot be opened: {sealed}") from None
        return {
            "content-type": "application/json",
            "user-agent": "Greenroom-Webhooks/1",
            "connection": "close",
            "webhook-id": due.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(due.id, at, due.body.decode()),
        }

    async def _post(self, request: httpx.Request, answer: _Answer) -> None:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
        async with httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits) as transport:
            response = await transport.handle_async_request(request)
            answer.status = response.status_code
            answer.retry_after_s = retry_after_s(response.headers.get("retry-after", ""), datetime.now(UTC))
            await _read(response, answer)


def _request(due: Due, address: str, headers: dict[str, str]) -> httpx.Request:
    """To the very address that was checked; TLS still verifies the name."""
    url = httpx.URL(due.url)
    extensions = {"timeout": {"connect": _CONNECT_S, "read": TIMEOUT_S, "write": TIMEOUT_S}, "sni_hostname": url.host}
    return httpx.Request(
        "POST",
        url.copy_with(host=address),
        headers={"host": url.netloc.decode(), **headers},
        content=due.body,
        extensions=extensions,
    )


async def _read(response: httpx.Response, answer: _Answer) -> None:
    """The beginning of the answer's body, for the customer to look at. Raises what ends it early."""
    body = b""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= _ANSWER_READ:
                    return
    finally:
        await response.aclose()
        answer.text = body[:_ANSWER_KEPT].decode(errors="replace").replace("\0", "")


def _look_for_our_own(failed: BaseException, took_s: float) -> None:
    """Raises Hindered when this machine was out of something, or this process stood still while time ran out."""
    if took_s > TIMEOUT_S + _STOOD_STILL_S:
        raise Hindered("this process stood still") from failed
    cause: BaseException | None = failed
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _OUR_SHORTAGES:
            raise Hindered(errno.errorcode[cause.errno]) from failed
        cause = cause.__cause__
