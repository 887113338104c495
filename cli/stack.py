"""`greenroom up|down|reset`: the whole system on one machine, on the embedded real servers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.processes import INTERNAL_PORTS, PREFIX, environment, internal_port
from cli.reload import keep_reloading
from cli.running import STACK_FILE, running
from events import topics
from events.sealing import Keyring
from events.signing import SigningKey
from events.tracing import ENVIRONMENT
from faces import nets
from faces.mark.keys import MarkKeyring
from schemas.jsons import JsonObject
from stack import files, postgres, servers
from stack.files import STACK_FOLDER
from stack.ports import free_ports, own_address
from stack.process import ProcessGroup, ProcessSpec, StackError, open_log, private_folder
from stack.servers import Servers
from store import accounts
from store.database import pool as open_pool
from store.migrate import migrate
from workers.renderers import neural_missing

console = Console(stderr=True)

DATABASE = "greenroom"
_READY_S = 300.0
"""A machine that is busy, or reads torch from a slow disk, takes minutes; what cannot start says so before."""
_STOP_S = 60.0


class Bars:
    """Progress of long set-up work: one bar per step."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, name: str, done: int, total: int) -> None:
        if name not in self._tasks:
            if done >= total:
                return  # nothing to do, nothing to show
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total)


def install() -> tuple[Path, Path]:
    with Bars() as bars:
        return servers.install(bars)


async def up(reload: bool = False) -> None:
    """Start everything, tell that it is ready, and stay until SIGTERM or Ctrl-C."""
    jars, binary = install()
    if (folder := await _own_folder()) is None:
        return
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    group = ProcessGroup(STACK_FOLDER / "logs", inherited=[folder])
    starting = asyncio.create_task(_start(group, jars, binary))
    stopping = asyncio.create_task(stop.wait())
    reloading: asyncio.Task[None] | None = None
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            describe(starting.result())
            console.print("Ready. Ctrl-C stops everything.")
            if reload:
                reloading = asyncio.create_task(keep_reloading(group, console.print))
            await stopping
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        if reloading is not None:
            reloading.cancel()
            await asyncio.gather(reloading, return_exceptions=True)
        STACK_FILE.unlink(missing_ok=True)  # what stops is no stack to join
        await group.stop()
        os.close(folder)


async def _own_folder() -> int | None:
    """A descriptor that makes it ours; None where another `up` of this folder became ready meanwhile.

    Kafka and PostgreSQL of one that was killed take a while to end, and would let no others at their data.
    """
    deadline = time.monotonic() + _READY_S
    with console.status("waiting for another `greenroom up` of this folder, or for what it left"):
        while True:
            with contextlib.suppress(BlockingIOError):
                return files.take(STACK_FOLDER)
            if (described := running()) is not None:
                break
            if time.monotonic() > deadline:
                raise StackError(
                    f"Another `greenroom up` of this folder is not ready after {_READY_S:.0f} s, or processes that it "
                    f"left do not end: {_holders()}. See {STACK_FOLDER / 'logs'}."
                )
            await asyncio.sleep(0.1)
    tell_running(described)
    return None


def tell_running(described: JsonObject) -> None:
    console.print("A stack already runs in this folder; nothing was changed.")
    describe(described)


async def _start(group: ProcessGroup, jars: Path, binary: Path) -> JsonObject:
    started = await servers.start(group, STACK_FOLDER, jars, binary)
    secrets_of_stack = _secrets()
    database_url = await asyncio.to_thread(postgres.create_database, started.database_url, DATABASE)
    await asyncio.to_thread(migrate, database_url)
    await topics.apply(started.kafka_bootstrap)
    api_port, *internal = free_ports(1 + len(INTERNAL_PORTS))
    ports = dict(zip(INTERNAL_PORTS, internal, strict=True))
    env = _environment(started, database_url, secrets_of_stack, api_port, ports)
    api_key = await _api_key(database_url, secrets_of_stack)
    await _start_processes(group, env, ports, database_url)
    described = {
        "api_url": f"http://127.0.0.1:{api_port}",
        "api_key": api_key,
        "livekit_url": started.livekit_url,
        "livekit_api_key": started.livekit_api_key,
        "livekit_api_secret": started.livekit_api_secret,
        "kafka_bootstrap": started.kafka_bootstrap,
        "database_url": database_url,
        "supervisor": {"pid": os.getpid(), "started": psutil.Process().create_time()},
        "pids": {},
        "ports": {**started.ports, "api": api_port, "internal": ports["api"], **_named(ports)},
        "versions": started.versions,
        "environment": env,
    }
    _write(described, group)
    group.on_restart = lambda _: _write(described, group)
    return described


