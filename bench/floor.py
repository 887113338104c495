"""The floor of `bench.create` and `bench.api`: bare routes. A create commits one INSERT and appends one record; a GET
and a list are one SELECT."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, Request
from starlette.responses import Response

from events.topics import SESSIONS
from schemas.ids import SESSION, new_id
from store.database import pool


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ["GREENROOM_KAFKA_BOOTSTRAP"], enable_idempotence=True, acks="all"
    )
    await producer.start()
    async with pool(os.environ["GREENROOM_DATABASE_URL"], 16) as connections:
        async with connections.connection() as connection:
            await connection.execute("CREATE TABLE IF NOT EXISTS floor (id text PRIMARY KEY, body bytea NOT NULL)")
        app.state.producer, app.state.pool = producer, connections
        yield
    await producer.stop()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/sessions")
async def create(request: Request) -> Response:
    body, made = await request.body(), new_id(SESSION)
    async with app.state.pool.connection() as connection:
        await connection.execute("INSERT INTO floor VALUES (%s, %b)", [made, body])
    topic = os.environ["GREENROOM_TOPIC_PREFIX"] + SESSIONS.name
    await app.state.producer.send_and_wait(topic, value=body, key=made.encode())
    return Response(body, status_code=201, media_type="application/json")


@app.get("/v1/sessions/{session_id}")
async def get(session_id: str) -> Response:
    async with app.state.pool.connection() as connection:
        cursor = await connection.execute("SELECT body FROM floor WHERE id = %s", [session_id], binary=True)
        row = await cursor.fetchone()
    return Response(row[0] if row else b"", media_type="application/json")


@app.get("/v1/sessions")
async def page() -> Response:
    async with app.state.pool.connection() as connection:
        cursor = await connection.execute("SELECT body FROM floor ORDER BY id DESC LIMIT 20", binary=True)
        rows = await cursor.fetchall()
    return Response(b"[" + b",".join(row[0] for row in rows) + b"]", media_type="application/json")


if __name__ == "__main__":
    port = int(os.environ["GREENROOM_API_PORT"])
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_config=None)
