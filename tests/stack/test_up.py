"""`greenroom up|down|reset` and other commands as a person types them, in a folder of their own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.processes import INTERNAL_PORTS
from tests import portraits
from tests.deploy import queries
from tests.looking import environment_of
from tools import metrics_table

pytestmark = pytest.mark.servers

KINDS = set(INTERNAL_PORTS)
LATE = {"build", "live"}
"""Importing torch, or faust, takes its time."""
OURS = ("greenroom_", "lk_")
"""LiveKit's names where LiveKit has one."""
OF_CALLERS = {"account", "account_id", "session", "session_id", "worker", "worker_id", "avatar", "avatar_id", "path"}
FOREIGN = {"AWS_SECRET_ACCESS_KEY": "what-up-itself-knows", "HTTPS_PROXY": "http://what-up-itself-knows@127.0.0.1:1"}
KNOWN_TO: dict[str, set[str]] = {
    "api": {"database", "master keys", "pepper", "livekit", "mark keys"},
    "project": {"database", "master keys", "join secret", "signing key"},
    "deliver": {"database", "master keys"},
    "live": {"database"},
    "worker": {"join secret", "mark keys"},
    **{name: set() for name in ("build", "workers.session_process", "workers.render_server")},
    **{name: set() for name in ("kafka", "postgres", "livekit")},
    "up": {"foreign"},
}
"""I13: which secrets the environment of each kind of process holds. All else that it is told is no secret."""


def greenroom(folder: Path, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *args],
        cwd=folder,
        env={**os.environ, **(env or {}), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def until(probe: Callable[[], Any], timeout_s: float = 60, told: Callable[[], Any] = lambda: "") -> Any:
    """`told`: what there is to say when it does not come true."""
    deadline = time.monotonic() + timeout_s
    while not (value := probe()):
        assert time.monotonic() < deadline, f"the condition did not come true {told()}"
        time.sleep(0.05)
    return value


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def described(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / ".greenroom" / "stack.json").read_text())
    return found


