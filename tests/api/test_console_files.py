"""The built console as browsers get it."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from api import console
from api.console_files import Files
from api.context import context
from api.settings import ApiSettings

pytestmark = pytest.mark.unit


def test_nothing_is_built_and_then_it_is(tmp_path: Path) -> None:
    files = Files(tmp_path)
    assert files.at("") is None
    (tmp_path / "index.html").write_text("one")
    page = files.at("sessions/sess_1")
    assert page is not None
    assert (page.content, page.type, page.kept) == (b"one", "text/html; charset=utf-8", "no-cache")
    (tmp_path / "index.html").write_text("two")
    os.utime(tmp_path / "index.html", ns=(1, 1))
    again = files.at("")
    assert again is not None
    assert again.content == b"two"
    assert again.etag != page.etag


def test_what_has_a_hash_in_its_name_is_kept_for_ever(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").touch()
    (tmp_path / "assets/app-1a2b.js").write_text("let a = 1;" * 100)
    (tmp_path / "assets/inter-3c4d.woff2").write_bytes(b"font")
    (tmp_path / ".stamp").write_text("of the build")
    files = Files(tmp_path)
    script, font = files.at("assets/app-1a2b.js"), files.at("assets/inter-3c4d.woff2")
    assert script is not None
    assert font is not None
    assert script.kept == font.kept == "public, max-age=31536000, immutable"
    assert script.type == "text/javascript; charset=utf-8"
    assert script.packed is not None
    assert gzip.decompress(script.packed) == script.content
    assert (font.type, font.packed) == ("font/woff2", None)
    assert files.at("assets/of-another-build.js") is None
    page = files.at("")
    assert page is not None
    for other in (".stamp", "../../etc/passwd", "assets", "/etc/passwd"):
        assert files.at(other) == page


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[httpx.AsyncClient]:
    """The page's own routes, of what is built in the folder."""
    settings = ApiSettings(
        console_livekit_url="ws://livekit:7880", console_livekit_key="key", console_livekit_secret="secret"
    )
    app = FastAPI()
    app.include_router(console.router)
    app.dependency_overrides[context] = lambda: SimpleNamespace(settings=settings)
    monkeypatch.setattr(console, "files", Files(folder))
    yield httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


async def test_where_nothing_is_built_the_page_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with served(monkeypatch, tmp_path) as browser:
        answer = await browser.get("/console/usage")
        assert (answer.status_code, "make web" in answer.text) == (503, True)
        (tmp_path / "index.html").write_text("built")
        assert (await browser.get("/console/usage")).text == "built"


async def test_how_a_file_is_answered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "assets/app-1a2b.js").write_text("let a = 1;" * 100)
    with served(monkeypatch, tmp_path) as browser:
        script = await browser.get("/console/assets/app-1a2b.js")
        assert (script.headers["content-encoding"], script.text) == ("gzip", "let a = 1;" * 100)
        plain = await browser.get("/console/assets/app-1a2b.js", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        page = await browser.get("/console")
        again = await browser.get("/console/talk", headers={"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await browser.get("/console/assets/gone.js")).status_code == 404
    policy = page.headers["content-security-policy"]
    assert "connect-src 'self' wss: ws://livekit:7880 http://livekit:7880;" in policy
    assert "unsafe" not in policy
