"""Logging in to the console with a key, and what its cookie opens."""

from __future__ import annotations

import shutil

import httpx
import pytest
import pytest_asyncio

from schemas.events import SessionCreated
from tests import portraits
from tests.builders import life
from tests.world import World, eventually

pytestmark = pytest.mark.servers

PAGE = {"X-Greenroom-Console": "1", "Sec-Fetch-Site": "same-origin"}
"""What the browser sends with each request of the page."""


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "avatars")
    await world.slots_of_nobody(10)
    return world


def browser(running: World) -> httpx.AsyncClient:
    """It keeps cookies."""
    return httpx.AsyncClient(base_url=running.api_url, headers=PAGE, timeout=15, trust_env=False)


async def logged_in(page: httpx.AsyncClient, key: str) -> httpx.Response:
    answer = await page.post("/console/login", json={"key": key})
    assert (answer.status_code, answer.text) == (204, "")
    return answer


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_the_cookie_is_as_good_as_the_key_until_the_log_out(running: World) -> None:
    async with browser(running) as page:
        assert code(await page.get("/console/me")) == (401, "api_key.missing")
        told = (await logged_in(page, f" {running.key} ")).headers["set-cookie"]
        assert told.startswith(f"greenroom-{running.api_port}=")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(told.split("; "))
        assert running.key not in told
        assert (await page.get("/console/me")).json()["account_id"] == running.account
        session = await running.create(page)
        shown = await page.get(f"/v1/sessions/{session['id']}")
        assert (shown.json()["id"], shown.headers["cache-control"]) == (session["id"], "private, no-store")
        assert (await page.post("/console/logout")).status_code == 204
        assert code(await page.get("/v1/account")) == (401, "api_key.missing")


async def test_no_other_page_gets_anything_by_it(running: World) -> None:
    async with browser(running) as page:
        await logged_in(page, running.key)
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
            for asked in (page.get("/v1/account", headers=headers), page.post("/console/logout", headers=headers)):
                assert code(await asked) == (403, "console.cross_site")
        del page.headers["X-Greenroom-Console"]
        refused = await page.post("/v1/sessions", json=running.request())
        assert code(refused) == (403, "console.cross_site")
        assert code(await page.post("/console/login", json={"key": running.key})) == (403, "console.cross_site")
        by_key = {"Authorization": f"Bearer {running.key}", "Sec-Fetch-Site": "cross-site"}
        assert (await page.post("/v1/sessions", json=running.request(), headers=by_key)).status_code == 201


async def test_a_key_that_is_none(running: World) -> None:
    async with browser(running) as page:
        assert code(await page.post("/console/login", json={"key": "sk_nonsense"})) == (401, "api_key.invalid")
        assert code(await page.post("/console/login", json={"key": 1})) == (422, "key.invalid_type")
        key_id, key = await running.new_key()
        await running.revoke(key_id)
        assert code(await page.post("/console/login", json={"key": key})) == (401, "api_key.revoked")
        assert not page.cookies


async def test_a_revoked_key_is_out_and_its_stream_ends(running: World) -> None:
    key_id, key = await running.new_key()
    async with browser(running) as page:
        await logged_in(page, key)
        async with page.stream("GET", "/v1/events?after=latest", headers={"Accept": "text/event-stream"}) as stream:
            assert stream.status_code == 200
            await running.revoke(key_id)
            async for _ in stream.aiter_raw():
                pass  # it ends by itself

        async def out() -> bool:
            answer = await page.get("/v1/account")
            return answer.status_code == 401 and answer.json()["error"]["code"] == "api_key.revoked"

        await eventually(out, 5, "the end of what is remembered of the key")


async def test_a_scope_that_the_key_lacks(running: World) -> None:
    _, key = await running.new_key(scopes=("sessions:read",))
    async with browser(running) as page:
        await logged_in(page, key)
        assert (await page.get("/console/me")).json()["scopes"] == ["sessions:read"]
        assert (await page.get("/v1/sessions")).status_code == 200
        assert code(await page.get("/v1/account")) == (403, "scope.missing")


async def test_elsewhere_than_on_this_machine_it_wants_https(running: World) -> None:
    async with browser(running) as page:
        there = {"Host": "greenroom.example.com", "Origin": "http://greenroom.example.com"}
        answer = await page.post("/console/login", content=b"not even looked at", headers=there)
        assert code(answer) == (403, "console.insecure")
        behind_a_proxy = {**there, "Origin": "https://greenroom.example.com"}
        answer = await page.post("/console/login", json={"key": running.key}, headers=behind_a_proxy)
        assert answer.headers["set-cookie"].startswith("__Host-greenroom=")


