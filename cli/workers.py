"""`greenroom workers`: who there is, what each holds, and how one is taken out of service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from cli.console import SOURCE, append, err, fail, out, run_to_the_end, with_database
from cli.shown import cell, shown_facts
from schemas.times import now_ms, to_wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.events import WorkerState
    from store.workers import Known

workers_app = typer.Typer(help="Workers: who there is, and how one is taken out of service.", no_args_is_help=True)

_ID = 30
_LOOK_S = 1.0

Worker = Annotated[str, typer.Argument(metavar="WORKER", help="Its id; see `greenroom workers list`.")]


@workers_app.command("list")
def list_workers(
    everybody: Annotated[bool, typer.Option("--all", help="Those that are gone, too, as far as known.")] = False,
) -> None:
    """List the workers: phase, slots, and how long ago each said its last word."""
    from store import workers

    known = with_database(lambda connection: workers.known(connection, gone=everybody))
    words = run_to_the_end(_last_words())
    whole = Column("worker", no_wrap=True, min_width=_ID)
    table = Table(whole, "phase", "slots", "held", "qualities", "device", "said")
    for each in known:
        word = words.get(each.worker_id)
        device, said = (word[0].device, _ago(word[1])) if word else ("", "nothing that is kept")
        row = (each.worker_id, each.phase, each.slots, each.held, " ".join(each.qualities), device, said)
        table.add_row(*map(cell, row))
    out.print(table)


@workers_app.command("show")
def show(worker: Worker) -> None:
    """One worker: what it said last, and the sessions that it holds."""
    known = _known(worker)
    word = run_to_the_end(_last_words()).get(worker)
    facts: dict[str, object] = {
        "phase": known.phase,
        "slots": f"{known.held} of {known.slots} held",
        "registered": to_wire(known.registered_ms),
    }
    if known.gone_ms is not None:
        facts["gone"] = to_wire(known.gone_ms)
    if word is not None:
        state, at = word
        facts |= {
            "last word": f"{to_wire(at)}, {_ago(at)}",
            "qualities": " ".join(state.qualities),
            "device": state.device,
            "avatars": " ".join(state.avatars),
            "version": state.version,
            "started": to_wire(state.started_ms),
            "holds": ", ".join(f"{sid} (attempt {attempt})" for sid, attempt in state.held) or "no session",
        }
    shown_facts(facts)


@workers_app.command("drain")
def drain(
    worker: Worker,
    wait: Annotated[bool, typer.Option(help="Until it is gone.")] = True,
) -> None:
    """Take a worker out of service: nothing new; its sessions move to others, or play to their ends where no slot is
    free; then its process ends.

    Whatever keeps the process running starts a new one, with a new id, unless you stop it. A SIGTERM is the short way:
    sessions get GREENROOM_WORKER_DRAIN_GRACE_S then.
    """
    known = _known(worker)
    if known.phase == "gone":
        raise fail(f"{worker} is gone already.")
    from events import assignments
    from events.topics import ASSIGNMENTS

    run_to_the_end(append(ASSIGNMENTS, assignments.drain(worker, SOURCE)))
    err.print(f"{worker} takes nothing new; its {known.held} sessions move, or play to their ends.")
    if wait:
        with err.status("waiting for its sessions; Ctrl-C leaves it draining") as status:
            while (now := _known(worker)).phase != "gone":
                status.update(f"{now.held} sessions still play; Ctrl-C leaves it draining")
                time.sleep(_LOOK_S)
        out.print(f"{worker} is gone.")


def _known(worker_id: str) -> Known:
    from store import workers

    found = with_database(lambda connection: workers.known(connection, gone=True, worker_id=worker_id))
    if not found:
        raise fail(f"There is no worker {worker_id}; see `greenroom workers list --all`.")
    return found[0]


async def _last_words() -> Mapping[str, tuple[WorkerState, int]]:
    """Worker → its last state record, and when it was appended. Unsigned here: the roster checks who may be one."""
    from events.codec import Malformed, Unknown, decode
    from events.reader import LogReader
    from events.settings import LogSettings
    from events.topics import WORKERS
    from schemas.events import WorkerState

    found: dict[str, tuple[WorkerState, int]] = {}
    async with LogReader(LogSettings(), WORKERS) as log:
        begins, ends = await log.begins(), await log.ends()
        for partition, begin in begins.items():
            latest = {}
            async for records in log.read(partition, begin, ends[partition]):
                latest.update({record.key: record for record in records if record.key and record.value})
            for record in latest.values():
                try:
                    state = decode(record).data
                except (Malformed, Unknown):
                    continue
                if isinstance(state, WorkerState):
                    found[state.worker_id] = state, record.timestamp
    return found


def _ago(at_ms: int) -> str:
    seconds = max(0, now_ms() - at_ms) / 1000
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