async def _start_processes(
    group: ProcessGroup, env: dict[str, str], ports: Mapping[str, int], database_url: str
) -> None:
    """`project`, `deliver` and the worker come up side by side: waiting for each in turn would be waiting thrice. For
    what comes after them nobody waits: importing torch, or faust, takes its time."""
    started_at = time.time()
    await group.add(_command("api", env, ready=_ready(ports["api"])))
    beside = [
        _command("project", env, "all", ready=_ready(ports["project"])),
        _command("deliver", env, ready=_ready(ports["deliver"])),
        # That the roster has registered it is more than the worker itself can know.
        _command("worker", env, ready=lambda: _has_slots(database_url, started_at)),
    ]
    started = [await group.add(spec, wait=False) for spec in beside]
    for process in reversed(
        started
    ):  # the worker is the last: when it is ready, one look at each of the others will do
        await process.wait_ready()
    if importlib.util.find_spec("faust") is not None:
        await group.add(_command("live", env))
    if neural_missing() is None:
        if (reason := nets.missing()) is None:
            await group.add(_command("build", env))
        else:
            console.print(f"Portraits are not built: {reason}", style="yellow")


def _write(described: JsonObject, group: ProcessGroup) -> None:
    described["pids"] = {name: process.pid for name, process in group.processes.items()}
    files.write(STACK_FILE, described)


def _command(kind: str, settings: dict[str, str], *args: str, ready: Any = None) -> ProcessSpec:
    argv = [sys.executable, "-m", "cli.main", kind, *args]
    return ProcessSpec(name=kind, argv=argv, env=environment(kind, settings), ready=ready, stop_timeout_s=20)


def _environment(
    started: Servers, database_url: str, kept: dict[str, str], api_port: int, ports: Mapping[str, int]
) -> dict[str, str]:
    """The settings of all processes together: of our own environment, and above them those of this stack."""
    own_networks = f"127.0.0.0/8,::1/128,{own_address()}/32"
    return {
        "GREENROOM_AVATAR_CONSENT_REQUIRED": "false",  # whoever runs it knows whom they upload
        **{name: value for name, value in os.environ.items() if name.startswith((PREFIX, ENVIRONMENT))},
        "GREENROOM_KAFKA_BOOTSTRAP": started.kafka_bootstrap,
        "GREENROOM_TOPIC_PREFIX": "",
        "GREENROOM_DATABASE_URL": database_url,
        "GREENROOM_MASTER_KEYS": kept["master_keys"],
        "GREENROOM_KEY_PEPPER": kept["key_pepper"],
        "GREENROOM_JOIN_SECRET": kept["join_secret"],
        "GREENROOM_SIGNING_KEY": kept["signing_key"],
        "GREENROOM_MARK_KEYS": kept["mark_keys"],
        "GREENROOM_API_PORT": str(api_port),
        **{internal_port(kind): str(port) for kind, port in ports.items()},
        "GREENROOM_METRICS_HOST": "127.0.0.1",
        "GREENROOM_ASSETS": str((STACK_FOLDER / "assets").absolute()),
        "GREENROOM_WORKER_STATE": str((STACK_FOLDER / "workers").absolute()),
        "GREENROOM_WEBHOOK_ALLOW_INSECURE": "true",
        "GREENROOM_WEBHOOK_PERMITTED_NETWORKS": own_networks,
        # The console makes rooms in this LiveKit, and looks into those of its sessions.
        "GREENROOM_CONSOLE_LIVEKIT_URL": started.livekit_url,
        "GREENROOM_CONSOLE_LIVEKIT_KEY": started.livekit_api_key,
        "GREENROOM_CONSOLE_LIVEKIT_SECRET": started.livekit_api_secret,
        # without a network LiveKit stands at an address that was made for it
        "GREENROOM_LIVEKIT_PERMITTED_NETWORKS": f"{own_networks},{urlsplit(started.livekit_url).hostname}/32",
    }


def _secrets() -> dict[str, str]:
    """Made on first use, kept with the stack's data: without them that data cannot be read."""
    path = STACK_FOLDER / "secrets.json"
    kept: dict[str, str] = files.read(path)
    made = {
        "master_keys": Keyring.generate("m1"),
        "key_pepper": secrets.token_urlsafe(32),
        "join_secret": secrets.token_urlsafe(32),
        "signing_key": SigningKey.generate("d1"),
        "mark_keys": MarkKeyring.generate("k1"),
    }
    if made.keys() - kept.keys():  # all, or what a version before did not have
        kept = made | kept
        files.write(path, kept)
    return kept


