"""The receivers of docs/how-to/verify-webhooks.md, run as they stand there, with the published libraries."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from events.sealing import Keyring
from reactors.sending import Sender
from stack.ports import free_ports
from store.deliveries import Due
from store.resolving import Resolver, WebhookHosts
from store.settings import WebhookSettings
from tests.clients import environments

pytestmark = pytest.mark.processes

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "verify-webhooks.md"
KEYRING = Keyring(Keyring.generate("t1"))
SETTINGS = WebhookSettings(webhook_allow_insecure=True, webhook_permitted_networks="127.0.0.0/8")
OLD, NEW = ("whsec_" + base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))
BODY = '{"type":"session.ended","data":{"id":"sess_ü"}}'.encode()


def program(language: str, folder: Path) -> tuple[list[str], Path]:
    """(the page's program as a command, the folder to run it in)."""
    text = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert text is not None
    if language == "python":
        file = folder / "receiver.py"
        command = [sys.executable, str(file)]
    else:
        if shutil.which("node") is None:
            pytest.skip("needs node and npm, which nothing else of ours does")
        (folder / "node_modules").symlink_to(environments.typescript().parent)
        file = folder / "receiver.mjs"
        command = ["node", str(file)]
    file.write_text(text[1])
    return command, folder


@pytest.fixture(params=["python", "js"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """(URL, process) of a receiver that knows NEW."""
    command, folder = program(request.param, tmp_path)
    (port,) = free_ports(1)
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), "WEBHOOK_SECRET": NEW}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            until_it_listens(process, f"http://127.0.0.1:{port}/")
            yield f"http://127.0.0.1:{port}/", process
        finally:
            process.terminate()


def until_it_listens(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.post(url, content=b"{}", timeout=5, trust_env=False)
            return
        except httpx.TransportError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)


def due(url: str, *secrets: str) -> Due:
    return Due(
        id="whd_1",
        endpoint_id="we_1",
        session_id="sess_1",
        type="session.ended",
        seq=1,
        body=BODY,
        attempts=0,
        attempts_before=0,
        claims=1,
        created_at=datetime.now(UTC),
        asked_again=False,
        url=url,
        secrets=[KEYRING.wrap(secret.encode(), "we_1") for secret in secrets],
    )


async def test_a_receiver_takes_what_is_signed_by_its_secret_and_nothing_else(
    receiver: tuple[str, subprocess.Popen[str]],
) -> None:
    url, process = receiver
    async with Resolver() as resolver:
        sender = Sender(KEYRING, WebhookHosts(SETTINGS, resolver))
        attempts = [
            await sender.attempt(due(url, OLD)),  # of another secret
            await sender.attempt(due(url, OLD, NEW)),  # while it is rotated
            await sender.attempt(due(url, NEW)),  # the same again
        ]
    assert [attempt.status for attempt in attempts] == [401, 204, 204]
    process.terminate()
    assert process.stdout is not None
    said = await asyncio.to_thread(process.stdout.read)
    assert said.removeprefix("listening\n") == "session.ended sess_ü\n"  # that of Python says so
