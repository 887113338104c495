"""Sends the ledger's entries to Stripe as meter events: each once, whatever is killed. docs/how-to/export-usage.md.

The order is fixed: 1. it is written down that an event is about to be sent; 2. it is sent; 3. its acknowledgement is
written down. Who dies between 1 and 3 does not know whether Stripe has it. Within 23 hours it is sent again under the
same identifier, which Stripe counts once. After that nobody can tell but Stripe: it is left alone, and named.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import httpx
import msgspec
import stamina

from schemas.meter_events import ONCE_S, PAST_S, MeterEvent, meter_event
from schemas.times import now_ms
from schemas.usage import RecordedEntry
from store import meter_events
from store.database import Connection

PATH = "/v1/billing/meter_events"
_TIMEOUT_S = 20.0
_BATCH = 50
_AT_ONCE = 8
_ATTEMPTS = 8
_WITHIN_S = 180.0
_LONGEST_WAIT_S = 60.0
_NAMED = 20
_SHOWN_CHARS = 200
_DUPLICATES = ("duplicate_meter_event",)
_ALREADY = "already exists with identifier"
"""Stripe refuses an identifier that it has had with this text: proof that it has it."""


class Stopped(Exception):
    """Nothing more can be sent now. What was acknowledged is remembered. The message says why, and what to do.

    `open`: of the event that it came of nobody knows whether Stripe has it.
    """

    def __init__(self, why: str, open: bool = False) -> None:
        super().__init__(why)
        self.open = open


class _Refused(Exception):
    """Stripe does not take this one. The message is its own."""


class _Again(Exception):
    """It may be taken if it is sent again. `open`: it may have been taken. `after_s`: when Stripe says so."""

    def __init__(self, why: str, open: bool, after_s: float | None = None) -> None:
        super().__init__(why)
        self.open = open
        self.after_s = after_s


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    code: str = ""


class _Answer(msgspec.Struct, frozen=True):
    """A meter event, or an error."""

    identifier: str = ""
    error: _Error = _Error()


@dataclass
class Named:
    """How many, and what the first of them are."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append(text)


@dataclass
class Report:
    """What became of the entries. `before`: was acknowledged before. `nothing`: costs nothing. `left_out`: of accounts
    without a customer. `unknown`: nobody but Stripe can tell whether it has them."""

    sent: int = 0
    before: int = 0
    nothing: int = 0
    left_out: int = 0
    unknown: Named = field(default_factory=Named)
    late: Named = field(default_factory=Named)
    refused: Named = field(default_factory=Named)