async def test_the_page_loads_nothing_from_elsewhere(running: World) -> None:
    """Built or not: then it says how."""
    async with browser(running) as page:
        answer = await page.get("/console/sessions/sess_1")
        policy = answer.headers["content-security-policy"]
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.status_code == 200 or "make web" in answer.text
        gone = await page.get("/console/assets/of-another-build.js")
        assert (gone.status_code, gone.headers["cache-control"]) == (404, "no-store") or answer.status_code == 503


async def test_a_room_is_looked_into_by_whose_worker_was_in_it(running: World) -> None:
    """Of the local LiveKit, whose rooms all accounts share."""
    async with browser(running) as page:
        await logged_in(page, running.key)
        local = (await running.create(page, "a-room"))["id"]
        assert code(await view(page, local)) == (409, "console.not_joined")
        ((created, _),) = await running.log(local)
        assert isinstance(created.data, SessionCreated)
        await running.append(*life(local, worker=created.data.worker_id)[1:4])

        async def shown() -> dict[str, str] | None:
            answer = await view(page, local)
            return answer.json() if answer.status_code == 200 else None

        told = await eventually(shown, 30, "a token, once its worker has shown a frame")
        assert told is not None
        assert told["url"] == running.livekit.url
        assert told["token"].count(".") == 2
        await running.append(*life(local, worker=created.data.worker_id)[4:])

        async def over() -> bool:
            return (await view(page, local)).status_code != 200

        await eventually(over, 30, "the end of the session")
        assert code(await view(page, local)) == (409, "console.not_joined")
        elsewhere = await running.create(page, transport={"url": "ws://127.0.0.1:1"})
        assert code(await view(page, elsewhere["id"])) == (409, "console.foreign_room")
        assert code(await page.post("/console/view", json={})) == (422, "session_id.required")
    _, key = await running.new_account("a neighbour")
    async with browser(running) as page:
        await logged_in(page, key)
        assert code(await view(page, local)) == (404, "session.not_found")
    _, key = await running.new_key(scopes=("sessions:read",))
    async with browser(running) as page:
        await logged_in(page, key)
        assert code(await page.post("/console/rooms")) == (403, "scope.missing")
        assert code(await view(page, local)) == (403, "scope.missing")


async def view(page: httpx.AsyncClient, session_id: str) -> httpx.Response:
    return await page.post("/console/view", json={"session_id": session_id})


async def test_portraits_are_of_ones_own_and_of_the_stock(running: World) -> None:
    async with browser(running) as page:
        await logged_in(page, running.key)
        stock = await page.get("/console/avatars/av_demo/portrait")
        assert (stock.status_code, stock.headers["content-type"]) == (200, "image/png")
        assert stock.content.startswith(b"\x89PNG")
        upload = {"image": portraits.file(portraits.noise())}
        made = (await page.post("/v1/avatars", files=upload, data={"runtime_type": "mock"})).json()["id"]
        path = f"/console/avatars/{made}/portrait"

        async def there() -> bool:
            return (await page.get(path)).status_code == 200

        await eventually(there, 30, "the portrait of an upload")
        assert code(await page.get("/console/avatars/av_nobody/portrait")) == (404, "avatar.not_found")
    _, key = await running.new_account("a stranger")
    async with browser(running) as page:
        await logged_in(page, key)
        assert code(await page.get(path)) == (404, "avatar.not_found")


async def test_typed_text_is_sound_where_there_is_a_voice(running: World) -> None:
    async with browser(running) as page:
        await logged_in(page, running.key)
        voice = (await page.get("/console/me")).json()["speech"]
        assert voice is (shutil.which("espeak-ng") is not None)
        answer = await page.post("/console/speech", json={"text": "-f /etc/passwd"})  # text, and no option
        if voice:
            assert (answer.headers["content-type"], answer.content[:4]) == ("audio/wav", b"RIFF")
        else:
            assert code(answer) == (503, "overloaded")
        assert code(await page.post("/console/speech", json={"text": "a" * 301})) == (422, "text.too_long")
        while (answer := await page.post("/console/speech", json={})).status_code == 422:
            pass
        assert code(answer) == (429, "rate_limited")
        assert answer.headers["ratelimit-limit"] == "10"


async def test_rooms_are_made_as_often_as_sessions(running: World) -> None:
    key_id, key = await running.new_key()
    await running.sql("UPDATE api_keys SET creates_per_minute = 3 WHERE id = %s", key_id)
    async with browser(running) as page:
        await logged_in(page, key)
        answers = [await page.post("/console/rooms") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[-1].headers["ratelimit-limit"] == "3"
