"""One attempt, in a process of which a test can take the time or the means."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from events.sealing import Keyring
from reactors import sending
from reactors.sending import Hindered, Sender
from store.deliveries import Due
from store.resolving import Resolver, WebhookHosts
from store.settings import WebhookSettings
from tests.hostile import receivers as r
from tests.nameserver import nameserver

pytestmark = pytest.mark.servers

KEYRING = Keyring(Keyring.generate("t1"))
SETTINGS = WebhookSettings(webhook_allow_insecure=True, webhook_permitted_networks="127.0.0.0/8,::1/128")


@pytest_asyncio.fixture
async def sender() -> AsyncIterator[Sender]:
    async with nameserver(both=["127.0.0.2", "127.0.0.1"]) as names, Resolver(names.address) as resolver:
        yield Sender(KEYRING, WebhookHosts(SETTINGS, resolver))


def due(url: str, **changes: Any) -> Due:
    key, secret = KEYRING.wrap(b"whsec_" + base64.b64encode(b"s" * 32), "we_1")
    fields: dict[str, Any] = {"secrets": [(key, secret)], "body": b"{}", "url": url, "attempts": 0, **changes}
    return Due(
        id="whd_1",
        endpoint_id="we_1",
        session_id="sess_1",
        type="session.ended",
        seq=1,
        attempts_before=0,
        claims=1,
        created_at=datetime.now(UTC),
        asked_again=False,
        **fields,
    )


async def test_a_process_that_stood_still_blames_nobody(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.3)
    async with r.receiver(r.silent) as slow:
        attempt = await sender.attempt(due(slow.url()))
        assert attempt.error == "TimeoutError"
        attempting = asyncio.create_task(sender.attempt(due(slow.url())))
        while slow.connections < 2:
            await asyncio.sleep(0.01)
        time.sleep(1.5)  # noqa: ASYNC251  the loop stands still, as in a stopped process
        with pytest.raises(Hindered, match="stood still"):
            await attempting


async def test_a_secret_that_we_cannot_open_is_our_fault(sender: Sender) -> None:
    with pytest.raises(Hindered, match="GREENROOM_MASTER_KEYS"):
        await sender.attempt(due("http://127.0.0.1:1/", secrets=[("lost", b"")]))


async def test_what_nobody_thought_of_is_an_attempt_with_a_traceback_in_the_log(sender: Sender) -> None:
    with structlog.testing.capture_logs() as logs:
        attempt = await sender.attempt(due("http://127.0.0.1:1/", body=b"\xff"))
    assert (attempt.status, attempt.error) == (None, "UnicodeDecodeError")
    assert [(line["event"], line["exc_info"]) for line in logs] == [("unexpected failure of an attempt", True)]


async def test_the_next_address_is_tried_where_one_refuses_the_connection(sender: Sender) -> None:
    async with r.receiver(r.answers()) as healthy:
        for url in (healthy.url("both.test"), healthy.url("localhost")):
            assert (await sender.attempt(due(url))).delivered
    hosts = [request.headers["host"].split(":")[0] for request in healthy.requests]
    assert hosts == ["both.test", "localhost"]


async def test_what_is_sent(sender: Sender) -> None:
    async with r.receiver(r.answers("200 OK")) as healthy:
        url = f"http://127.0.0.1:{healthy.port}/é?x=1#y"
        attempt = await sender.attempt(due(url, body='{"a": "ü"}'.encode()))
    (request,) = healthy.requests
    assert attempt.delivered
    assert request.path == "/%C3%A9?x=1"
    assert request.body == '{"a": "ü"}'.encode()
    assert request.headers["connection"] == "close"
    assert request.headers["webhook-signature"].startswith("v1,")


async def test_of_an_answer_before_a_reset_nothing_is_lost(sender: Sender) -> None:
    async with r.receiver(r.answers_and_resets) as hasty:
        attempts = await asyncio.gather(*(sender.attempt(due(hasty.url())) for _ in range(8)))
    assert {(attempt.status, attempt.answer) for attempt in attempts} == {(200, "ok")}


async def test_over_tls_the_name_of_the_url_must_be_the_certificates(sender: Sender, tmp_path: Path) -> None:
    server, authority = certificate("both.test", tmp_path)
    sender._tls.load_verify_locations(cadata=authority)
    async with r.receiver(r.answers("200 OK"), server) as secure:
        mine = await sender.attempt(due(f"https://both.test:{secure.port}/"))
        others = await sender.attempt(due(f"https://localhost:{secure.port}/"))
    assert (mine.status, mine.error) == (200, None)
    assert (others.status, others.error) == (None, "ConnectError")
    assert [request.headers["host"] for request in secure.requests] == [f"both.test:{secure.port}"]


def certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, str]:
    """(the context of a server of this name, who vouches for it)"""
    key = ec.generate_private_key(ec.SECP256R1())
    mine = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(mine, mine, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = made.public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(private + authority)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, authority.decode()


async def test_a_flood_of_tiny_parts_does_not_take_the_loop_from_others(sender: Sender) -> None:
    """Each "100 Continue" is parsed without a pause: 64 KB of them at once, again and again, stopped everybody."""
    async with r.receiver(r.continue_flood) as hostile:
        attempts = await asyncio.gather(*(sender.attempt(due(hostile.url())) for _ in range(8)))
    assert {attempt.error for attempt in attempts} == {"AnswerTooLong"}
    assert max(attempt.latency_ms for attempt in attempts) < 10_000
