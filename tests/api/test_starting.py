"""What the API and the command that makes its keys refuse to start with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from events.sealing import Keyring

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
