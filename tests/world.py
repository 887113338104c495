"""A system under test: its own database and topics on the shared servers, and real processes that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from api.settings import ApiSettings
from cli.customer import LiveKitProject
from cli.processes import environment
from events import topics
from events.codec import Event, decode, new_event
from events.producer import EventProducer, UnknownOutcome
from events.sealing import Keyring, new_worker_key, public_text, sign_state
from events.signing import SigningKey
from events.topics import AVATARS, SESSIONS, WORKERS, Topic
from faces.mark.keys import MarkKeyring
from reactors.settings import ProjectSettings
from schemas.events import AvatarEvent, SessionEvent, WorkerState
from schemas.ids import WORKER, new_id
from stack import postgres
from stack.ports import free_ports, own_address
from stack.process import Process, ProcessSpec
from stack.servers import Servers
from store import accounts
from store.database import pool as open_pool
from store.migrate import migrate
from tests.builders import worker_state

T = TypeVar("T")

_DAY_S = 86_400


async def eventually(probe: Callable[[], Awaitable[T]], timeout_s: float = 90, what: str = "the condition") -> T:
    """Await a condition of another process: returns its first true value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = await probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout_s} s; last value {value!r}")
        await asyncio.sleep(0.03)


async def clear_of_midnight(span_s: float = 60) -> None:
    """Days and months turn at midnight, UTC. What is to be seen within one of them does not begin in another's end."""
    left_s = _DAY_S - time.time() % _DAY_S
    if left_s < span_s:
        await asyncio.sleep(left_s)


def _kind(process: str) -> str:
    """`worker` of `worker-2`."""
    return process.split("-")[0]


