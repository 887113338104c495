"""`/v1/avatars` over HTTP, on real Kafka and PostgreSQL, with the real builder."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from events.topics import AVATARS
from schemas import events as e
from tests import portraits
from tests.api.test_sessions import error
from tests.world import World, eventually

pytestmark = pytest.mark.servers

FIELDS = [
    "id",
    "object",
    "name",
    "status",
    "runtime_type",
    "is_demo",
    "created_at",
    "failure_reason",
    "default_voice",
    "default_custom_instructions",
]
PORTRAIT = portraits.file(portraits.drawn())


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "avatars", "roster")
    await world.fake_worker(40, ["mock", "standard"])
    return world


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as opened:
        yield opened


async def upload(client: httpx.AsyncClient, image: bytes = PORTRAIT, **fields: str) -> httpx.Response:
    # As the published SDK does: always octet-stream.
    return await client.post("/v1/avatars", files={"image": ("a.bin", image, "application/octet-stream")}, data=fields)


async def built(client: httpx.AsyncClient, avatar_id: str) -> dict[str, Any]:
    async def verdict() -> dict[str, Any] | None:
        shown: dict[str, Any] = (await client.get(f"/v1/avatars/{avatar_id}")).json()
        return shown if shown["status"] != "processing" else None

    found = await eventually(verdict)
    assert found is not None
    return found


async def test_from_portrait_to_session_and_away(running: World, client: httpx.AsyncClient) -> None:
    answer = await upload(client, name="Ada's secret name")
    assert answer.status_code == 202
    avatar = answer.json()
    assert list(avatar) == FIELDS
    assert answer.headers["location"] == f"/v1/avatars/{avatar['id']}"
    assert (avatar["status"], avatar["name"]) == ("processing", "Ada's secret name")
    assert (avatar["runtime_type"], avatar["is_demo"], avatar["failure_reason"]) == ("avtr1", False, None)
    assert (await client.get(f"/v1/avatars/{avatar['id']}")).json() == avatar

    early = await client.post("/v1/sessions", json=running.request(avatar_id=avatar["id"]))
    assert (early.status_code, error(early)["code"], error(early)["param"]) == (409, "avatar.not_ready", "avatar_id")

    await running.start("build")
    ready = await built(client, avatar["id"])
    assert ready == {**avatar, "status": "ready"}

    session = await client.post("/v1/sessions", json=running.request(avatar_id=avatar["id"]))
    assert session.status_code == 201
    assert session.json()["avatar_id"] == avatar["id"]

    listed = (await client.get("/v1/avatars")).json()
    assert listed["data"][0]["id"] == avatar["id"]
    assert [a["id"] for a in listed["data"]][-2:] == ["av_demo", "av_stock_001"]
    assert [a["id"] for a in (await client.get("/v1/avatars?q=SECRET")).json()["data"]] == [avatar["id"]]

    folder = running.folder / "assets"
    assert len([p for p in folder.rglob("*") if p.is_file()]) == 2  # portrait and face
    gone = await client.delete(f"/v1/avatars/{avatar['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (
        await client.get(f"/v1/avatars/{avatar['id']}"),
        await client.delete(f"/v1/avatars/{avatar['id']}"),
        await client.post("/v1/sessions", json=running.request(avatar_id=avatar["id"])),
    ):
        assert (answer.status_code, error(answer)["code"]) == (404, "avatar.not_found")
    assert avatar["id"] not in (await client.get("/v1/avatars")).text

    async def removed() -> bool:
        return not [p for p in folder.rglob("*") if p.is_file()]

    await eventually(removed, what="the removal of portrait and face")
    told = [event.data for event, _ in await running.log(avatar["id"], AVATARS)]
    assert [type(data) for data in told] == [e.AvatarCreated, e.AvatarReady, e.AvatarDeleted]
    assert all(b"secret name" not in (record.value or b"") for record in await running.records(AVATARS))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (portraits.file(portraits.noise()), "No face"),
        (portraits.file(portraits.two_people()), "Several faces"),
        (portraits.file(portraits.drawn(side=256).crop((40, 40, 216, 256)).resize((256, 314))), None),
    ],
    ids=["noise", "two people", "a small one that is large enough"],
)
async def test_what_the_builder_says(
    running: World, client: httpx.AsyncClient, image: bytes, reason: str | None
) -> None:
    if "build" not in running.processes:
        await running.start("build")
    avatar = await built(client, (await upload(client, image)).json()["id"])
    if reason is None:
        assert avatar["status"] == "ready"
        return
    assert avatar["status"] == "failed"
    assert avatar["failure_reason"].startswith(reason)
    refused = await client.post("/v1/sessions", json=running.request(avatar_id=avatar["id"]))
    assert (refused.status_code, error(refused)["code"]) == (409, "avatar.not_ready")
    assert reason in error(refused)["message"]


async def test_positions_help_where_no_face_is_found(running: World, client: httpx.AsyncClient) -> None:
    if "build" not in running.processes:
        await running.start("build")
    where = '{"eye_left": [150, 150], "eye_right": [250, 150], "mouth_left": [165, 250], "mouth_right": [235, 250]}'
    answer = await upload(client, portraits.file(portraits.noise()), positions=where)
    assert (await built(client, answer.json()["id"]))["status"] == "ready"


async def test_mock_needs_no_builder(running: World, client: httpx.AsyncClient) -> None:
    if "build" in running.processes:
        await running.processes.pop("build").stop()
    answer = await upload(client, runtime_type="mock")
    assert answer.json()["runtime_type"] == "mock"
    assert (await built(client, answer.json()["id"]))["status"] == "ready"


async def test_a_killed_builder_goes_on(running: World, client: httpx.AsyncClient) -> None:
    if "build" not in running.processes:
        await running.start("build")
    ids = [(await upload(client)).json()["id"] for _ in range(3)]
    await running.kill("build")
    await running.restart("build")
    for avatar_id in ids:
        assert (await built(client, avatar_id))["status"] == "ready"
    before = await running.sql("SELECT * FROM avatars_v1.avatars ORDER BY avatar_id")
    await running.kill("avatars")
    await running.sql("TRUNCATE avatars_v1.avatars")
    await running.sql("DELETE FROM checkpoints WHERE name = 'avatars'")
    await running.restart("avatars")

    async def replayed() -> bool:
        return await running.sql("SELECT * FROM avatars_v1.avatars ORDER BY avatar_id") == before

    await eventually(replayed, what="the same rows from a replay")


def _bomb() -> bytes:
    """A PNG whose header promises 50,000 × 50,000 pixels."""
    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        (b"", 422, "image.invalid"),
        (b"GIF89a" + bytes(100), 422, "image.invalid"),
        (b"%PDF-1.7 not a picture", 422, "image.invalid"),
        (PORTRAIT[:2000], 422, "image.invalid"),
        (_bomb(), 422, "image.invalid"),
        (portraits.file(portraits.noise(100, 100)), 422, "image.invalid"),
        (portraits.file(portraits.noise(), "GIF"), 422, "image.invalid"),
        (b"\x89PNG\r\n\x1a\n" + bytes(11 * 1024 * 1024), 413, "body.too_large"),
    ],
    ids=["empty", "gif header", "pdf", "cut off", "bomb", "tiny", "gif", "11 MB"],
)
async def test_bad_images(client: httpx.AsyncClient, image: bytes, status: int, code: str) -> None:
    answer = await upload(client, image)
    assert (answer.status_code, error(answer)["code"]) == (status, code)
    assert answer.status_code == 413 or error(answer)["param"] == "image"


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"json": {"image": "x"}}, 400, "multipart.malformed"),
        ({"content": b"--x\r\ngarbage", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 422, "image"),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, 400, "multipart.malformed"),
        ({"files": {"name": ("n", b"x")}}, 422, "name.invalid_type"),
        ({"files": {"other": ("n", b"x")}}, 422, "other.unknown"),
        ({"files": {"image": ("i", PORTRAIT)}, "data": {"name": "x" * 101}}, 422, "name.too_long"),
        ({"files": {"image": ("i", PORTRAIT)}, "data": {"runtime_type": "x"}}, 422, "runtime_type.invalid"),
        ({"files": {"image": ("i", PORTRAIT)}, "data": {"positions": "{}"}}, 422, "positions.invalid"),
    ],
)
async def test_bad_requests(client: httpx.AsyncClient, request_: dict[str, Any], status: int, code: str) -> None:
    answer = await client.post("/v1/avatars", **request_)
    assert error(answer)["code"].startswith(code), answer.text
    assert answer.status_code in (status, 400)


async def test_stock_avatars(client: httpx.AsyncClient) -> None:
    demo = (await client.get("/v1/avatars/av_demo")).json()
    assert list(demo) == FIELDS
    assert (demo["status"], demo["is_demo"]) == ("ready", True)
    platform = (await client.get("/v1/avatars?scope=platform&limit=1")).json()
    assert (len(platform["data"]), platform["has_more"], platform["next_cursor"]) == (1, True, "av_demo")
    rest = (await client.get("/v1/avatars?scope=platform&starting_after=av_demo")).json()
    assert [a["id"] for a in rest["data"]] == ["av_stock_001"]
    assert all(not a["id"].startswith("av_demo") for a in (await client.get("/v1/avatars?scope=org")).json()["data"])
    refused = await client.delete("/v1/avatars/av_demo")
    assert (refused.status_code, error(refused)["code"]) == (400, "avatar.not_deletable")
    for query, status in (("scope=mine", 422), ("starting_after=sess_1", 400), ("limit=0", 422)):
        assert (await client.get(f"/v1/avatars?{query}")).status_code == status


async def test_slots_and_other_accounts(running: World, client: httpx.AsyncClient) -> None:
    _, key = await running.new_account("small", "trial")
    async with running.client(key) as other:
        answers = await asyncio.gather(*(upload(other) for _ in range(4)))
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [202, 429, 429, 429]
        assert {error(a)["code"] for a in answers if a.status_code == 429} == {"avatar_slots"}
        (mine,) = [a.json()["id"] for a in answers if a.status_code == 202]
        for answer in (
            await client.get(f"/v1/avatars/{mine}"),
            await client.delete(f"/v1/avatars/{mine}"),
            await client.post("/v1/sessions", json=running.request(avatar_id=mine)),
        ):
            assert (answer.status_code, error(answer)["code"]) == (404, "avatar.not_found")
        assert (await other.delete(f"/v1/avatars/{mine}")).status_code == 204
        assert (await upload(other)).status_code == 202