def family(stack: dict[str, Any]) -> list[int]:
    parents = [psutil.Process(pid) for pid in (stack["supervisor"]["pid"], *stack["pids"].values())]
    return [p.pid for p in parents] + [child.pid for p in parents for child in p.children(recursive=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("stack")
    result = greenroom(made, "up", "--detach", env=FOREIGN)
    assert result.returncode == 0, result.stderr
    yield made
    greenroom(made, "down")


def test_it_is_described_and_answers(folder: Path) -> None:
    stack = described(folder)
    for name in (
        *("api_url", "api_key", "livekit_url", "livekit_api_key", "livekit_api_secret"),
        *("kafka_bootstrap", "database_url", "pids", "ports", "versions"),
    ):
        assert stack[name]
    assert stack["versions"] == {"kafka": "4.4.0", "postgres": "18.6", "livekit": "1.13.5"}
    assert (folder / ".greenroom" / "stack.json").stat().st_mode & 0o077 == 0
    headers = {"Authorization": f"Bearer {stack['api_key']}"}
    answer = httpx.get(f"{stack['api_url']}/v1/sessions", headers=headers, trust_env=False)
    assert answer.json() == {"object": "list", "data": [], "has_more": False, "next_cursor": None}


def internal(stack: dict[str, Any], kind: str, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{stack['ports'][f'{kind}_metrics']}{path}", trust_env=False)


def is_ready(stack: dict[str, Any], kind: str) -> bool:
    try:
        return internal(stack, kind, "/readyz").status_code == 200
    except httpx.HTTPError:
        return False  # it is coming up


def test_every_process_tells_whether_it_is_ready(folder: Path) -> None:
    """When `up` returns, all but those for which nobody waits."""
    stack = described(folder)
    assert {kind for kind in KINDS - LATE if not is_ready(stack, kind)} == set()
    until(lambda: all(is_ready(stack, kind) for kind in LATE))
    for kind in KINDS:
        assert internal(stack, kind, "/healthz").text == "ok\n"
        assert f'greenroom_process_info{{kind="{kind}"' in internal(stack, kind, "/metrics").text


def test_every_process_tells_what_the_table_says_and_what_is_looked_at(folder: Path) -> None:
    """docs/reference/metrics.md is true both ways, and what dashboard and alert rules name is there to be scraped."""
    stack = described(folder)
    until(lambda: all(is_ready(stack, kind) for kind in LATE))
    told: dict[str, set[str]] = {}
    for kind in KINDS:
        families = list(text_string_to_metric_families(internal(stack, kind, "/metrics").text))
        names = {f.name + ("_total" if f.type == "counter" else "") for f in families}
        told[kind] = {name for name in names if name.startswith((*OURS, "process_"))}
        for family in families:
            assert all(sample.labels.keys() & OF_CALLERS == set() for sample in family.samples)
    table = {row.name: kinds for row, kinds in metrics_table.rows().items()}
    for kind in KINDS:
        ours = {name for name in told[kind] if name.startswith(OURS)} - {"greenroom_process_info"}
        assert ours == {name for name, kinds in table.items() if kind in kinds}
    everything = set().union(*told.values())
    everything |= {series for row in metrics_table.rows() if row.name in everything for series in row.series}
    assert {metric for query in queries.every() for metric in queries.metrics(query)} <= everything


def test_a_process_knows_the_secrets_of_its_kind_alone(folder: Path) -> None:
    stack = described(folder)
    worker = psutil.Process(stack["pids"]["worker"])
    children = {kind: c.pid for c in worker.children() for kind in KNOWN_TO if kind in c.cmdline()}
    pids = {**stack["pids"], **children, "up": stack["supervisor"]["pid"]}
    secrets = {
        "database": stack["environment"]["GREENROOM_DATABASE_URL"],
        "master keys": stack["environment"]["GREENROOM_MASTER_KEYS"],
        "pepper": stack["environment"]["GREENROOM_KEY_PEPPER"],
        "join secret": stack["environment"]["GREENROOM_JOIN_SECRET"],
        "signing key": stack["environment"]["GREENROOM_SIGNING_KEY"],
        "mark keys": stack["environment"]["GREENROOM_MARK_KEYS"],
        "livekit": stack["livekit_api_secret"],
        "api key": stack["api_key"],
        "foreign": "what-up-itself-knows",
    }

    def known(pid: int) -> set[str]:
        environment = environment_of(pid).decode(errors="replace")
        return {name for name, secret in secrets.items() if secret in environment}

    assert {kind: known(pid) for kind, pid in pids.items()} == KNOWN_TO
    for kind in ("workers.session_process", "workers.render_server"):
        assert b"GREENROOM_" not in environment_of(pids[kind])


def test_what_is_kept_is_its_owners_alone(folder: Path) -> None:
    """Secrets, logs, the log itself, faces. The folder above them is traversed by the user of PostgreSQL."""
    kept, stack = folder / ".greenroom", described(folder)
    portrait = portraits.file(portraits.drawn("av_demo", 512))
    headers = {"Authorization": f"Bearer {stack['api_key']}"}
    answer = httpx.post(
        f"{stack['api_url']}/v1/avatars",
        headers=headers,
        files={"image": ("p.png", portrait)},
        timeout=30,
        trust_env=False,
    )
    assert answer.status_code == 202, answer.text
    assert {p.name for p in kept.iterdir()} >= {"assets", "kafka", "livekit", "logs", "postgres", "secrets.json"}
    assert [p.name for p in kept.iterdir() if p.stat().st_mode & 0o077] == []
    assert [p.name for p in (kept / "logs").iterdir() if p.stat().st_mode & 0o077] == []


def test_a_second_up_changes_nothing(folder: Path) -> None:
    before = described(folder)
    result = greenroom(folder, "up", "--detach")
    assert result.returncode == 0
    assert "already runs" in result.stderr
    assert described(folder) == before


def test_a_reset_of_a_running_stack_is_refused(folder: Path) -> None:
    result = greenroom(folder, "reset", "--yes")
    assert result.returncode == 1
    assert "greenroom down" in result.stderr


def test_a_killed_process_comes_back(folder: Path) -> None:
    stack = described(folder)
    os.kill(stack["pids"]["api"], signal.SIGKILL)
    until(lambda: described(folder)["pids"]["api"] != stack["pids"]["api"])

    def answers() -> bool:
        try:
            return httpx.get(f"{stack['api_url']}/openapi.json", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    until(answers)


def test_keys_and_audit(folder: Path) -> None:
    env = described(folder)["environment"]
    made = greenroom(folder, "keys", "create", "--account", "acme", "--name", "ci", env=env)
    assert made.stdout.startswith("sk_")
    listed = greenroom(folder, "keys", "list", env=env).stdout
    assert "acme" not in made.stdout
    assert made.stdout.strip() not in listed
    key_id = next(line.split()[1] for line in listed.splitlines() if " ci " in line)
    assert greenroom(folder, "keys", "revoke", key_id, env=env).returncode == 0
    again = greenroom(folder, "keys", "revoke", key_id, env=env)
    assert again.returncode == 1
    assert "keys list" in again.stderr
    audit = greenroom(folder, "audit", "--report", "out.json", env=env)
    assert audit.returncode == 0, audit.stderr
    assert "equals the log" in audit.stdout
    assert json.loads((folder / "out.json").read_text())["equal"] is True


def test_errors_of_the_command_line_are_sentences(folder: Path) -> None:
    nowhere = {
        "GREENROOM_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x",
        "GREENROOM_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    }
    env = {**described(folder)["environment"], **nowhere}
    for args, code in ((("topics", "apply"), 1), (("audit",), 2), (("audit", "--from", "yesterday"), 2)):
        result = greenroom(folder, *args, env=env)
        assert result.returncode == code, (args, result.stderr)
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("command", "away"), [("worker", "Kafka"), ("prune", "database"), ("build", "Kafka")])
def test_a_process_blames_what_it_cannot_reach(folder: Path, command: str, away: str) -> None:
    """A worker has no database, and blamed one for whatever time-out and full disk."""
    nowhere = {
        "GREENROOM_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x",
        "GREENROOM_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    }
    result = greenroom(folder, command, env={**described(folder)["environment"], **nowhere})
    assert result.returncode == 1
    assert away in result.stderr
    assert {"Kafka": "database", "database": "Kafka"}[away] not in result.stderr
    assert "Traceback" not in result.stderr


def test_down_leaves_nothing(folder: Path) -> None:
    pids = family(described(folder))
    assert len(pids) > 8
    sockets = Path(described(folder)["environment"]["GREENROOM_DATABASE_URL"].rpartition("host=")[2])
    assert sockets.is_dir()
    assert greenroom(folder, "down").returncode == 0
    until(lambda: not alive(pids))
    assert not sockets.exists()
    assert not (folder / ".greenroom" / "stack.json").exists()
    assert "No stack runs" in greenroom(folder, "down").stderr


def test_a_killed_supervisor_leaves_nothing_and_its_data_is_kept(folder: Path) -> None:
    """And the next one waits for what it leaves: Kafka and PostgreSQL lock their data until they have ended."""
    with ThreadPoolExecutor() as both:  # at once: one starts it, the other finds it running
        started = list(both.map(lambda _: greenroom(folder, "up", "--detach"), range(2)))
    assert [result.returncode for result in started] == [0, 0], [result.stderr for result in started]
    stack = described(folder)
    pids = family(stack)
    named = {pid: " ".join(psutil.Process(pid).cmdline()[-3:]) for pid in pids}
    os.kill(stack["supervisor"]["pid"], signal.SIGKILL)
    again = greenroom(folder, "up", "--detach")
    assert again.returncode == 0, again.stderr
    until(lambda: not alive(pids), 90, lambda: [named[pid] for pid in alive(pids)])
    assert greenroom(folder, "down").returncode == 0
    assert greenroom(folder, "reset", "--yes").returncode == 0
    assert not (folder / ".greenroom").exists()


def alone(script: str) -> subprocess.CompletedProcess[str]:
    """Python in a network namespace with nothing but loopback."""
    return in_namespace(f"ip link set lo up && exec {sys.executable} -c {shlex.quote(script)}")


def in_namespace(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-rn", "sh", "-c", command], capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.skipif(
    not (shutil.which("unshare") and shutil.which("ip"))
    or in_namespace("ip link set lo up && ip link add probe type bridge").returncode != 0,
    reason="no network namespace of one's own, or no bridge in it (One avatar session, end to end)",
)
def test_without_a_network_media_gets_an_interface() -> None:
    made = alone("from stack.ports import media_address, own_address; print(own_address(), media_address())")
    assert made.stdout.split() == ["127.0.0.1", "192.0.2.1"]
    told = alone(
        "import os; os.environ['PATH'] = ''; from stack.ports import media_address; media_address()",
    )
    assert "no network interface besides loopback" in told.stderr