async def delete_topic(world: World, topic: Topic) -> None:
    """And wait until it is gone."""
    name = world.prefix + topic.name
    admin = AIOKafkaAdminClient(bootstrap_servers=world.servers.kafka_bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([name])

        async def gone() -> bool:
            return name not in await admin.list_topics()

        await eventually(gone, what=f"deletion of {name}")
    finally:
        await admin.close()


class Settings(ApiSettings, ProjectSettings):  # type: ignore[misc]  # pydantic's own inner names
    """All at once, for what a test does in the place of a process."""


def stored(world: World) -> list[str]:
    """Names of all portraits and faces in its assets, and of what is left of any."""
    # os.walk goes past a folder that is removed meanwhile
    files = [Path(folder) / name for folder, _, names in os.walk(world.folder / "assets") for name in names]
    return sorted(path.name for path in files if path.parent.parent.name != "owners")


@cache
def _migrated(server_url: str) -> str:
    """The name of a database that has all migrations: to copy it takes a tenth of the time."""
    migrate(postgres.create_database(server_url, "migrated"))
    return "migrated"


class World:
    def __init__(self, servers: Servers, folder: Path) -> None:
        name = f"t{secrets.token_hex(5)}"
        self.servers = servers
        self.folder = folder
        self.database = name
        self.prefix = f"{name}."
        self.database_url = postgres.create_database(servers.database_url, name, _migrated(servers.database_url))
        self.api_port, self.internal_port = free_ports(2)
        self.api_url = f"http://127.0.0.1:{self.api_port}"
        self.pepper = secrets.token_urlsafe(16)
        self.master_keys = Keyring.generate("t1")
        self.keyring = Keyring(self.master_keys)
        self.livekit = LiveKitProject(servers.livekit_url, servers.livekit_api_key, servers.livekit_api_secret)
        self.env = {
            "GREENROOM_KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
            "GREENROOM_TOPIC_PREFIX": self.prefix,
            "GREENROOM_DATABASE_URL": self.database_url,
            "GREENROOM_MASTER_KEYS": self.master_keys,
            "GREENROOM_KEY_PEPPER": self.pepper,
            "GREENROOM_JOIN_SECRET": "join-secret-of-the-tests",
            "GREENROOM_SIGNING_KEY": SigningKey.generate("t1"),
            "GREENROOM_MARK_KEYS": MarkKeyring.generate("t1"),
            "GREENROOM_API_PORT": str(self.api_port),
            "GREENROOM_INTERNAL_PORT": str(self.internal_port),
            "GREENROOM_WEBHOOK_ALLOW_INSECURE": "true",
            "GREENROOM_WEBHOOK_PERMITTED_NETWORKS": f"127.0.0.0/8,::1/128,{own_address()}/32",
            "GREENROOM_LIVEKIT_PERMITTED_NETWORKS": f"127.0.0.0/8,::1/128,{own_address()}/32",
            "GREENROOM_CONSOLE_LIVEKIT_URL": servers.livekit_url,
            "GREENROOM_CONSOLE_LIVEKIT_KEY": servers.livekit_api_key,
            "GREENROOM_CONSOLE_LIVEKIT_SECRET": servers.livekit_api_secret,
            "GREENROOM_WORKER_HEARTBEAT_S": "1",
            "GREENROOM_WORKER_RENDERER": "mock",
            "GREENROOM_AVATAR_CONSENT_REQUIRED": "false",
            "GREENROOM_ASSETS": str(folder / "assets"),
            "GREENROOM_WORKER_STATE": str(folder / "workers"),
        }
        self.settings = Settings(
            kafka_bootstrap=servers.kafka_bootstrap,
            topic_prefix=self.prefix,
            join_secret=self.env["GREENROOM_JOIN_SECRET"],
            database_url=self.database_url,
            master_keys=self.master_keys,
            key_pepper=self.pepper,
            webhook_allow_insecure=True,
            webhook_permitted_networks=self.env["GREENROOM_WEBHOOK_PERMITTED_NETWORKS"],
        )
        self.processes: dict[str, Process] = {}
        self._fakes: dict[str, asyncio.Task[None]] = {}
        self.worker_keys: dict[str, X25519PrivateKey] = {}
        """Of the fake workers, by their ids: what their tasks are sealed to."""

    async def open(self) -> None:
        await topics.apply(self.servers.kafka_bootstrap, self.prefix)
        await self.sql("UPDATE plans SET creates_per_minute = 1000000 WHERE key = 'self_hosted'")
        self.account, self.key = await self.new_account("tests")

    async def close(self) -> None:
        for worker_id in self._fakes:
            self.silence(worker_id)
        await asyncio.gather(*self._fakes.values(), return_exceptions=True)
        await self.stop_all()
        await self._delete_topics()
        await asyncio.to_thread(postgres.drop_database, self.servers.database_url, self.database)

    async def _delete_topics(self) -> None:
        """Of a run that has thirty worlds all partitions together are more than the broker's heap holds."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers.kafka_bootstrap, request_timeout_ms=15_000)
        try:
            await asyncio.wait_for(admin.start(), 15)
            mine = [name for name in await admin.list_topics() if name.startswith(self.prefix)]
            await asyncio.wait_for(admin.delete_topics(mine), 15)
        except (KafkaError, TimeoutError):  # a test has taken it away: with it went the topics
            return
        finally:
            await admin.close()

    async def new_account(self, name: str, plan: str = "self_hosted") -> tuple[str, str]:
        """Returns (account id, API key)."""
        async with open_pool(self.database_url, 1) as pool, pool.connection() as connection:
            account = await accounts.create_account(connection, name, plan, self.keyring)
            _, key = await accounts.create_key(connection, account, name, self.pepper)
        return account, key

    async def new_key(self, account: str | None = None, **limits: Any) -> tuple[str, str]:
        """Returns (key id, API key) of an account, or of the world's; `limits` as in KeyLimits."""
        async with open_pool(self.database_url, 1) as pool, pool.connection() as connection:
            wanted = accounts.KeyLimits(**limits)
            return await accounts.create_key(connection, account or self.account, "tests", self.pepper, wanted)

    async def revoke(self, key_id: str) -> None:
        async with open_pool(self.database_url, 1) as pool, pool.connection() as connection:
            assert await accounts.revoke_key(connection, key_id)

    # Processes

    async def start(self, *names: str, **env: str) -> None:
        """`api`, `deliver`, `worker`, or a projection by name; ready when this returns. A name may end in -2, -3 …"""
        registered = await self._registered(sum(_kind(name) == "worker" for name in names))
        specs = [self._spec(name, env, registered) for name in names]
        for spec in specs:
            self.processes[spec.name] = Process(spec, self.folder)
            await self.processes[spec.name].start()
        await asyncio.gather(*(self.processes[spec.name].wait_ready() for spec in specs))

    def _spec(self, name: str, env: dict[str, str], registered: Callable[[], Awaitable[bool]]) -> ProcessSpec:
        """As `greenroom up` would start it: with the settings of its kind."""
        command = _kind(name)
        args = [command] if command in ("api", "deliver", "worker", "build", "live") else ["project", command]
        port = env.get("GREENROOM_INTERNAL_PORT", str(self.internal_port))
        ready = {"api": self._api_ready(port), "worker": registered}.get(command)
        known = environment(args[0], {**self.env, **env})
        return ProcessSpec(name, [sys.executable, "-m", "cli.main", *args], known, ready=ready, ready_timeout_s=120)

    @staticmethod
    def _api_ready(internal_port: str) -> Callable[[], Awaitable[bool]]:
        async def probe() -> bool:
            try:
                async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
                    return (await client.get(f"http://127.0.0.1:{internal_port}/readyz")).status_code == 200
            except httpx.HTTPError:
                return False

        return probe

    async def _registered(self, workers: int) -> Callable[[], Awaitable[bool]]:
        """Whether so many more are there than now: each life of a worker has an id of its own."""
        before = [row[0] for row in await self.sql("SELECT worker_id FROM workers")] if workers else []

        async def probe() -> bool:
            found = await self.sql(
                "SELECT count(*) FROM workers WHERE phase = 'ready' AND worker_id <> ALL(%s)", before
            )
            return bool(found[0][0] >= workers)

        return probe

    async def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone."""
        self.processes[name].kill()
        await self.processes[name].wait()

    async def restart(self, name: str) -> None:
        process = self.processes[name]
        registered = await self._registered(int(_kind(name) == "worker"))
        process.spec = self._spec(name, dict(process.spec.env), registered)
        await process.start()
        await process.wait_ready()

    async def stop(self, name: str) -> None:
        await self.processes[name].stop()

    async def stop_all(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.processes.values()))
        self.processes.clear()

    # Looking inside

    async def sql(self, query: str, *args: Any) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(self.database_url, autocommit=True) as connection:
            cursor = await connection.execute(query, list(args))
            return await cursor.fetchall() if cursor.description else []

    async def wipe(self) -> None:
        """Forget all that the projections of `sessions.v1` have derived, so that they read the log again."""
        await self.sql("DELETE FROM checkpoints; DELETE FROM fold_states; DELETE FROM sessions_v1.sessions")
        await self.sql("DELETE FROM history_v1.session_events; DELETE FROM history_v1.attempts")
        await self.sql("ALTER TABLE usage_v1.usage_events DISABLE TRIGGER append_only")
        await self.sql("DELETE FROM usage_v1.usage_events; DELETE FROM usage_v1.session_days")
        await self.sql("DELETE FROM usage_v1.months")
        await self.sql("ALTER TABLE usage_v1.usage_events ENABLE TRIGGER append_only")

    async def log(self, session_id: str | None = None, topic: Topic = SESSIONS) -> list[tuple[Event, int]]:
        """(event, append time) of all readable records, in order per partition."""
        return [
            (decode(r), r.timestamp)
            for r in await self.records(topic)
            if r.value is not None and session_id in (None, (r.key or b"").decode())
        ]

    async def records(self, topic: Topic) -> list[Any]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers.kafka_bootstrap, auto_offset_reset="earliest")
        try:
            await asyncio.wait_for(consumer.start(), 30)
            places = [TopicPartition(self.prefix + topic.name, p) for p in range(topic.partitions)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: list[Any] = []
            while any([await consumer.position(p) < ends[p] for p in places]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found.extend(records)
            return found
        finally:
            await consumer.stop()

    async def kinds(self, session_id: str) -> list[str]:
        return [event.type for event, _ in await self.log(session_id)]

    async def append(self, *data: SessionEvent | AvatarEvent) -> None:
        """As a worker, an API, a builder or a roster would: again, until it is acknowledged."""
        async with EventProducer(self.settings) as producer:
            for item in data:
                topic, subject = (
                    (SESSIONS, item.session_id) if isinstance(item, SessionEvent) else (AVATARS, item.avatar_id)
                )
                event = new_event(item, source="tests", subject=subject)
                while True:
                    with contextlib.suppress(UnknownOutcome):
                        await producer.send(topic, event)
                        break

    async def admit(self, session_id: str) -> None:
        """An admission, as every session has that was answered: the roster ends those without."""
        await self.sql(
            "INSERT INTO admissions VALUES (%s, %s, 'evt', 'wrk', 'live', true, %s, 'body', 0, '{}')",
            session_id,
            self.account,
            session_id.encode(),
        )
        await self.sql("UPDATE accounts SET live_sessions = live_sessions + 1 WHERE id = %s", self.account)

    async def slots_of_nobody(self, count: int, *qualities: str) -> None:
        """Slots whose worker never says anything: for a world without a roster, which would bury it."""
        worker_id, key = new_id(WORKER), public_text(new_worker_key())
        offered = list(qualities or ("mock",))
        await self.sql("INSERT INTO workers VALUES (%s, 0, %s, %s, 'ready')", worker_id, key, offered)
        await self.sql(
            "INSERT INTO slots (worker_id, slot, qualities) SELECT %s, n, %s FROM generate_series(1, %s) n",
            worker_id,
            offered,
            count,
        )

    async def fake_worker(self, slots: int, qualities: list[str] | None = None) -> str:
        """A worker that says its state each second and never starts anything; registered when this returns."""
        worker_id = new_id(WORKER)
        key = self.worker_keys[worker_id] = new_worker_key()
        state = worker_state(worker_id, slots, qualities or ["mock"], public_text(key))
        signed = sign_state(state, self.settings.join_secret.get_secret_value())
        self._fakes[worker_id] = asyncio.create_task(self._say_states(signed))

        async def registered() -> bool:
            return bool(await self.sql("SELECT 1 FROM slots WHERE worker_id = %s", worker_id))

        await eventually(registered, what="registration of a fake worker")
        return worker_id

    def silence(self, worker_id: str) -> None:
        """A fake worker says nothing any more."""
        self._fakes[worker_id].cancel()

    async def _say_states(self, state: WorkerState) -> None:
        async with EventProducer(self.settings) as producer:
            while True:
                with contextlib.suppress(UnknownOutcome):
                    await producer.send(WORKERS, new_event(state, source="tests", subject=state.worker_id))
                await asyncio.sleep(1)

    async def second_api(self, name: str = "api-2", **env: str) -> str:
        """Another API process beside `api`; returns its URL."""
        port, internal_port = free_ports(2)
        await self.start(name, GREENROOM_API_PORT=str(port), GREENROOM_INTERNAL_PORT=str(internal_port), **env)
        return f"http://127.0.0.1:{port}"

    def client(self, key: str | None = None, url: str | None = None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.AsyncClient(base_url=url or self.api_url, headers=headers, timeout=15, trust_env=False)

    def request(self, room: str | None = None, **changes: Any) -> dict[str, Any]:
        """A valid body for POST /v1/sessions."""
        room = room or f"room-{secrets.token_hex(4)}"
        transport = {
            "type": "livekit",
            "url": self.livekit.url,
            "room_name": room,
            "worker_token": self.livekit.token(room, "avatar", behalf="agent"),
            **changes.pop("transport", {}),
        }
        return {"avatar_id": "av_demo", "quality": "mock", "transport": transport, **changes}

    async def create(self, client: httpx.AsyncClient, room: str | None = None, **changes: Any) -> dict[str, Any]:
        answer = await client.post("/v1/sessions", json=self.request(room, **changes))
        assert answer.status_code == 201, answer.text
        session: dict[str, Any] = answer.json()
        return session

    async def status(self, client: httpx.AsyncClient, session_id: str) -> dict[str, Any]:
        answer = await client.get(f"/v1/sessions/{session_id}")
        assert answer.status_code == 200, answer.text
        session: dict[str, Any] = answer.json()
        return session

    async def until(
        self, client: httpx.AsyncClient, session_id: str, *statuses: str, timeout_s: float = 90
    ) -> dict[str, Any]:
        async def probe() -> dict[str, Any] | None:
            session = await self.status(client, session_id)
            return session if session["status"] in statuses else None

        found = await eventually(probe, timeout_s, f"status {statuses} of {session_id}")
        assert found is not None
        return found
