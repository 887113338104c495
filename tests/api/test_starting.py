"""What the API and the command that makes its keys refuse to start with, and when the API says that it is ready."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from api.server import missing
from events.sealing import Keyring
from store.database import new_pool
from tests.world import eventually

pytestmark = pytest.mark.processes

NOWHERE = "postgresql://postgres@127.0.0.1:1/none"


def greenroom(*args: str, pepper: str, port: int = 0) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "GREENROOM_DATABASE_URL": NOWHERE,
        "GREENROOM_MASTER_KEYS": Keyring.generate("m1"),
        "GREENROOM_KEY_PEPPER": pepper,
        "GREENROOM_API_PORT": str(port),
        "COLUMNS": "500",
    }
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *args], env=env, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("command", [["api"], ["keys", "create"]])
@pytest.mark.parametrize("pepper", ["", "x" * 15])
def test_no_pepper_is_told_in_a_sentence(command: list[str], pepper: str) -> None:
    done = greenroom(*command, pepper=pepper)
    assert done.returncode == 1
    assert "GREENROOM_KEY_PEPPER is missing or has fewer than 16 characters" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_hashes_nothing_needs_none() -> None:
    done = greenroom("keys", "list", pepper="")
    assert "GREENROOM_DATABASE_URL" in done.stderr  # it went on, to a database that is not there
    assert "PEPPER" not in done.stderr


def test_a_port_that_is_taken_is_told_in_a_sentence_before_all_else() -> None:
    """The database, for one: nothing has been started by then."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = greenroom("api", pepper="x" * 16, port=port)
    assert done.returncode == 1
    assert (
        f"127.0.0.1:{port} cannot be listened on (Address already in use): the public port of greenroom api"
        in done.stderr
    )
    assert "Traceback" not in done.stderr


async def test_it_is_ready_from_when_its_port_is_open_until_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked last is the database, which is not there."""
    app = FastAPI()
    app.state.context = SimpleNamespace(pool=new_pool(NOWHERE, 1))  # as the application has it once it has started
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    loop, told = asyncio.get_running_loop(), list[Sequence[str]]()
    create_server = loop.create_server

    async def opening(*args: Any, **options: Any) -> asyncio.Server:
        told.append(await missing(app, server))
        return await create_server(*args, **options)

    async def started() -> bool:
        return server.started

    monkeypatch.setattr(loop, "create_server", opening)
    serving = asyncio.create_task(server.serve())
    try:
        await eventually(started)
        told.append(await missing(app, server))
    finally:
        server.should_exit = True
        told.append(await missing(app, server))
        await serving
    assert told == [["it is starting"], ["the database does not answer"], ["it is stopping"]]
