"""One story: a system of a few processes, what goes wrong in it, and whether its promises are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from aiokafka.errors import KafkaError

from events.session_state import State, Status
from events.topics import SESSIONS
from reactors.presence import PASS_S
from schemas.events import EndReason, SessionEvent
from schemas.ids import SESSION
from tests.simulation import faults, patches
from tests.simulation.broker import Broker, Entry
from tests.simulation.children import Attempt, MediaClock
from tests.simulation.customers import Api
from tests.simulation.database import Database
from tests.simulation.machines import Machine
from tests.simulation.promises import Broken, Referee
from tests.simulation.rosters import Group, Office, Reading
from tests.simulation.timeline import Process, Timeline
from workers.lease import phase
from workers.supervisor import Supervisor

START_S = 3.0
MARGIN_S = 75.0
"""After the last fault and the maximum duration: 45 s to give a start or a replacement up, 30 s to give an end up."""
QUIET_S = 12.0
RETIRED_WITHIN_S = 15.0
"""A worker that was declared lost and sees Kafka again is gone by then."""
_LOOK_EVERY_S = 0.5
_MOST_S = 600.0


class Story:
    """What happened. Kept only when somebody wants to read it."""

    def __init__(self, timeline: Timeline, listens: bool) -> None:
        self._timeline = timeline
        self.listens = listens
        self.lines: list[str] = []

    def tell(self, who: str, what: str) -> None:
        if self.listens:
            self.lines.append(f"{self._timeline.now:9.3f}  {who:<18} {what}")


@dataclass
class Result:
    seed: int
    broken: Broken | None
    simulated_s: float
    steps: int
    statuses: list[Status]
    plan: list[faults.Fault]
    story: list[str] = field(default_factory=list)


class World:
    def __init__(self, seed: int, listens: bool) -> None:
        self.random: Random = Random(seed)
        self.chance = Random(seed + 1)
        """Of ids, so that what is said of them changes nothing else."""
        self.timeline = Timeline()
        self.story = Story(self.timeline, listens)
        self.weather = faults.weather(self.random)
        self.processes: list[Process] = []
        self.clocks: dict[tuple[str, int, str], MediaClock] = {}
        self.rooms: dict[str, Attempt] = {}
        self.supervisors: dict[str, tuple[Process, Supervisor]] = {}
        self.readings: list[Reading] = []
        self.machines: list[Machine] = []
        self.offices: list[Office] = []
        self._skews: dict[str, float] = {}
        self._own_ends: dict[str, tuple[float, EndReason] | None] = {}
        self._names: dict[str, str] = {}
        self.shown: dict[str, State] | None = None
        self.trouble = faults.Faults(self)
        self.api: Api
        self._quiet_since: float | None = None
        self.calm_s = 0.0
        """By then all faults and all maximum durations are over."""
        self.buried: dict[str, float] = {}
        """Worker → when it was declared lost although it lived."""
        self.without: dict[str, float] = {}
        """Worker → when it was seen last without a valid lease."""

        self.referee = Referee(self._played_ms, int(2000 * self.weather.skew_s), self._stop)
        self.broker: Broker = Broker(self.timeline, self.random)
        self.broker.slow, self.broker.twice = self.weather.slow, self.weather.twice
        self.broker.told.append(self._appended)
        self.database: Database = Database(self.timeline, self.random, self._shown)
        self.database.forgetful = self.weather.forgetful
        self.database.on_bury.append(self._buried)
        self.group: Group = Group(self)

    def build(self) -> list[faults.Fault]:
        chance = self.random
        self.machines = [
            Machine(self, f"worker{n}", patches.WORKER_SETTINGS[chance.randrange(2)])
            for n in range(chance.choice((2, 2, 3)))
        ]
        settings = patches.project_settings()
        self.offices = [Office(self, f"roster{n}", settings) for n in range(chance.choice((1, 2)))]
        self.api = Api(self)
        for machine in self.machines:
            machine.start()
        for office in self.offices:
            office.start()
        self.group.look()
        self.look()
        last_s = self._customers()
        plan = faults.plan(chance, len(self.machines), len(self.offices))
        self.calm_s = last_s
        for fault in plan:
            self.timeline.at(fault.at, self.trouble.begin, fault)
        return plan

    def _customers(self) -> float:
        """Creates and ends; returns when the last maximum duration will be over."""
        chance, last_s = self.random, 0.0
        for _ in range(chance.choice((1, 1, 2, 3))):
            sid, at, seconds = (
                f"{SESSION}_{chance.randbytes(8).hex()}",
                START_S + 10 * chance.random(),
                chance.choice((20, 40)),
            )
            self._own_ends[sid] = faults.own_end(chance)
            self.timeline.at(at, self.api.create, sid, seconds)
            if chance.random() < 0.6:
                self.timeline.at(at + 45 * chance.random() ** 2, self.api.end, sid)
            last_s = max(last_s, at + seconds + 15)
        return last_s

    # What the parts ask for

    def process(self, name: str, skew_s: float = 0.0) -> Process:
        process = Process(self.timeline, name, skew_s)
        self.processes.append(process)
        return process

    def skew(self, name: str) -> float:
        if name not in self._skews:
            self._skews[name] = self.weather.skew_s * (2 * self.random.random() - 1)
        return self._skews[name]

    def own_end(self, sid: str) -> tuple[float, EndReason] | None:
        return self._own_ends.get(sid)

    def crashed(self, process: Process) -> None:
        """One that cannot begin, without Kafka or a warm process, ends and is started again; nothing else ends one."""
        if process.crash is not None and not isinstance(process.crash, KafkaError | OSError):
            self.referee.fail("no crash", f"{process.name}: {process.crash!r}")

    def short(self, name: str) -> str:
        """Ids as a reader can tell them apart."""
        prefix, _, rest = name.partition("_")
        if prefix not in ("sess", "wrk") or not rest:
            return name
        return self._names.setdefault(name, f"{prefix}_{len(self._names)}")

    def _played_ms(self, sid: str, attempt: int, worker_id: str) -> int | None:
        clock = self.clocks.get((sid, attempt, worker_id))
        return None if clock is None else clock.played_ms()

    def _stop(self) -> None:
        self.timeline.stopped = True

    def machine_of(self, worker_id: str | None) -> int | None:
        found = self.supervisors.get(worker_id or "")
        return None if found is None else next((n for n, m in enumerate(self.machines) if m.process is found[0]), None)

    def worker_id(self, n: int) -> str:
        supervisor = self.machines[n].supervisor
        return supervisor.worker_id if supervisor is not None else ""

    def delay_projection(self) -> Callable[[], object]:
        """The sessions projection stands still."""
        self.shown = dict(self.referee.states)
        return lambda: setattr(self, "shown", None)

    def _shown(self, sid: str) -> State | None:
        return (self.referee.states if self.shown is None else self.shown).get(sid)

    # What is watched

    def _appended(self, entry: Entry) -> None:
        self.referee.appended(entry)
        if entry.topic == SESSIONS.name and entry.event is not None and self.referee.outcome == "accepted":
            self.trouble.happened(entry.event)
        if self.story.listens and entry.event is not None and isinstance(entry.event.data, SessionEvent):
            data = entry.event.data
            what = [f"{n}={self.short(str(getattr(data, n)))}" for n in _SHOWN if getattr(data, n, None) is not None]
            self.story.tell("log", f"{entry.event.type} {' '.join(what)} ({self.referee.outcome})")

    def _buried(self, worker_id: str) -> None:
        found = self.supervisors.get(worker_id)
        running = self.timeline.running
        self.story.tell(running.name if running else "", f"buries {self.short(worker_id)}")
        if found is None or not found[0].alive or found[1]._draining:
            return
        self.buried.setdefault(worker_id, self.timeline.now)
        back_s = self.timeline.now - self.without.get(worker_id, -1000.0)
        if back_s < PASS_S + self.broker.slowest + _LOOK_EVERY_S:
            return  # its lease had run out, and that it is back was not read yet
        self.referee.lost(worker_id, phase(found[1].renewed_at, self.timeline.now))

    def look(self) -> None:
        """Whether the story is told: all is said and done for a while."""
        states = self.referee.states
        admitted = self.database.tables.admissions
        for worker_id, (process, supervisor) in self.supervisors.items():
            if process.alive and phase(supervisor.renewed_at, self.timeline.now) != "valid":
                self.without[worker_id] = self.timeline.now
        zombies = any(self.supervisors[worker_id][0].alive for worker_id in self.buried)
        done = (
            not zombies and all(state.terminal for state in states.values()) and not admitted and self.timeline.now > 30
        )
        if not done:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = self.timeline.now
        elif self.timeline.now - self._quiet_since > QUIET_S:
            self.timeline.stopped = True
        if self.timeline.now > max(self.calm_s, faults.LAST_S) + MARGIN_S:
            self.timeline.stopped = True
        self.timeline.after(_LOOK_EVERY_S, self.look)

    def judge(self) -> None:
        """At the end of the story."""
        referee = self.referee
        for sid, state in referee.states.items():
            referee.expect(state.terminal, "I8", f"{self.short(sid)} is {state.status} at {self.timeline.now:.0f} s")
        for sid, admission in self.database.tables.admissions.items():
            referee.expect(False, "I8", f"the admission of {self.short(sid)} is still {admission.state}")
        held = [slot for slot in self.database.tables.slots if slot.session_id is not None]
        referee.expect(not held, "I8", f"slots are held by nobody: {held}")
        for worker_id, at in self.buried.items():
            gone = (
                not self.supervisors[worker_id][0].alive or self.timeline.now < max(at, self.calm_s) + RETIRED_WITHIN_S
            )
            referee.expect(gone, "gone", f"{self.short(worker_id)} was declared lost and goes on")
        referee.acknowledged()
        referee.replayed({sid: state for sid, (_, state) in self.database.tables.states.items()})


_SHOWN = ("session_id", "attempt", "worker_id", "reason", "code", "n", "expected_seq", "by")


def run(seed: int, listens: bool = False) -> Result:
    """Tell the story of this seed. It is the same each time."""
    world = World(seed, listens)
    with patches.simulated(world):
        plan = world.build()
        world.timeline.run(_MOST_S)
        if world.referee.broken is None:
            world.judge()
    statuses = [state.status for state in world.referee.states.values()]
    return Result(
        seed, world.referee.broken, world.timeline.now, world.timeline.steps, statuses, plan, world.story.lines
    )
