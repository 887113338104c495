"""What goes wrong in a story: drawn from its seed, so that the same seed goes wrong in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from events.codec import Event
from events.topics import WORKERS
from schemas.events import EndReason
from tests.simulation.broker import Broker, Late
from tests.simulation.database import Database
from tests.simulation.timeline import Process

if TYPE_CHECKING:
    from tests.simulation.customers import Api
    from tests.simulation.machines import Machine
    from tests.simulation.rosters import Office
    from tests.simulation.world import World

LAST_S = 55.0
"""No fault begins later. All of them are over MOST_S after they began."""
_LENGTHS_S = (0.5, 2.0, 4.0, 8.0, 11.0, 13.0, 16.0, 25.0, 35.0)


@dataclass(frozen=True)
class Weather:
    """What is likely in one story."""

    witnesses: float
    slow_starts: float
    slow_spawns: float
    lost_renderers: float
    skew_s: float
    forgetful: float
    twice: float
    slow: float
    wild: float
    """How fast a worker's clock runs that is wrong."""


@dataclass(frozen=True)
class Fault:
    """At a time, or, with `on`, soon after the first record of that type since then, to whom that record speaks of."""

    at: float
    kind: str
    target: int
    length_s: float
    on: str | None = None
    after_s: float = 0.0


def weather(chance: Random) -> Weather:
    def sometimes(often: float, value: float) -> float:
        return value if chance.random() < often else 0.0

    return Weather(
        witnesses=chance.choice((0.0, 0.5, 1.0)),
        slow_starts=sometimes(0.2, 0.3),
        slow_spawns=sometimes(0.15, 0.4),
        lost_renderers=sometimes(0.2, 0.15),
        skew_s=chance.choice((0.0, 0.0, 0.0, 0.4, 5.0)),
        forgetful=sometimes(0.2, 0.03),
        twice=sometimes(0.2, 0.1),
        slow=chance.choice((1.0, 1.0, 1.0, 8.0)),
        wild=3.0 if chance.random() < 0.1 else 1.0,
    )


_WEIGHTS = {
    "cut worker": 5,
    "pause worker": 5,
    "kill worker": 4,
    "stop machine": 3,
    "lose machine": 3,
    "pause child": 4,
    "kill child": 6,
    "drain worker": 3,
    "ask worker to drain": 2,
    "pause then cut worker": 3,
    "delay then cut worker": 4,
    "pause roster": 4,
    "cut roster": 3,
    "kill roster": 3,
    "delay roster": 3,
    "delay projection": 2,
    "kafka away": 4,
    "slow kafka": 4,
    "database away": 4,
    "slow database": 3,
    "pause api": 1,
    "cut api": 1,
    "kill api": 2,
    "overload": 2,
    "end sessions": 4,
    "rebalance": 2,
    "compaction": 1,
}
_MOMENTS = (
    "session.created",
    "session.starting",
    "session.first_frame",
    "session.heartbeat",
    "session.attempt_lost",
    "session.assigned",
    "session.end_requested",
    "session.ending",
)


def plan(chance: Random, machines: int, rosters: int) -> list[Fault]:
    """Up to eight; half of the time all around the same few seconds and the same worker, or right after some event."""
    count = chance.choice((0, 1, 2, 3, 4, 5, 6, 8))
    kinds = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=count)
    together, around, focus = chance.random() < 0.5, 3 + 18 * chance.random(), chance.randrange(machines)
    return sorted(
        (
            _fault(chance, kind, around if together else None, focus, rosters if "roster" in kind else machines)
            for kind in kinds
        ),
        key=lambda fault: fault.at,
    )


