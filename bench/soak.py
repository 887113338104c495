"""Sessions without end: the tables that are pruned stay flat, those that are kept for ever grow with the sessions."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time

import httpx

from bench.common import report, run, world
from reactors.prune import prune
from reactors.settings import RetentionSettings
from store.database import pool
from tests.world import World

CUSTOMERS = 4
PRUNED = ("idempotency_keys", "fold_states", "deliveries", "delivery_attempts", "abandoned", "workers", "slots")
KEPT = ("sessions_v1.sessions",)
KEEP_S = 20.0


def settings(system: World) -> RetentionSettings:
    day = KEEP_S / 86_400
    return RetentionSettings(
        database_url=system.database_url,
        keep_idempotency_keys_hours=KEEP_S / 3600,
        keep_deliveries_days=day,
        keep_fold_states_days=day,
        keep_abandoned_days=day,
        keep_workers_days=day,
    )


async def customer(system: World, client: httpx.AsyncClient, until: float) -> int:
    """Creates with a key, ends, again; returns how many."""
    made = 0
    while time.monotonic() < until:
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        answer = await client.post("/v1/sessions", json=system.request(), headers=headers)
        if answer.status_code == 201:
            await client.post(f"/v1/sessions/{answer.json()['id']}/end")
            made += 1
    return made


async def counts(system: World) -> list[int]:
    # all other fold states are kept on purpose: adjustments and erasures go on from them
    queries = [
        f"SELECT count(*) FROM {table}" + (" WHERE consumer = 'roster'" if table == "fold_states" else "")
        for table in (*PRUNED, *KEPT)
    ]
    return [(await system.sql(query))[0][0] for query in queries]


async def main(minutes: float) -> None:
    async with world() as system:
        await system.start("api", "all")
        await system.fake_worker(16)
        async with system.client() as client, pool(system.database_url, 1) as connections:
            endpoint = {"url": f"{system.api_url}/nowhere", "events": ["*"]}  # answers 404: tried, and kept pending
            await client.post("/v1/webhook_endpoints", json=endpoint)
            until = time.monotonic() + minutes * 60
            customers = [asyncio.create_task(customer(system, client, until)) for _ in range(CUSTOMERS)]
            rows = []
            while time.monotonic() < until:
                await asyncio.sleep(KEEP_S)
                # what is delivered goes; a receiver is not what is measured here
                await system.sql(
                    "UPDATE deliveries SET state = 'delivered', finished_at = now() WHERE state = 'pending'"
                )
                await prune(connections, settings(system))
                rows.append((f"{(minutes * 60 - until + time.monotonic()) / 60:.1f}", *await counts(system)))
                print("  ", rows[-1], flush=True)
            made = sum(await asyncio.gather(*customers))
    report(
        "soak",
        "Tables under sessions without end",
        ("minutes", *PRUNED, *KEPT),
        rows,
        [
            f"{made} sessions created with a key and ended, by {CUSTOMERS} customers.",
            f"Rows after each pruning, of what is older than {KEEP_S:.0f} s.",
            "`fold_states` of the roster; all others stay: adjustments and erasures go on from them.",
        ],
        "make soak",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0)
    run(main(parser.parse_args(sys.argv[1:]).minutes))
