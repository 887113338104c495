"""`greenroom demo`: one avatar session as a customer lives it, and the proof that all of it held."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from PIL import Image
from rich.console import Console
from rich.table import Table

from cli import stack
from cli.customer import AGENT, AVATAR, Agent, LiveKitProject, Watcher, reference_request, speech
from cli.receiver import Receiver
from cli.top import look
from events.codec import Event, decode
from events.settings import LogSettings
from events.topics import SESSIONS
from projections import audit, overview
from schemas.jsons import JsonObject
from schemas.times import from_wire, now_ms
from stack.ports import free_ports
from store.database import pool

out = Console()

CLIP_S = 5.0
_COUNTED_WITHIN_S = 15.0


@dataclass
class Report:
    """What was checked, in order."""

    checks: list[tuple[str, bool, str]] = field(default_factory=list)

    def check(self, what: str, held: bool, detail: str = "") -> bool:
        self.checks.append((what, held, detail))
        return held

    @property
    def failed(self) -> list[str]:
        return [what for what, held, _ in self.checks if not held]


def main(folder: Path, quality: str | None, console: bool = False) -> int:
    """Exit code 0 only when all of it held. Starts a stack, and stops it again, unless one runs here.

    `quality` None: the reference request's own. `console`: the stack stays, for whoever wants to look around in it.
    """
    described, ours = stack.up_detached()
    try:
        report = asyncio.run(_demonstrate(described, folder, quality))
    finally:
        if ours and not console:
            stack.down()
    _print_checks(report)
    if report.failed:
        out.print(f"Failed: {', '.join(report.failed)}", style="red")
        return 1
    out.print(f"All of it held. Look at {folder / 'frame.png'} and {folder / 'clip.mp4'}.", style="green")
    if console:
        out.print(f"The session is in the console: {described['api_url']}/console. Log in with this key:")
        out.print(described["api_key"], markup=False, highlight=False)
        out.print("`greenroom down` stops the stack.")
    return 0


async def _demonstrate(described: JsonObject, folder: Path, quality: str | None) -> Report:
    report = Report()
    project = LiveKitProject(described["livekit_url"], described["livekit_api_key"], described["livekit_api_secret"])
    room = f"demo-{secrets.token_hex(4)}"
    agent, watcher = Agent(), Watcher(keep=True)
    headers = {"Authorization": f"Bearer {described['api_key']}"}
    (port,) = free_ports(1)
    async with (
        httpx.AsyncClient(base_url=described["api_url"], headers=headers, timeout=12, trust_env=False) as client,
        Receiver(port) as receiver,
    ):
        try:
            with out.status("entering the room as agent and as watcher"):
                await asyncio.gather(agent.join(project, room), watcher.join(project, room))
            await _session(report, described, project, room, client, agent, watcher, receiver, folder, quality)
        except (TimeoutError, httpx.HTTPError) as failed:
            report.check("the session went through", False, repr(failed))
        finally:
            await asyncio.gather(agent.leave(), watcher.leave())
    return report


async def _session(
    report: Report,
    described: JsonObject,
    project: LiveKitProject,
    room: str,
    client: httpx.AsyncClient,
    agent: Agent,
    watcher: Watcher,
    receiver: Receiver,
    folder: Path,
    quality: str | None,
) -> None:
    endpoint_id = await _subscribe(report, client, receiver)
    token = project.token(room, AVATAR, behalf=AGENT)
    posted_ms = now_ms()
    body = reference_request(project.url, room, token, quality)
    answer = await client.post("/v1/sessions", json=body)
    if not report.check("POST /v1/sessions answers 201", answer.status_code == 201, _problem(answer)):
        return
    session = answer.json()
    sid = session["id"]
    out.print(f"Session {sid} in room {room}: {session['status']}")
    report.check("the token is not echoed", token not in answer.text)
    first = await receiver.wait_for("session.first_frame", sid, 15)
    report.check("signed webhook session.first_frame", True, f"{first.at_ms - posted_ms} ms after POST")
    async with asyncio.timeout(10):
        await watcher.first_frame.wait()
    seen_ms = now_ms() - round((time.monotonic() - watcher.frames[0].at) * 1000)
    report.check("the watcher sees the face", True, f"first decoded frame {seen_ms - posted_ms} ms after POST")
    await _speak(report, agent, watcher, folder)
    await _finish(report, client, receiver, sid)
    usage = await _history(report, described, sid, posted_ms, receiver)
    final = (await client.get(f"/v1/sessions/{sid}")).json()
    await _bill(report, described, final, usage)
    if "live" in described["pids"]:
        await _still(report, described, usage.get("billable_ms", 0))
    await client.delete(f"/v1/webhook_endpoints/{endpoint_id}")


async def _subscribe(report: Report, client: httpx.AsyncClient, receiver: Receiver) -> str:
    body = {"url": receiver.url, "events": ["session.*"], "description": "greenroom demo"}
    answer = await client.post("/v1/webhook_endpoints", json=body)
    report.check("POST /v1/webhook_endpoints answers 201", answer.status_code == 201, _problem(answer))
    receiver.secret = answer.json().get("secret", "")
    return str(answer.json().get("id"))


async def _speak(report: Report, agent: Agent, watcher: Watcher, folder: Path) -> None:
    """Speech goes in as an agent sends it; what the watcher saw and heard is saved."""
    pcm, rate, seconds = speech()
    start = time.monotonic()
    with out.status(f"speaking for {seconds:.1f} s"):
        await agent.say(pcm, rate)
        finished = await agent.report("lk.playback_finished", seconds + 10)
    exact = abs(finished.position_s - seconds) < 0.05 and not finished.interrupted
    report.check("the agent is told of the whole playback", exact, f"{finished.position_s:.2f} of {seconds:.2f} s")
    folder.mkdir(parents=True, exist_ok=True)
    frames, loudest = watcher.save_clip(folder / "clip.mp4", start, CLIP_S)
    middle = watcher.frames[len(watcher.frames) // 2].image
    Image.fromarray(middle).save(folder / "frame.png")
    report.check("25 frames a second were seen", 23 <= frames / CLIP_S <= 27, f"{frames / CLIP_S:.1f}")
    report.check("the speech was heard", loudest > 0.1, f"loudest sample {loudest:.2f} of 1")


async def _finish(report: Report, client: httpx.AsyncClient, receiver: Receiver, sid: str) -> None:
    answer = await client.post(f"/v1/sessions/{sid}/end")
    status = answer.json().get("status")
    report.check("POST …/end answers 200", answer.status_code == 200 and status in ("ending", "ended"), str(status))
    ended = await receiver.wait_for("session.ended", sid, 10)
    report.check("signed webhook session.ended", ended.body["data"]["status"] == "ended")
    report.check("every webhook was signed right", receiver.refused == 0, f"{receiver.refused} refused")


async def _history(
    report: Report, described: JsonObject, sid: str, posted_ms: int, receiver: Receiver
) -> dict[str, int]:
    """Every event of the session as an analyst reads it from Kafka, beside the webhooks that it caused."""
    table = Table("ms after POST", "event", "what it says", "webhook after", title=f"Session {sid}")
    hooks = {item.type: item.at_ms - posted_ms for item in receiver.received}
    billed: dict[str, int] = {}
    kinds = []
    for event in await _events(described, sid):
        told = _told(event)
        kinds.append(event.type)
        if event.type == "session.ended":
            billed = told.pop("meter", {})
        hook = f"{hooks[event.type]} ms" if event.type in hooks else ""
        says = ", ".join(f"{k} {v}" for k, v in told.items())
        table.add_row(str(event.time_ms - posted_ms), event.type, says, hook)
    out.print(table)
    wanted = ["session.created", "session.starting", "session.joined", "session.first_frame", "session.heartbeat"]
    missing = [kind for kind in (*wanted, "session.end_requested", "session.ended") if kind not in kinds]
    report.check("every step is an event in the log", not missing, f"missing {missing}" if missing else str(len(kinds)))
    return billed


def _problem(answer: httpx.Response) -> str:
    """The error's code and advice; nothing when there is none."""
    return "" if answer.is_success else answer.text[:300]