def _fault(chance: Random, kind: str, around: float | None, focus: int, several: int) -> Fault:
    at = around + 12 * chance.random() if around is not None else 3 + 35 * chance.random()
    target = (focus if around is not None else chance.randrange(several)) % several
    length = chance.choice(_LENGTHS_S) * (0.8 + 0.4 * chance.random())
    on = chance.choice(_MOMENTS) if chance.random() < 0.5 else None
    if kind == "overload":
        at, on, length = 6 * chance.random(), None, 20 + 15 * chance.random()
    if on is not None:
        at = min(at, 3 + 10 * chance.random())
    soon = chance.choice((0.002, 0.01, 0.05, 0.5, 3.0)) * 2 * chance.random()
    if "then cut" in kind:
        length = 18 + 10 * chance.random()
    return Fault(round(at, 3), kind, target, round(length, 3), on, round(soon, 4))


def own_end(chance: Random) -> tuple[float, EndReason] | None:
    """When a session ends by itself, if it does."""
    if chance.random() < 0.7:
        return None
    reasons: tuple[EndReason, ...] = ("room_closed", "agent_left", "idle_timeout")
    return 8 + 50 * chance.random(), chance.choice(reasons)


class Faults:
    """Carries the plan out."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lurking: list[Fault] = []

    def begin(self, fault: Fault) -> None:
        if fault.on is not None:
            self._lurking.append(fault)
        else:
            busy = [n for n, machine in enumerate(self._world.machines) if machine.holds]
            often = (
                "roster" not in fault.kind and busy and fault.target not in busy and self._world.random.random() < 0.8
            )
            self._strike(fault, self._world.random.choice(busy) if often else fault.target)

    def happened(self, event: Event) -> None:
        """Of what waits for such an event one strikes."""
        for fault in self._lurking:
            if fault.on == event.type and self._world.timeline.now < LAST_S:
                self._lurking.remove(fault)
                self._world.timeline.after(fault.after_s, self._strike, fault, self._whom(fault, event))
                return

    def _whom(self, fault: Fault, event: Event) -> int:
        if "roster" in fault.kind:
            return fault.target
        target = self._world.machine_of(getattr(event.data, "worker_id", None))
        return fault.target if target is None else target

    def _strike(self, fault: Fault, target: int) -> None:
        world = self._world
        world.story.tell("fault", f"{fault.kind} {target} for {fault.length_s:.1f} s")
        undo = _BEGIN[fault.kind](world, target)
        world.broker.look_again()
        if undo is not None:
            world.calm_s = max(world.calm_s, world.timeline.now + 2 * fault.length_s)
            world.timeline.after(fault.length_s, self._over, fault, target, undo)

    def _over(self, fault: Fault, target: int, undo: Callable[[], object]) -> None:
        self._world.story.tell("fault", f"{fault.kind} {target} is over")
        undo()
        self._world.broker.look_again()


def _machine(world: World, n: int) -> Machine:
    return world.machines[n]


def _cut(place: Machine | Office | Api) -> Callable[[], object]:
    place.cut_off(True)
    return lambda: place.cut_off(False)


def _pause(process: Process | None) -> Callable[[], object] | None:
    if process is None:
        return None
    process.pause()
    return process.resume


def _stop_machine(world: World, n: int) -> Callable[[], object]:
    stopped = [process for process in _machine(world, n).all() if process.runs]
    for process in stopped:
        process.pause()

    def go_on() -> None:
        for process in stopped:
            process.resume()

    return go_on


def _lose_machine(world: World, n: int) -> Callable[[], object]:
    """Without a word: nobody is left to tell of it. A new one comes later."""
    machine = _machine(world, n)
    machine.stays_dead = True
    for process in reversed(machine.all()):
        process.exits()

    def replace() -> None:
        machine.stays_dead = False
        machine.start()

    return replace


def _kill(process: Process | None) -> None:
    if process is not None:
        process.exits()


def _away(place: Broker | Database) -> Callable[[], object]:
    place.away = True
    return lambda: setattr(place, "away", False)


def _first_paused(world: World, n: int) -> Callable[[], object] | None:
    """Wakes up with a valid lease, hears its acknowledgement, and is cut off."""
    machine = _machine(world, n)
    process, length_s = machine.process, 3 + 6.8 * world.random.random()
    if process is None or not process.runs:
        return None
    process.pause()

    def wake() -> None:
        process.resume()
        world.broker.look_again()
        world.timeline.after(0.3 * world.random.random(), machine.cut_off, True)

    world.timeline.after(length_s, wake)
    return lambda: world.timeline.after(length_s + 1, _heal, world, machine)


def _first_delayed(world: World, n: int) -> Callable[[], object]:
    """An acknowledgement that is long on its way is the last one."""
    machine = _machine(world, n)

    def answered() -> None:
        if world.random.random() < 0.4:
            world.broker.answers_late.pop(machine, None)
            world.timeline.after(0.1 + 0.8 * world.random.random(), machine.cut_off, True)

    world.broker.answers_late[machine] = Late(1.9 + 0.9 * world.random.random(), answered)
    return lambda: _heal(world, machine)


def _overload(world: World, n: int) -> Callable[[], object]:
    """Who reads is far behind, and the API dies right after it has answered a create."""
    world.api.dies_after_answer = True
    undo = [_delay(world, n) for n in range(len(world.offices))] + [world.delay_projection()]

    def over() -> None:
        world.api.dies_after_answer = False
        for each in undo:
            each()

    return over


def _heal(world: World, machine: Machine) -> None:
    world.broker.answers_late.pop(machine, None)
    machine.cut_off(False)
    world.broker.look_again()


def _delay(world: World, n: int) -> Callable[[], object]:
    """It has much to read before it comes to our sessions."""
    world.offices[n].late = True
    return lambda: world.offices[n].catch_up()


def _end_sessions(world: World) -> None:
    for sid in sorted(world.referee.created):
        world.api.end(sid)


def _slow(world: World) -> Callable[[], object]:
    world.broker.slow = 20 + 150 * world.random.random()
    return lambda: setattr(world.broker, "slow", world.weather.slow)


def _slow_database(world: World) -> Callable[[], object]:
    world.database.slow_s = 2.9
    return lambda: setattr(world.database, "slow_s", 0.0)


_BEGIN: dict[str, Callable[[World, int], Callable[[], object] | None]] = {
    "cut worker": lambda world, n: _cut(_machine(world, n)),
    "pause worker": lambda world, n: _pause(_machine(world, n).process),
    "kill worker": lambda world, n: _kill(_machine(world, n).process),
    "stop machine": _stop_machine,
    "pause child": lambda world, n: _pause(_machine(world, n).playing(world.random)),
    "kill child": lambda world, n: _kill(_machine(world, n).playing(world.random)),
    "drain worker": lambda world, n: _machine(world, n).terminate(),
    "ask worker to drain": lambda world, n: world.api.drain(world.worker_id(n)),
    "pause roster": lambda world, n: _pause(world.offices[n].process),
    "cut roster": lambda world, n: _cut(world.offices[n]),
    "kill roster": lambda world, n: _kill(world.offices[n].process),
    "kafka away": lambda world, n: _away(world.broker),
    "database away": lambda world, n: _away(world.database),
    "slow kafka": lambda world, n: _slow(world),
    "slow database": lambda world, n: _slow_database(world),
    "pause api": lambda world, n: _pause(world.api.process),
    "cut api": lambda world, n: _cut(world.api),
    "kill api": lambda world, n: _kill(world.api.process),
    "pause then cut worker": _first_paused,
    "delay then cut worker": _first_delayed,
    "overload": _overload,
    "delay roster": _delay,
    "delay projection": lambda world, n: world.delay_projection(),
    "end sessions": lambda world, n: _end_sessions(world),
    "rebalance": lambda world, n: world.group.shuffle(),
    "compaction": lambda world, n: world.broker.compact(WORKERS),
    "lose machine": _lose_machine,
}