async def _api_key(database_url: str, kept: dict[str, str]) -> str:
    """The key of account `demo`; both made on first use."""
    path = STACK_FOLDER / "secrets.json"
    if "api_key" not in kept:
        async with open_pool(database_url, 1) as connections, connections.connection() as connection:
            keyring = Keyring(kept["master_keys"])
            account = await accounts.find_account(connection, "demo")
            account = account or await accounts.create_account(connection, "demo", "self_hosted", keyring)
            _, kept["api_key"] = await accounts.create_key(connection, account, "stack", kept["key_pepper"])
        files.write(path, kept)
    return kept["api_key"]


def _named(ports: Mapping[str, int]) -> dict[str, int]:
    """As stack.json has the internal ports: `<kind>_metrics`."""
    return {f"{kind}_metrics": port for kind, port in ports.items()}


def _ready(port: int) -> Callable[[], Awaitable[bool]]:
    return lambda: _answers(f"http://127.0.0.1:{port}/readyz")


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False


async def _has_slots(database_url: str, since: float) -> bool:
    """The worker that we started has registered."""
    async with await psycopg.AsyncConnection.connect(database_url, connect_timeout=2) as connection:
        cursor = await connection.execute(
            """
            SELECT 1 FROM slots JOIN workers USING (worker_id)
            WHERE open AND phase = 'ready' AND registered_at > to_timestamp(%s) LIMIT 1
            """,
            [since],
        )
        return await cursor.fetchone() is not None


def up_detached(reload: bool = False) -> tuple[JsonObject, bool]:
    """What runs in this folder; else start `greenroom up` as a process of its own and wait until it is ready.

    Also whether it is ours to stop. Raises StackError.
    """
    if (described := running()) is not None:
        return described, False
    install()  # here, where its progress can be seen
    logs = STACK_FOLDER / "logs"
    private_folder(logs)
    with open_log(logs / "up.log") as log, console.status("starting servers and processes"):
        child = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", *(["--reload"] if reload else [])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            described = _until_ready(child, logs)
        except BaseException:  # Ctrl-C, say: a stack that nobody waits for would come up later
            child.terminate()
            raise
    return described, described["supervisor"]["pid"] == child.pid


def _until_ready(child: subprocess.Popen[bytes], logs: Path) -> JsonObject:
    deadline = time.monotonic() + 2 * _READY_S  # until the folder is its own, and from then on
    while True:
        ended = child.poll() is not None
        if (described := running()) is not None:
            return described
        if ended:
            tail = "\n".join((logs / "up.log").read_text().splitlines()[-15:])
            raise StackError(f"the stack did not start; the end of {logs / 'up.log'}:\n{tail}")
        if time.monotonic() > deadline:
            raise StackError(f"the stack was not ready within {2 * _READY_S:.0f} s; see {logs}")
        time.sleep(0.1)


def down() -> bool:
    """Stop the stack of this folder; False when none runs."""
    described = running()
    if described is None:
        return False
    process = psutil.Process(described["supervisor"]["pid"])
    with console.status("stopping"), contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(_STOP_S)
        except psutil.TimeoutExpired:
            process.kill()  # its children get their stop signals from the kernel
            raise StackError(f"the stack did not stop within {_STOP_S:.0f} s and was killed") from None
    return True


def reset() -> None:
    """Forget the data of this folder's stack. Downloads and builds stay. Raises StackError."""
    try:
        folder = files.take(STACK_FOLDER)
    except BlockingIOError:
        raise StackError(f"A stack of this folder starts, or is still ending ({_holders()}): try again.") from None
    files.forget(STACK_FOLDER)
    os.close(folder)


def _holders() -> str:
    return f"pids {', '.join(map(str, files.holders(STACK_FOLDER))) or 'of others'}"


def describe(described: JsonObject) -> None:
    console.print(f"API       {described['api_url']}  (docs at {described['api_url']}/docs)")
    console.print(f"Console   {described['api_url']}/console  (api_key of {STACK_FILE})")
    console.print(f"LiveKit   {described['livekit_url']}")
    console.print(f"Kafka     {described['kafka_bootstrap']}")
    console.print(f"Postgres  {described['database_url']}", markup=False)
    console.print(f"Keys      {STACK_FILE}")
