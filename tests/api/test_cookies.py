"""The console's cookie: what it holds, when it is good, and which requests it is good for."""

from __future__ import annotations

import base64

import pytest
from starlette.requests import Request

from api import cookies
from api.base64url import encoded
from api.console_errors import ConsoleInsecure, CrossSite, LoggedOut
from events.sealing import Keyring

pytestmark = pytest.mark.unit

KEYRING = Keyring(Keyring.generate("m1"))
DIGEST = bytes(range(32))
NOW = 1_800_000_000.0


def request(method: str = "POST", **headers: str) -> Request:
    """`headers` with underscores; a host on loopback unless one is given."""
    told = {"host": "127.0.0.1:8080", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in told.items()]
    scope = {"type": "http", "method": method, "scheme": "http", "path": "/", "query_string": b"", "headers": raw}
    return Request(scope)


def test_it_holds_the_digest_until_its_time_is_over() -> None:
    value = cookies.sealed(KEYRING, DIGEST, NOW)
    assert cookies.opened(KEYRING, value, NOW) == DIGEST
    assert cookies.opened(KEYRING, value, NOW + cookies.LASTS_S - 1) == DIGEST
    with pytest.raises(LoggedOut):
        cookies.opened(KEYRING, value, NOW + cookies.LASTS_S)


def test_it_tells_nobody_the_digest() -> None:
    _, _, content = cookies.sealed(KEYRING, DIGEST, NOW).partition(".")
    assert DIGEST[:8] not in base64.urlsafe_b64decode(content + "==")


@pytest.mark.parametrize("value", ["", ".", "x.y", "bTE.", "bTE.AAAA", "é.é", "bTI.AAAA", "m1." + "A" * 4000])
def test_what_is_none_of_ours(value: str) -> None:
    with pytest.raises(LoggedOut):
        cookies.opened(KEYRING, value, NOW)


def test_of_another_installation_and_changed() -> None:
    value = cookies.sealed(KEYRING, DIGEST, NOW)
    for other in (Keyring(Keyring.generate("m1")), Keyring(Keyring.generate("m2"))):
        with pytest.raises(LoggedOut):
            cookies.opened(other, value, NOW)
    with pytest.raises(LoggedOut):
        cookies.opened(KEYRING, value[:-2] + ("AA" if value[-2:] != "AA" else "BB"), NOW)


def test_another_sealed_thing_is_no_log_in() -> None:
    master, content = KEYRING.wrap(DIGEST + (2**40).to_bytes(8), "a webhook's secret")
    with pytest.raises(LoggedOut):
        cookies.opened(KEYRING, f"{encoded(master.encode())}.{encoded(content)}", NOW)


@pytest.mark.parametrize(
    ("asked", "begins", "secure"),
    [
        (request(), "greenroom-8080=", False),
        (request(host="localhost:1234"), "greenroom-1234=", False),
        (request(host="[::1]:8080"), "greenroom-8080=", False),
        (request(host="console.example.com", origin="https://console.example.com"), "__Host-greenroom=", True),
    ],
)
def test_it_is_secure_unless_it_cannot_be(asked: Request, begins: str, secure: bool) -> None:
    header = cookies.setting(asked, "value")
    assert header.startswith(begins)
    assert header.endswith(f"Max-Age={cookies.LASTS_S}; HttpOnly; SameSite=Strict")
    assert ("; Secure;" in header) is secure
    sent = request(host=asked.headers["host"], cookie=header.partition(";")[0])
    assert cookies.found(sent) == "value"
    assert "Max-Age=0;" in cookies.setting(asked, "")


@pytest.mark.parametrize("host", ["console.example.com", "10.0.0.5:8080", "127.0.0.1.example.com", "[", "x:99999999"])
def test_over_plain_http_elsewhere_there_is_none(host: str) -> None:
    with pytest.raises(ConsoleInsecure):
        cookies.setting(request(host=host), "value")
    assert cookies.found(request(host=host, cookie="greenroom-8080=value; greenroom-80=value")) is None


@pytest.mark.parametrize("origin", ["http://console.example.com", "null", "http://127.0.0.1.example.com:8080"])
def test_a_proxy_that_asks_by_loopback_makes_nothing_secure(origin: str) -> None:
    with pytest.raises(ConsoleInsecure):
        cookies.setting(request(origin=origin), "value")
    assert cookies.setting(request(origin="http://localhost:8080"), "value").startswith("greenroom-8080=")


OURS = {"x_greenroom_console": "1", "sec_fetch_site": "same-origin"}


@pytest.mark.parametrize(
    ("asked", "ours"),
    [
        (request(**OURS), True),
        (request(x_greenroom_console="1", origin="http://127.0.0.1:8080"), True),  # a browser without Sec-Fetch-Site
        (request(sec_fetch_site="same-origin"), False),
        (request(x_greenroom_console="1"), False),
        (request(x_greenroom_console="1", origin="http://127.0.0.1:9999"), False),
        (request(x_greenroom_console="1", origin="null"), False),
        (request(x_greenroom_console="1", sec_fetch_site="same-site", origin="http://127.0.0.1:8080"), False),
        (request(x_greenroom_console="1", sec_fetch_site="none"), False),
        (request("DELETE", **OURS), True),
        (request("DELETE", x_greenroom_console="1", sec_fetch_site="cross-site"), False),
        (request("GET"), True),
        (request("GET", sec_fetch_site="none"), True),
        (request("GET", sec_fetch_site="same-site"), False),
    ],
)
def test_whose_requests_it_is_good_for(asked: Request, ours: bool) -> None:
    if ours:
        cookies.check_origin(asked, asked.method)
    else:
        with pytest.raises(CrossSite):
            cookies.check_origin(asked, asked.method)
