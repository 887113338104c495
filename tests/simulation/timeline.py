"""Simulated time: one heap of timers, and an event loop for each process of the simulated system.

A process can be paused: what is due waits until it goes on, as under SIGSTOP. It can die: nothing of it runs any more.
The order of all that runs follows from the seed alone. (Libraries for virtual time move one loop's clock; here each of
many processes needs a loop of its own that can stand still while the others go on.)
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

EPOCH_S = 1_764_000_000.0
STALL_S = 1.0


class Exited(BaseException):
    """The process has called `os._exit`."""


class Handle:
    """A callback that is due, or will be at `when`. What asyncio asks of a TimerHandle, and no more."""

    __slots__ = ("_args", "_callback", "_context", "cancelled_", "process", "when_")

    def __init__(
        self,
        process: Process | None,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> None:
        self.process = process
        self.when_ = when
        self._callback, self._args, self._context = callback, args, context
        self.cancelled_ = False

    def cancel(self) -> None:
        self.cancelled_ = True

    def cancelled(self) -> bool:
        return self.cancelled_

    def when(self) -> float:
        return self.when_

    def run(self) -> None:
        if self._context is None:
            self._callback(*self._args)
        else:
            self._context.run(self._callback, *self._args)


class Timeline:
    """What happens when. `now`: seconds since the beginning of the story."""

    def __init__(self) -> None:
        self.now = 0.0
        self.running: Process | None = None
        self.steps = 0
        self.stopped = False
        self._heap: list[tuple[float, int, Handle]] = []
        self._ready: deque[Handle] = deque()
        self._count = 0

    def at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        process: Process | None = None,
        context: Any = None,
    ) -> Handle:
        """`process`: whose work it is; None: the world's own."""
        handle = Handle(process, when, callback, args, context)
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, handle))
        return handle

    def after(self, delay: float, callback: Callable[..., object], *args: Any) -> Handle:
        return self.at(self.now + delay, callback, *args)

    def soon(self, handle: Handle) -> None:
        self._ready.append(handle)

    def run(self, until: float) -> None:
        """Until then, or until it is `stopped`."""
        heap, ready = self._heap, self._ready
        while True:
            while ready:
                self._step(ready.popleft())
            if self.stopped or not heap or heap[0][0] > until:
                return
            when, _, handle = heapq.heappop(heap)
            self.now = max(self.now, when)
            if not handle.cancelled_:
                self._step(handle)

    def _step(self, handle: Handle) -> None:
        if handle.cancelled_:
            return
        process = handle.process
        if process is not None:
            if not process.alive:
                return
            if process.paused:
                process.waiting.append(handle)
                return
        if process is not self.running:
            self.running = process
            events._set_running_loop(process.loop if process else None)
        self.steps += 1
        with contextlib.suppress(Exited):
            handle.run()


class Loop(asyncio.AbstractEventLoop):
    """The event loop of one process: what asyncio and the product ask of it."""

    def __init__(self, process: Process, timeline: Timeline) -> None:
        self._process = process
        self._timeline = timeline
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.signals: dict[int, Callable[[], object]] = {}

    def time(self) -> float:
        return self._timeline.now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Any:
        handle = Handle(self._process, 0.0, callback, args, context)
        self._timeline.soon(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Any:
        return self.call_at(self._timeline.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Any:
        return self._timeline.at(when, callback, *args, process=self._process, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> Any:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.tasks[task] = None
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A failure that nobody looks at is the product's to log; here it is the process' end."""
        self._process.unhandled(context)

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        self.signals[sig] = lambda: callback(*args)


class Process:
    """One process of the simulated system. `skew_s`: how far its wall clock is off."""

    def __init__(self, timeline: Timeline, name: str, skew_s: float = 0.0) -> None:
        self.timeline = timeline
        self.name = name
        self.skew_s = skew_s
        self.loop = Loop(self, timeline)  # type: ignore[abstract]  # the rest nobody asks for
        self.alive = True
        self.paused = False
        self.cut = False
        """It reaches neither Kafka nor anybody."""
        self.waiting: list[Handle] = []
        self.stalled_s = 0.0
        """How long it stood still, in pauses that its media clock would notice."""
        self.on_exit: list[Callable[[], object]] = []
        self.on_waking: list[Callable[[float], object]] = []
        """Called with the seconds of a pause, before anything else of it runs."""
        self.crash: BaseException | None = None
        self._paused_at = 0.0
        self._since = 0.0

    @property
    def runs(self) -> bool:
        return self.alive and not self.paused

    def wall_s(self) -> float:
        return EPOCH_S + self.timeline.now + self.skew_s

    def start(self, main: Coroutine[Any, Any, Any]) -> None:
        """`main` is the whole of it: the process ends when it does."""
        self._main = self.loop.create_task(main, name=self.name)
        self._main.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.crash = failure
        self.exits()

    def unhandled(self, context: dict[str, Any]) -> None:
        self.crash = context.get("exception") or RuntimeError(context["message"])

    def pause(self) -> None:
        if self.runs:
            self.paused, self._paused_at = True, self.timeline.now

    def resume(self) -> None:
        if not (self.alive and self.paused):
            return
        self.paused = False
        pause = self.timeline.now - self._paused_at
        if pause > STALL_S:
            self.stalled_s += pause
        for look in self.on_waking:
            if self.alive:
                self.loop.call_soon(look, pause)
        waiting, self.waiting = self.waiting, []
        for handle in waiting:
            self.timeline.soon(handle)

    def signal(self, number: int) -> None:
        if number in self.loop.signals:
            self.loop.call_soon(self.loop.signals[number])

    def exit(self) -> NoReturn:
        """`os._exit`, called by itself."""
        self.exits()
        raise Exited

    def exits(self) -> None:
        """It is gone, by itself or killed: whoever waits for its end is told."""
        if not self.alive:
            return
        self.alive = False
        for told in self.on_exit:
            told()

    def dispose(self) -> None:
        """Close what it was in the middle of; nothing of that has an effect any more."""
        self.alive = False
        self.waiting.clear()
        running = events._get_running_loop()
        events._set_running_loop(self.loop)  # what a `finally` begins is begun here, and nowhere else
        self.timeline.running = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while self.loop.tasks:
                tasks = list(self.loop.tasks)
                self.loop.tasks.clear()
                for task in tasks:
                    _close(task.get_coro())
        events._set_running_loop(running)


def _close(coroutine: Any) -> None:
    """A `finally` of it that awaits is closed, too."""
    for _ in range(20):
        try:
            coroutine.close()
        except RuntimeError:
            continue
        except BaseException:  # whatever its last words were
            return
        return
