"""The supervisor: holds the lease, takes commands, gives tasks to session processes and appends what they report.

If it dies, its children see the end of their pipes and leave, and the witness tells the roster, which replaces it. It
imports neither torch nor rtc.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import OrderedDict
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec
import structlog
from structlog.contextvars import bound_contextvars

from events import tracing
from events.codec import new_event
from events.producer import EventProducer, UnknownOutcome, assignment_partition
from events.sealing import SealError, new_worker_key, public_text, sign_state, unseal
from events.topics import SESSIONS, WORKERS
from schemas.assignments import Task
from schemas.avatars import STOCK
from schemas.background import Background
from schemas.events import (
    AssignmentAssign,
    AssignmentDrain,
    AssignmentEnd,
    AssignmentHandOver,
    AssignmentRetire,
    DeclineReason,
    EndReason,
    SessionDeclined,
    SessionFirstFrame,
    WorkerState,
)
from schemas.ids import WORKER, new_id
from schemas.internal_port import opened
from schemas.times import now_ms
from workers import metrics, predecessors, watch
from workers.appending import EventAppender
from workers.attempts import HeldAttempt, NotAnEvent
from workers.children import Child, PoolClosed, WarmPool
from workers.commands import Commands
from workers.lease import boottime, phase
from workers.mark import MarkMaker
from workers.messages import AttemptLimits, Draining, End, HandedOver, Said, Start
from workers.render_keeper import RenderKeeper
from workers.renderers import RENDERED, neural_missing
from workers.settings import WorkerSettings
from workers.tracing import AttemptSpans
from workers.witness import Witness

log = structlog.get_logger()

STATE_EVERY_S = 1.0
RETIRED_EXIT_CODE = 75
_NETWORK_TIMEOUT_S = 10.0
_REMEMBERED_ENDS = 4096
_REFILL_AFTER_S = 3.0


class Supervisor:
    def __init__(self, settings: WorkerSettings, producer: EventProducer) -> None:
        self._settings = settings
        self._producer = producer
        self.worker_id = new_id(WORKER)
        self._key = new_worker_key()
        self._started_ms = now_ms()
        self._limits = AttemptLimits(
            settings.worker_connect_timeout_s,
            settings.worker_start_timeout_s,
            settings.worker_heartbeat_s,
            settings.worker_agent_absence_s,
            settings.livekit_permitted_networks,
        )
        self._mark_key = settings.mark_key()
        self._pool = WarmPool(settings.worker_slots)
        self._witness = Witness(self.worker_id, settings)
        self._renderer: RenderKeeper | None = None
        self._qualities = ["mock"]
        self._device = "cpu"
        self._held: dict[str, HeldAttempt] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._draining = False
        self._stop = asyncio.Event()
        self._drain_asked = asyncio.Event()
        self.has_left = False
        self._state_now = asyncio.Event()
        self._tasks = Background()
        self.renewed_at = boottime()
        self._said = False
        """Whether Kafka has acknowledged one of its states."""
        self._tell()

    def _tell(self) -> None:
        metrics.LEASE_AGE.set_function(lambda: boottime() - self.renewed_at)
        metrics.SLOTS.set_function(lambda: 0 if self._draining else self._settings.worker_slots)
        metrics.HELD.set_function(lambda: sum(not held.over for held in self._held.values()))
        metrics.WARM.set_function(lambda: self._pool.warm)
        metrics.RENDERER_UP.set_function(lambda: self._renderer is None or self._renderer.up)

    async def missing(self) -> list[str]:
        """For readiness: what keeps it from taking a session. Whether the roster has registered it, it cannot know."""
        lease = phase(self.renewed_at, boottime())
        reasons = {
            "no state record is in the log yet": not self._said,
            f"the lease is {lease}": lease != "valid",
            "it drains": self._draining,
            "the renderer process is away": self._renderer is not None and not self._renderer.up,
        }
        return [reason for reason, holds in reasons.items() if holds]

    @property
    def partition(self) -> int:
        return assignment_partition(self.worker_id)

    async def run(self) -> None:
        """Until SIGTERM and drained. Exits the process when the lease is over or the roster retires this id."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        commands = Commands(self._settings, self.worker_id, self._is_leased)
        if self._mark_key is None:
            log.warning("frames are not marked", wanted=self._settings.worker_mark_frames)
        witnessing = asyncio.create_task(self._witness.keep())
        try:
            await asyncio.gather(self._pool.fill(), self._start_renderer())
            await self._serve(commands)
        finally:
            witnessing.cancel()
            await self._pool.close()
            if self._renderer is not None:
                await self._renderer.close()
            await commands.stop()

    async def _serve(self, commands: Commands) -> None:
        """From the first state record to the tombstone. Raises what it lives by has failed with."""
        # Without a position before the first state record, the first command would be skipped.
        await commands.start()
        self.renewed_at = boottime()
        watch.start(lambda: self.renewed_at)
        states = asyncio.create_task(self._say_states())
        taking = asyncio.create_task(commands.take(self._obey))
        leaving = [asyncio.create_task(asked.wait()) for asked in (self._stop, self._drain_asked)]
        vital: list[asyncio.Task[Any]] = [states, taking, *leaving]
        if self._renderer is not None and self._renderer.keeping is not None:
            vital.append(self._renderer.keeping)
        await asyncio.wait(vital, return_when=asyncio.FIRST_COMPLETED)
        await self._drain([states, taking])
        for task in vital:
            task.cancel()
        results = await asyncio.gather(*vital, return_exceptions=True)
        with contextlib.suppress(UnknownOutcome):
            await self._producer.send_tombstone(WORKERS, self.worker_id)
            self.has_left = True
            await self._witness.dismiss()  # else it tries for another minute
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _start_renderer(self) -> None:
        """Offer what can be drawn here. A renderer that cannot start ends the worker: that is to be seen."""
        name = self._settings.worker_renderer
        if name == "mock":
            return
        if name == "neural" and (missing := neural_missing()) is not None:
            log.warning("only mock is offered", reason=missing)
            return
        self._renderer = RenderKeeper(name, self._settings.worker_render_threads, self._settings.assets)
        self._device = await self._renderer.start()
        self._qualities = ["mock", *RENDERED]

    # The lease

    async def _say_states(self) -> None:
        """The whole state, each second and at once when it changed. An acknowledgement renews the lease."""
        while True:
            sent_at = boottime()
            try:
                await self._producer.send(WORKERS, self._state(), timeout_s=3)
                self.renewed_at, self._said = sent_at, True
                for held in self._held.values():
                    held.renew(sent_at)
            except UnknownOutcome:
                log.warning("state not acknowledged", lease=phase(self.renewed_at, boottime()))
            self._state_now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATE_EVERY_S):
                    await self._state_now.wait()

    def _state(self) -> Any:
        state = WorkerState(
            worker_id=self.worker_id,
            phase="draining" if self._draining else "ready",
            slots=self._settings.worker_slots,
            qualities=self._qualities,
            device=self._device,
            public_key=public_text(self._key),
            partition=self.partition,
            held=[(sid, held.number) for sid, held in self._held.items()],
            avatars=list(STOCK),
            version=version("greenroom"),
            started_ms=self._started_ms,
            mac="",
        )
        signed = sign_state(state, self._settings.join_secret.get_secret_value())
        return new_event(signed, source=f"greenroom/worker/{self.worker_id}", subject=self.worker_id)

    # Commands

    def _is_leased(self) -> bool:
        """Kafka acknowledges our states."""
        return phase(self.renewed_at, boottime()) == "valid"

    def _obey(self, command: msgspec.Struct, traceparent: str | None) -> None:
        if isinstance(command, AssignmentAssign):
            self._assign(command, traceparent)
        elif isinstance(command, AssignmentEnd):
            self._end(command)
        elif isinstance(command, AssignmentHandOver):
            self._hand_over(command)
        elif isinstance(command, AssignmentDrain):
            log.info("told to drain")
            self._drain_asked.set()
        elif isinstance(command, AssignmentRetire):
            # The roster has given our sessions away: leave the rooms at once, by ending the pipes with the process.
            log.warning("retired by the roster")
            os._exit(RETIRED_EXIT_CODE)

    def _assign(self, command: AssignmentAssign, traceparent: str | None = None) -> None:
        sid, attempt = command.session_id, command.attempt
        if self._has(sid, attempt) or self._ended.get(sid, -1) >= attempt:
            return  # told twice, or told to end before it began
        if not self._is_leased():
            return  # may have been replaced already: start nothing
        spans = AttemptSpans(traceparent, sid, attempt, self.worker_id)
        if self._draining:
            self._decline(command, "draining", spans)
            return
        try:
            task = unseal(command.sealed, sid, attempt, self.worker_id, self._key)
        except SealError:
            self._decline(command, "cannot_unseal", spans)
            return
        if sum(not held.over for held in self._held.values()) >= self._settings.worker_slots:
            self._decline(command, "no_slot", spans)
            return
        deadline = asyncio.get_running_loop().time() + self._limits.start_timeout_s
        with bound_contextvars(session_id=sid, attempt=attempt, **spans.logged):  # the tasks' own, too
            appender = EventAppender(self._producer, self.worker_id, task, spans)
            held = self._held[sid] = HeldAttempt(sid, attempt, self.worker_id, appender, deadline)
            held.started()
            self._tasks.spawn(self._attend(held, task), "attend session")
            log.info("session taken")
        self._state_now.set()

    def _has(self, sid: str, attempt: int) -> bool:
        """Held already. One whose last word is on its way gives its place to the next attempt."""
        held = self._held.get(sid)
        return held is not None and (not held.over or held.number >= attempt)

    def _decline(self, command: AssignmentAssign, reason: DeclineReason, spans: AttemptSpans) -> None:
        sid, attempt = command.session_id, command.attempt
        metrics.DECLINED.labels(reason).inc()
        log.warning("session declined", session_id=sid, attempt=attempt, reason=reason, **spans.logged)
        data = SessionDeclined(sid, attempt, self.worker_id, reason)
        spans.said(data)
        spans.close()
        source = f"greenroom/worker/{self.worker_id}"
        event = new_event(data, source=source, subject=sid, traceparent=spans.traceparent)
        self._tasks.spawn(self._append(event), "append decline")

    async def _append(self, event: Any) -> None:
        try:
            await self._producer.send(SESSIONS, event)
        except UnknownOutcome:
            log.warning("decline not acknowledged; the roster replaces a silent worker", event_id=event.id)

    def _end(self, command: AssignmentEnd) -> None:
        """Attempt 0 means whichever. Remembered, so that an assignment that comes later starts nothing."""
        sid = command.session_id
        self._ended[sid] = max(command.attempt or 1, self._ended.get(sid, 0))
        while len(self._ended) > _REMEMBERED_ENDS:
            self._ended.popitem(last=False)
        held = self._held.get(sid)
        if held and command.attempt in (0, held.number):
            self._tell_end(held, command.reason)

    def _hand_over(self, command: AssignmentHandOver) -> None:
        held = self._held.get(command.session_id)
        if held is not None and held.number == command.attempt and held.child is not None:
            held.child.pipe.send(HandedOver())

    @staticmethod
    def _tell_end(held: HeldAttempt, reason: EndReason) -> None:
        held.end = reason
        if held.child is not None:
            held.child.pipe.send(End(reason))
        elif held.patience is not None and not held.patience.expired():
            held.patience.reschedule(0)  # it ends before it has begun

    # Sessions

    async def _attend(self, held: HeldAttempt, task: Task) -> None:
        """One attempt. Whatever happens to it, it ends with one last event and a free slot.

        When its events cannot be appended it leaves its room: the roster misses it in our state and assigns it anew.
        """
        playing = asyncio.create_task(self._play(held, task), name="play session")
        await asyncio.wait([playing, held.appender.appending], return_when=asyncio.FIRST_COMPLETED)
        playing.cancel()
        (failure,) = await asyncio.gather(playing, return_exceptions=True)
        if failure is not None:
            log.error("session given up", exc_info=failure)
        child, held.child = held.child, None
        if child is not None:
            if failure is not None:
                child.kill()
            await child.ended()
        if not held.over:
            log.error("session process died", hung=child is not None and child.hung)
            if held.end is not None:
                held.ended(held.end)
            else:
                held.lost("process_hung" if child is not None and child.hung else "process_crashed")
        self._pool.refill()
        try:
            await held.appender.close()
        except Exception:
            log.exception("events not appended")
        sid = held.session_id
        if self._held.get(sid) is held:  # else the next attempt is here already
            del self._held[sid]
        self._ended[sid] = max(held.number, self._ended.get(sid, 0))
        self._state_now.set()

    async def _play(self, held: HeldAttempt, task: Task) -> None:
        """Give the task to a warm child and append what it says until it is gone."""
        child = held.child = await self._child(held)
        if child is None:
            if held.end is None:
                held.failed("start_timeout", "No session process was ready in time.")
            else:
                held.ended(held.end)
            return
        loop = asyncio.get_running_loop()
        limits = msgspec.structs.replace(self._limits, start_timeout_s=max(0.0, held.deadline - loop.time()))
        renderer = str(self._renderer.path) if self._renderer else None
        held.mark = MarkMaker(self._mark_key, task) if self._mark_key is not None else None
        plan = held.mark.plan() if held.mark is not None else None
        child.pipe.send(Start(task, held.number, self.worker_id, self.renewed_at, limits, renderer, plan))
        held.appender.spans.given()
        if self._draining:
            child.pipe.send(Draining())
        if held.end is not None:
            child.pipe.send(End(held.end))
        while (message := await child.receive()) is not None:
            try:
                if not isinstance(message, Said):
                    held.note(message)
                    continue
                event = held.hear(message)
            except NotAnEvent as wrong:  # nothing that follows can be trusted either
                log.error("process says what it must not, killed", reason=str(wrong))
                child.kill()
                return
            if isinstance(event, SessionFirstFrame):
                # Later: importing the SDK takes half a second of a core, which the first frames need more.
                loop.call_later(_REFILL_AFTER_S, self._pool.refill)
            elif held.over:
                self._pool.refill()

    async def _child(self, held: HeldAttempt) -> Child | None:
        """A warm one; None when none was there before the deadline, or before the session was told to end."""
        if held.end is not None:
            return None
        try:
            async with asyncio.timeout_at(held.deadline) as held.patience:
                return await self._pool.take()
        except (TimeoutError, PoolClosed):
            return None
        finally:
            held.patience = None

    async def _drain(self, vital: Sequence[asyncio.Task[Any]]) -> None:
        """No new work; running sessions get their grace, then `worker_drained`; wait for their ends in the log.

        By command they have all the time that they want, until a signal comes, or what it lives by has ended.
        """
        self._draining = True
        self._state_now.set()
        for held in self._held.values():
            if held.child is not None:
                held.child.pipe.send(Draining())
        while self._held and self._drain_asked.is_set() and not self._stop.is_set():
            if any(task.done() for task in vital):
                break
            await asyncio.sleep(0.05)
        deadline = time.monotonic() + self._settings.worker_drain_grace_s
        while self._held and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for held in self._held.values():
            self._tell_end(held, "worker_drained")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_NETWORK_TIMEOUT_S)
        for held in self._held.values():
            held.appender.abort()


async def serve(settings: WorkerSettings) -> None:
    async with EventProducer(settings) as producer:
        supervisor = Supervisor(settings, producer)
        host, port = settings.metrics_host, settings.worker_metrics_port
        async with (
            tracing.opened("worker"),
            predecessors.told(settings.worker_state, supervisor.worker_id, producer, lambda: supervisor.has_left),
            opened("worker", host, port, supervisor.missing, metrics.TOLD),
        ):
            await supervisor.run()
