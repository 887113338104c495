"""Creates a second and their latency, beside the floor of the same run: one commit and one acks=all append."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from dataclasses import dataclass

import orjson
import psycopg

from bench.common import quantile, report, run, world
from events.sealing import new_worker_key, public_text
from schemas.ids import WORKER, new_id
from stack.ports import free_ports
from stack.process import Process, ProcessSpec
from store.workers import register
from tests.builders import worker_state
from tests.world import World, eventually

CONNECTIONS = 8


@dataclass
class Load:
    rate: float
    latencies_ms: list[float]


def requests(system: World, count: int, keys: list[str]) -> list[bytes]:
    """Whole HTTP requests, made beforehand: the generator must not be what is measured."""
    token = system.livekit.token("any", "avatar")
    made = []
    for n in range(count):
        body = system.request(secrets.token_hex(8), metadata={"customer_session_id": "abc123"})
        # an opaque token: minting one for each room would take longer than the creates
        body["transport"]["worker_token"] = token.replace(".", "-")
        body["transport"]["worker_identity"] = "avatar"
        raw = orjson.dumps(body)
        head = (
            f"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keys[n % len(keys)]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
        )
        made.append(head.encode() + raw)
    return made


async def drive(port: int, work: list[bytes], connections: int = CONNECTIONS, status: int = 201) -> Load:
    """Send all of it over keep-alive connections, one request at a time each. Raises for another status."""
    expected = f"HTTP/1.1 {status}".encode()
    latencies: list[float] = []
    queue = iter(work)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in queue:
            sent = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lowered = head.lower()
            length = int(lowered.split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            latencies.append((time.perf_counter() - sent) * 1000)
            if not head.startswith(expected):
                raise RuntimeError(body.decode())
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)))
    return Load(len(work) / (time.perf_counter() - started), latencies)


async def slots(system: World, count: int) -> None:
    state = worker_state(new_id(WORKER), count, public_key=public_text(new_worker_key()))
    async with await psycopg.AsyncConnection.connect(system.database_url, autocommit=True) as connection:
        await register(connection, state)


async def start_floor(system: World) -> tuple[Process, int]:
    (port,) = free_ports(1)

    async def ready() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    env = {**system.env, "GREENROOM_API_PORT": str(port)}
    process = Process(ProcessSpec("floor", [sys.executable, "-m", "bench.floor"], env=env), system.folder)
    await process.start()
    await eventually(ready, 20, "the floor's server")
    return process, port


async def main(count: int, rounds: int) -> None:
    async with world() as system:
        await system.start("api")
        total = count * (rounds + 1)
        await slots(system, total + 100)
        keys = [(await system.new_account(f"bench-{n}"))[1] for n in range(CONNECTIONS)]
        floor, floor_port = await start_floor(system)
        ours, floors = [], []
        for n in range(rounds + 1):
            work = requests(system, count, keys)
            one, other = await drive(floor_port, work), await drive(system.api_port, work)
            if n:  # the first round warms both: statements, plans, write-ahead log segments
                floors.append(one)
                ours.append(other)
            print(f"  round {n}: floor {one.rate:.0f}/s, greenroom {other.rate:.0f}/s", flush=True)
        await floor.stop()
    ratios = [a.rate / b.rate for a, b in zip(ours, floors, strict=True)]
    rows = [(name, *cells(loads)) for name, loads in (("floor", floors), ("POST /v1/sessions", ours))]
    report(
        "create",
        "Creating sessions",
        ("", "creates/s (median)", "p50 ms", "p99 ms"),
        rows,
        (
            f"{CONNECTIONS} connections, {rounds} rounds of {count} creates, floor and product in turn.",
            f"Ratio of rates: median {quantile(ratios, 0.5):.2f} ({min(ratios):.2f}–{max(ratios):.2f}); target 0.45.",
            "Load generator, Kafka and PostgreSQL run on the same cores.",
        ),
    )


def cells(loads: list[Load]) -> tuple[str, str, str]:
    latencies = [ms for load in loads for ms in load.latencies_ms]
    rate = quantile([load.rate for load in loads], 0.5)
    return f"{rate:.0f}", f"{quantile(latencies, 0.5):.2f}", f"{quantile(latencies, 0.99):.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    run(main(given.count, given.rounds))
