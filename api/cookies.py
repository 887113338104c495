"""The console's log-in: a cookie that says with which key, and until when.

It is sealed under the installation's keyring, so it is made by us alone and tells nobody anything: it holds the key's
digest, never the key. Nothing is stored for it. A log-out takes it from the browser; what ends it everywhere is the end
of its time, or the key being revoked.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection, Request

from api.base64url import decoded, encoded
from api.console_errors import ConsoleInsecure, CrossSite, LoggedOut
from events.sealing import Keyring, SealError

HEADER = "X-Greenroom-Console"
"""What no form and no link can send: with it a browser asks the other side first, and we allow nobody."""
LASTS_S = 12 * 3600
_AAD = "greenroom console log-in 1"
_DIGEST_BYTES = 32
_SECURE = "__Host-greenroom"
"""Browsers take a cookie of this name over https alone, for this host alone."""
_SAFE = ("GET", "HEAD", "OPTIONS")


def sealed(keyring: Keyring, digest: bytes, now_s: float) -> str:
    """`digest`: of the key, as the database knows it."""
    master, content = keyring.wrap(digest + int(now_s + LASTS_S).to_bytes(8), _AAD)
    return f"{encoded(master.encode())}.{encoded(content)}"


def opened(keyring: Keyring, value: str, now_s: float) -> bytes:
    """The digest of the key. Raises LoggedOut for what is over, or not ours."""
    master, _, content = value.partition(".")
    try:
        plain = keyring.unwrap(decoded(master).decode(), decoded(content), _AAD)
    except (SealError, ValueError):
        raise LoggedOut from None
    digest, until = plain[:_DIGEST_BYTES], int.from_bytes(plain[_DIGEST_BYTES:])
    if now_s >= until:
        raise LoggedOut
    return digest


def found(request: HTTPConnection) -> str | None:
    """What the browser has sent of it."""
    return request.cookies.get(_SECURE) or (request.cookies.get(_plain(request)) if _on_loopback(request) else None)


def is_secure(request: Request) -> bool:
    """Whether it comes over https; False: over http, on this machine. Raises ConsoleInsecure for all else.

    A proxy may ask by a loopback address for a page that is elsewhere: where the browser is, its Origin says.
    """
    origin = request.headers.get("origin")
    scheme, host = _of(origin or "")
    if scheme == "https":
        return True
    if _on_loopback(request) and (origin is None or _is_loopback(_split(host)[0])):
        return False
    raise ConsoleInsecure


def setting(request: Request, value: str) -> str:
    """The header that gives it to the browser; with an empty value, that takes it away. Raises ConsoleInsecure."""
    secure = is_secure(request)
    lasts = LASTS_S if value else 0
    kind = f"{_SECURE}={value}; Secure" if secure else f"{_plain(request)}={value}"
    return f"{kind}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict"


def _plain(request: HTTPConnection) -> str:
    """Browsers keep the cookies of all ports of a host together: one stack must not log the other out."""
    return f"greenroom-{_host(request)[1] or 80}"


def _on_loopback(request: HTTPConnection) -> bool:
    return _is_loopback(_host(request)[0])


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(request: HTTPConnection) -> tuple[str, int | None]:
    return _split(request.headers.get("host", ""))


def _split(host: str) -> tuple[str, int | None]:
    """Name and port as the browser has them; a header may hold anything."""
    try:
        url = urlsplit(f"//{host}")
        return url.hostname or "", url.port
    except ValueError:
        return "", None


def _of(origin: str) -> tuple[str, str]:
    """Scheme, and host with its port."""
    scheme, _, host = origin.partition("://")
    return scheme, host


def check_origin(request: HTTPConnection, method: str) -> None:
    """A browser adds the cookie to whatever a page asks for, so the page must be ours. Raises CrossSite.

    `SameSite=Strict` keeps other sites out already, but to a browser another port of this host is the same site.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if method in _SAFE:
        if site not in (None, "same-origin", "none"):
            raise CrossSite
        return
    ours = site == "same-origin" if site else origin is not None and _of(origin)[1] == request.headers.get("host")
    if not ours or HEADER not in request.headers:
        raise CrossSite