class Pace:
    """So many calls in a second, and no burst."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = 1 / per_second
        self._clock = clock
        self._next = 0.0

    def wait_s(self) -> float:
        """How long the next call has to wait."""
        now = self._clock()
        at = max(now, self._next)
        self._next = at + self._every_s
        return at - now


class Endpoint:
    """Where meter events go. `destination` names it without the key, which nothing here prints or stores."""

    def __init__(self, client: httpx.AsyncClient, url: str, key: str, event_name: str, per_second: float) -> None:
        """Raises Stopped for a URL over which a key must not go."""
        target = httpx.URL(url)
        if target.scheme != "https" and target.host not in ("127.0.0.1", "::1", "localhost"):
            raise Stopped("GREENROOM_STRIPE_URL must begin with https://: a key would go over it in the clear.")
        if not key:
            raise Stopped("GREENROOM_STRIPE_API_KEY is not set: a key of Stripe that may write meter events.")
        mode = "test" if "_test_" in key[:12] else "live"
        self.event_name = event_name
        self.destination = f"{url.rstrip('/')}{PATH} {mode} {event_name}"
        self._url = url.rstrip("/") + PATH
        self._client = client
        self._auth = httpx.BasicAuth(key, "")
        self._pace = Pace(per_second)

    async def send(self, event: MeterEvent) -> None:
        """Returns when Stripe has it. Raises _Refused, Stopped; when cancelled, nobody knows."""
        open = False
        try:
            async for attempt in stamina.retry_context(
                on=_wait, attempts=_ATTEMPTS, timeout=_WITHIN_S, wait_initial=0.5, wait_max=_LONGEST_WAIT_S
            ):
                with attempt:
                    await asyncio.sleep(self._pace.wait_s())
                    try:
                        await self._once(event)
                    except _Again as failed:
                        open |= failed.open
                        raise
        except _Again as failed:
            raise Stopped(f"Stripe does not take events now: {failed}. Run it again later: it goes on.", open) from None
        except Stopped as stopped:
            stopped.open |= open
            raise

    async def _once(self, event: MeterEvent) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await self._client.post(self._url, data=event.form(), auth=self._auth)
        except (httpx.ConnectError, httpx.ConnectTimeout) as failed:
            raise _Again(type(failed).__name__, open=False) from None
        except (httpx.TransportError, TimeoutError) as failed:
            raise _Again(type(failed).__name__, open=True) from None
        read = _read(answer)
        if answer.is_success:
            if read.identifier == event.identifier:
                return
            raise Stopped(f"Whoever answers at {self._url} is not Stripe: see GREENROOM_STRIPE_URL.", open=True)
        error = read.error
        if error.code in _DUPLICATES or _ALREADY in error.message:
            return
        if answer.status_code in (401, 403):
            raise Stopped(f"Stripe refuses the key ({answer.status_code}): see GREENROOM_STRIPE_API_KEY.")
        if answer.status_code in (404, 405) or answer.is_redirect:
            raise Stopped(f"There are no meter events at {self._url} ({answer.status_code}): see GREENROOM_STRIPE_URL.")
        if answer.status_code in (409, 429) or answer.is_server_error:
            raise _Again(f"answer {answer.status_code}", answer.is_server_error, _retry_after(answer))
        raise _Refused(f"{answer.status_code} {(error.message or error.code)[:_SHOWN_CHARS]}")


@asynccontextmanager
async def opened(url: str, key: str, event_name: str, per_second: float) -> AsyncIterator[Endpoint]:
    """Raises Stopped."""
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, limits=httpx.Limits(max_connections=_AT_ONCE)) as client:
        yield Endpoint(client, url, key, event_name, per_second)


class Sender:
    """`unknown`: what became of events whose outcome only Stripe knows: `sent`, or `lost`. None: they are named."""

    def __init__(
        self,
        connection: Connection,
        endpoint: Endpoint,
        customers: Mapping[str, str | None],
        unknown: Literal["sent", "lost"] | None = None,
    ) -> None:
        self.report = Report()
        self._connection = connection
        self._endpoint = endpoint
        self._customers = customers
        self._unknown = unknown

    async def run(self, batches: AsyncIterator[list[RecordedEntry]], progress: Callable[[int], None]) -> None:
        """`progress` is told how many more entries it is done with. Raises Stopped, DatabaseUnreachable."""
        if not await meter_events.begin(self._connection, self._endpoint.destination):
            raise Stopped("Somebody else sends these meter events right now.")
        async for entries in batches:
            for n in range(0, len(entries), _BATCH):
                part = entries[n : n + _BATCH]
                if events := [event for entry in part if (event := self._event(entry)) is not None]:
                    await self._batch(events)
                progress(len(part))

    def _event(self, entry: RecordedEntry) -> MeterEvent | None:
        customer = self._customers[entry.facts.account_id]
        if customer is None:
            self.report.left_out += 1
        elif entry.facts.credit_us == 0:
            self.report.nothing += 1
        else:
            return meter_event(entry, customer, self._endpoint.event_name)
        return None

    async def _batch(self, events: Sequence[MeterEvent]) -> None:
        destination = self._endpoint.destination
        before = await meter_events.sending(self._connection, destination, [event.identifier for event in events])
        taken = _Taken()
        try:
            await self._send(self._due(events, before, taken), taken)
        finally:
            # Also when this is cancelled: what was on its way then stays open.
            new = [event.identifier for event in events if event.identifier not in before]
            never = [identifier for identifier in new if identifier not in taken.open and identifier not in taken.yes]
            await meter_events.settle(self._connection, destination, sorted(taken.yes), never)

    def _due(
        self, events: Sequence[MeterEvent], before: Mapping[str, meter_events.Sent], taken: _Taken
    ) -> list[MeterEvent]:
        now_s, due = now_ms() // 1000, []
        for event in events:
            sent = before.get(event.identifier)
            if sent is not None and sent.acknowledged:
                self.report.before += 1
            elif sent is not None and sent.age_s > ONCE_S and self._unknown != "lost":
                if self._unknown == "sent":
                    taken.yes.add(event.identifier)
                    self.report.before += 1
                else:
                    self.report.unknown.add(event.identifier)
            elif event.timestamp <= now_s - PAST_S:
                self.report.late.add(event.identifier)
            else:
                due.append(event)
        return due

    async def _send(self, events: Sequence[MeterEvent], taken: _Taken) -> None:
        """Those of a customer one after the other: Stripe takes one at a time of a customer and meter.

        Once one is stopped no other begins. Those on their way end: broken off, nobody would know what became of them.
        """
        by_customer: dict[str, list[MeterEvent]] = defaultdict(list)
        for event in events:
            by_customer[event.payload.stripe_customer_id].append(event)
        at_once = asyncio.Semaphore(_AT_ONCE)
        stopped: list[Stopped] = []

        async def send_all(of_customer: Sequence[MeterEvent]) -> None:
            for event in of_customer:
                async with at_once:
                    if stopped:
                        return
                    try:
                        await self._one(event, taken)
                    except Stopped as why:
                        stopped.append(why)

        async with asyncio.TaskGroup() as group:
            for of_customer in by_customer.values():
                group.create_task(send_all(of_customer))
        if stopped:
            raise stopped[0]

    async def _one(self, event: MeterEvent, taken: _Taken) -> None:
        taken.open.add(event.identifier)
        try:
            await self._endpoint.send(event)
        except Stopped as stopped:
            if not stopped.open:
                taken.open.discard(event.identifier)
            raise
        except _Refused as refused:
            self.report.refused.add(f"{event.identifier}: {refused}")
        else:
            taken.yes.add(event.identifier)
            self.report.sent += 1
            return
        taken.open.discard(event.identifier)


@dataclass
class _Taken:
    """Of a batch. `open`: was being sent, and nobody knows; what is in neither was certainly not taken."""

    yes: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)


def _wait(failed: Exception) -> bool | float:
    if not isinstance(failed, _Again):
        return False
    return True if failed.after_s is None else min(failed.after_s, _LONGEST_WAIT_S)


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _read(answer: httpx.Response) -> _Answer:
    try:
        return msgspec.json.decode(answer.content, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Answer()