def _told(event: Event) -> JsonObject:
    data = event.data
    told: JsonObject = {}
    for name in ("worker_id", "reason", "latencies_ms", "n"):
        value = getattr(data, name, None)
        if value is not None:
            told[name.removesuffix("_id").removesuffix("_ms")] = value
    meter = getattr(data, "meter", None)
    if meter is not None:
        told["meter"] = {"billable_ms": meter.billable_ms, "frames": meter.frames}
    return told


async def _events(described: JsonObject, sid: str) -> list[Event]:
    consumer = AIOKafkaConsumer(bootstrap_servers=described["kafka_bootstrap"], auto_offset_reset="earliest")
    try:
        await asyncio.wait_for(consumer.start(), 15)
        places = [TopicPartition(SESSIONS.name, p) for p in range(SESSIONS.partitions)]
        consumer.assign(places)
        ends = await asyncio.wait_for(consumer.end_offsets(places), 15)
        found: list[Event] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found.extend(decode(r) for r in records if r.key == sid.encode())
        return sorted(found, key=lambda event: event.time_ms)
    finally:
        await consumer.stop()


async def _bill(report: Report, described: JsonObject, final: JsonObject, meter: dict[str, int]) -> None:
    """The resource, the ledger and the log must agree on the bill."""
    seconds = final["usage"]["billable_seconds"]
    shown = (from_wire(final["ended_at"]) - from_wire(final["first_frame_at"])) / 1000
    out.print(
        f"Usage: {seconds} s billed, {final['usage']['frames']} frames; first frame to end took {shown:.1f} s;"
        f" the worker's meter says {meter.get('billable_ms', 0) / 1000:.1f} s"
    )
    held = 0 < seconds <= shown + 1 and seconds == -(-meter.get("billable_ms", 0) // 1000)
    report.check("the bill is the time that was seen", held, f"{seconds} s")
    settings = LogSettings(kafka_bootstrap=described["kafka_bootstrap"], topic_prefix="")
    async with pool(described["database_url"], 1) as connections:
        try:
            verdict = await audit.audit(settings, connections, audit.Scope(), lambda _, __: None)
        except audit.CannotRead as failed:
            report.check("greenroom audit", False, str(failed))
            return
    report.check(
        "greenroom audit: the ledger equals the log",
        verdict.equal,
        f"{verdict.events} events, {verdict.entries} entries",
    )


async def _still(report: Report, described: JsonObject, billed_ms: int) -> None:
    """Live windows count the session too, within seconds; and what they look like."""
    settings = LogSettings(kafka_bootstrap=described["kafka_bootstrap"], topic_prefix="")
    async with pool(described["database_url"], 1) as connections:
        counted, deadline = 0, time.monotonic() + _COUNTED_WITHIN_S
        while counted < billed_ms and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            async with connections.connection() as connection:
                found = await overview.overview(connection, now_ms())
            counted = sum(minute.billable_ms for minute in found.minutes)
        report.check("live windows have counted it", counted >= billed_ms, f"{counted / 1000:.1f} s")
        out.print(await look(settings, connections))


def _print_checks(report: Report) -> None:
    table = Table("", "check", "", title="What held")
    for what, held, detail in report.checks:
        table.add_row("[green]✓[/]" if held else "[red]✗[/]", what, detail)
    out.print(table)
