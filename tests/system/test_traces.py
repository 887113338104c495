"""One trace of a session: across the API, the roster, two attempts of a worker, and its end."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from cli.customer import Watcher
from tests.collector import Collector
from tests.world import World, eventually

pytestmark = pytest.mark.media

TRACE, CUSTOMER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
EVERY_SPAN = {
    *(("api", "POST /v1/sessions"), ("api", "admit"), ("api", "send sessions.v1"), ("project", "assign")),
    *(("worker", name) for name in ("accept", "join", "first frame", "play", "end")),
}


@pytest_asyncio.fixture(scope="module")
async def collector(world: World) -> AsyncIterator[Collector]:
    with Collector() as opened:
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": opened.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        await world.start("api", "all", "worker", **told)
        yield opened


async def test_a_session_is_one_trace(world: World, collector: Collector) -> None:
    room, watcher = f"room-{secrets.token_hex(4)}", Watcher()
    await watcher.join(world.livekit, room)
    body = world.request(room)
    async with world.client() as client:
        headers = {"traceparent": f"00-{TRACE}-{CUSTOMER}-01"}
        sid = (await client.post("/v1/sessions", json=body, headers=headers)).json()["id"]
        async with asyncio.timeout(60):
            await watcher.first_frame.wait()
        player(world).kill()

        async def goes_on() -> bool:
            return (await world.kinds(sid)).count("session.first_frame") == 2

        await eventually(goes_on)
        await client.post(f"/v1/sessions/{sid}/end")
        await world.until(client, sid, "ended")
    await watcher.leave()

    async def whole() -> bool:
        return "end" in {span.name for span in collector.trace(TRACE)}

    await eventually(whole)
    found = collector.trace(TRACE)
    assert {(span.service.removeprefix("greenroom-"), span.name) for span in found} == EVERY_SPAN
    assert {span.parent_id for span in found} <= {CUSTOMER, *(span.span_id for span in found)}
    assert {span.about["greenroom.session_id"] for span in found if "greenroom.session_id" in span.about} == {sid}
    first, second = (span for span in found if span.name == "accept")
    (assign,) = (span for span in found if span.name == "assign")
    (created,) = (span for span in found if span.name == "POST /v1/sessions")
    assert (created.parent_id, first.parent_id, second.parent_id) == (CUSTOMER, created.span_id, assign.span_id)
    assert [span.error for span in found if span.name == "play"] == ["process_crashed", None]
    in_the_log = {event.traceparent for event, _ in await world.log(sid) if event.type != "session.end_requested"}
    assert {str(text).split("-")[1] for text in in_the_log} == {TRACE}
    said = b"".join(collector.raw)
    secrets_of_it = (world.key, world.pepper, body["transport"]["worker_token"], room, body["transport"]["url"])
    assert not [text for text in secrets_of_it if text.encode() in said]
    taken = [line for line in lines(world, "worker") if line.get("event") in ("session taken", "session process died")]
    whose = {"session_id": sid, "trace_id": TRACE}
    assert [whose.items() <= line.items() for line in taken] == [True] * 3
    assert [line["attempt"] for line in taken] == [1, 1, 2]
    assert [whose.items() <= line.items() for line in lines(world, "all") if line.get("event") == "decided"] == [True]


async def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(world: World, collector: Collector) -> None:
    """Twice: two sessions of one caller are two traces."""
    made = list[str]()
    async with world.client() as client:
        for header in ("ff-not-one-01", f"00-{TRACE}-{'0' * 16}-01"):
            answer = await client.post("/v1/sessions", json=world.request(), headers={"traceparent": header})
            assert answer.status_code == 201
            made.append(answer.json()["id"])
            await client.post(f"/v1/sessions/{made[-1]}/end")

    async def traces() -> Any:
        found = {
            span.trace_id: span.about["greenroom.session_id"]
            for span in collector.spans
            if span.name == "POST /v1/sessions" and not span.parent_id
        }
        return found if sorted(found.values()) == sorted(made) else None

    assert TRACE not in await eventually(traces)


def player(world: World) -> psutil.Process:
    """The session process that is in a room: warm ones are connected to nobody."""
    (found,) = (
        child
        for child in psutil.Process(world.processes["worker"].pid).children()
        if "workers.session_process" in child.cmdline() and child.net_connections("inet")
    )
    return found


def lines(world: World, name: str) -> list[dict[str, Any]]:
    text = Path(world.processes[name].log_path).read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
