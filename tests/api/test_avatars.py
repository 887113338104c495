"""`/v1/avatars` over HTTP, on real Kafka and PostgreSQL, with the real builder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio

from events.sealing import field_aad
from events.topics import AVATARS
from faces.assets import Assets
from schemas.avatars import CONSENT, STOCK, Consent
from schemas.events import AvatarCreated, AvatarDeleted, AvatarReady, Encrypted
from schemas.ids import AVATAR, new_id
from store.data_keys import DataKeys
from store.database import pool as open_pool
from tests import bombs, portraits
from tests.api.test_sessions import error
from tests.world import World, eventually, stored

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


async def upload(
    client: httpx.AsyncClient, image: bytes = PORTRAIT, timeout: float = 30, **fields: str
) -> httpx.Response:
    # As the published SDK does: always octet-stream.
    files = {"image": ("a.bin", image, "application/octet-stream")}
    return await client.post("/v1/avatars", files=files, data=fields, timeout=timeout)


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
    assert [a["id"] for a in listed["data"]][-len(STOCK) :] == list(STOCK)
    assert [a["id"] for a in (await client.get("/v1/avatars?q=SECRET")).json()["data"]] == [avatar["id"]]

    assert len(stored(running)) == 2  # portrait and face
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
        return not [p for p in (running.folder / "assets").rglob("*") if p.is_file()]

    await eventually(removed, what="the removal of portrait and face")
    told = [event.data for event, _ in await running.log(avatar["id"], AVATARS)]
    assert [type(data) for data in told] == [AvatarCreated, AvatarReady, AvatarDeleted]
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


async def test_what_an_upload_says_is_in_the_log(running: World, client: httpx.AsyncClient) -> None:
    """Who has attested consent, to which words; and the shape, which a session must know at once."""
    key_id, key = await running.new_key()
    before = set(stored(running))
    async with running.client(key) as owner:
        answer = await owner.post(
            "/v1/avatars",
            files={"image": ("a", PORTRAIT), "background": ("b", portraits.file(portraits.noise(300, 500)))},
            data={"runtime_type": "mock", "shape": "portrait", "consent": "true"},
            timeout=30,
        )
    assert list(answer.json()) == FIELDS
    avatar_id = answer.json()["id"]
    said = (await running.log(avatar_id, AVATARS))[0][0].data
    assert isinstance(said, AvatarCreated)
    assert (said.shape, said.consent) == ("portrait", Consent(key_id, CONSENT))
    assert said.background is not None
    assert said.background.asset is not None
    assert set(stored(running)) - before == {said.asset, said.background.asset}
    assert (await built(client, avatar_id))["status"] == "ready"
    assert await running.sql("SELECT shape FROM r.avatars WHERE avatar_id = %s", avatar_id) == [("portrait",)]
    silent = (await upload(client, runtime_type="mock")).json()["id"]
    unsaid = (await running.log(silent, AVATARS))[0][0].data
    assert isinstance(unsaid, AvatarCreated)
    assert (unsaid.shape, unsaid.background, unsaid.consent) == ("square", None, None)


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


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        (b"", 422, "image.invalid"),
        (b"GIF89a" + bytes(100), 422, "image.invalid"),
        (b"%PDF-1.7 not a picture", 422, "image.invalid"),
        (PORTRAIT[:2000], 422, "image.invalid"),
        (bombs.promise(), 422, "image.invalid"),
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
        ({"files": [("image", ("i", PORTRAIT)), ("image", ("j", PORTRAIT))]}, 422, "image.repeated"),
        ({"files": [("image", ("i", PORTRAIT)), *[("background", ("b", PORTRAIT))] * 2]}, 400, "multipart.malformed"),
        ({"files": {"image": ("i", PORTRAIT), "background": ("b", b"GIF89a")}}, 422, "background.invalid"),
    ],
)
async def test_bad_requests(client: httpx.AsyncClient, request_: dict[str, Any], status: int, code: str) -> None:
    answer = await client.post("/v1/avatars", **request_)
    assert error(answer)["code"].startswith(code), answer.text
    assert answer.status_code in (status, 400)


async def test_a_decode_bomb_is_told(client: httpx.AsyncClient) -> None:
    """Ten seconds of work at the most; it would be an hour of a thread that nobody can stop."""

    async def decided() -> httpx.Response | None:
        """A machine that gives a decoder no CPU at all answers 503: then as a customer would, again."""
        answer = await upload(client, bombs.progressive(), timeout=60)
        return None if answer.status_code == 503 else answer

    answer = await eventually(decided, timeout_s=150)
    assert answer is not None
    assert (answer.status_code, error(answer)["code"]) == (422, "image.invalid")
    assert "too long" in error(answer)["message"]


async def test_a_refused_upload_leaves_nothing(running: World) -> None:
    """Its slot is free and its portrait is gone, whatever it was refused for."""
    _, key = await running.new_account("refused", "trial")
    before = set(stored(running))
    async with running.client(key) as other:
        for image in (b"", b"GIF89a", portraits.file(portraits.noise(100, 100)), PORTRAIT[:2000]):
            assert (await upload(other, image)).status_code == 422
            behind = {"image": ("a", PORTRAIT), "background": ("b", image)}  # the portrait is stored by then
            refused = await other.post("/v1/avatars", files=behind, timeout=30)
            assert (refused.status_code, error(refused)["param"]) == (422, "background")
        taken = await upload(other, runtime_type="mock")
        assert taken.status_code == 202
        (kept,) = set(stored(running)) - before
        for n in range(30):
            refused = await upload(other, portraits.file(portraits.drawn(side=300 + n)))
            assert (refused.status_code, error(refused)["code"]) == (429, "avatar_slots")
        assert set(stored(running)) - before == {kept}


async def test_a_full_disk_leaves_nothing(running: World) -> None:
    """No file may grow beyond 2 MB: an error of the disk in the midst of storing 3 MB."""
    _, key = await running.new_account("full disk", "trial")
    before, api = set(stored(running)), psutil.Process(running.processes["api"].pid)
    picture = portraits.file(portraits.noise(1024, 1024), "JPEG", quality=60)
    limits = api.rlimit(psutil.RLIMIT_FSIZE)
    api.rlimit(psutil.RLIMIT_FSIZE, (2 * 1024 * 1024, limits[1]))
    try:
        async with running.client(key) as other:
            answer = await upload(other, picture)
            assert (answer.status_code, error(answer)["code"]) == (500, "internal")
            assert set(stored(running)) <= before
            api.rlimit(psutil.RLIMIT_FSIZE, limits)
            assert (await upload(other, picture)).status_code == 202
    finally:
        api.rlimit(psutil.RLIMIT_FSIZE, limits)


async def test_an_api_that_dies_while_it_takes_an_upload_in_leaves_nothing(running: World) -> None:
    """Its row is all that is known of the upload; any API process finds it, a minute later, and what was stored."""
    account, _ = await running.new_account("crashed", "trial")
    avatar_id = new_id(AVATAR)
    assets = Assets(running.folder / "assets")
    kept = {assets.put(picture, avatar_id) for picture in (b"a portrait", b"a background")}
    await running.sql(
        "INSERT INTO avatar_admissions (avatar_id, account_id, resource, created_at)"
        " VALUES (%s, %s, '{}', now() - interval '61 seconds')",
        *(avatar_id, account),
    )

    async def undone() -> bool:
        return not kept & set(stored(running))

    await eventually(undone, what="the removal of what it stored")

    async def said() -> bool:
        return [type(event.data) for event, _ in await running.log(avatar_id, AVATARS)] == [AvatarDeleted]

    await eventually(said, what="a deletion in the log, behind whatever it still may have sent")


async def test_failed_avatars_do_not_pile_up(running: World) -> None:
    """They hold no slot; the ten latest are kept, without their portraits."""
    account, key = await running.new_account("failing", "trial")
    await _rows(running, account, [(new_id(AVATAR), None, "failed") for _ in range(15)])
    async with running.client(key) as other:
        assert len((await other.get("/v1/avatars?scope=org")).json()["data"]) == 15
        assert (await upload(other, runtime_type="mock")).status_code == 202
        statuses = [each["status"] for each in (await other.get("/v1/avatars?scope=org")).json()["data"]]
        assert statuses.count("failed") == 10
        assert len(statuses) == 11


async def test_a_name_that_does_not_open_says_so_and_hides_no_other(running: World) -> None:
    """All but the latest 30 of 300 names cannot be decrypted; a list of them all was a 500."""
    account, key = await running.new_account("many")
    ids = sorted(new_id(AVATAR) for _ in range(300))
    async with open_pool(running.database_url, 1) as pool:
        data_key = await DataKeys(pool, running.keyring).of(account)
    names = {each: data_key.encrypt(f"Number {n}", field_aad(each, "name")) for n, each in enumerate(ids)}
    broken = Encrypted("AAAA", names[ids[0]].key_id)
    rows: list[tuple[str, Encrypted | None, str]] = [
        (each, names[each] if n >= 270 else broken, "ready") for n, each in enumerate(ids)
    ]
    await _rows(running, account, rows)
    async with running.client(key) as other:
        page = (await other.get("/v1/avatars?limit=20")).json()
        assert [each["name"] for each in page["data"]] == [f"Number {n}" for n in range(299, 279, -1)]
        assert page["has_more"]
        assert page["next_cursor"] == ids[280]
        beyond = await other.get(f"/v1/avatars?limit=20&starting_after={page['next_cursor']}")
        assert [each["name"] for each in beyond.json()["data"]] == [
            *(f"Number {n}" for n in range(279, 269, -1)),
            *["[erased]"] * 10,
        ]

        await _rows(running, account, [(each, names[each], "ready") for each in ids])
        found = (await other.get("/v1/avatars?q=number%2017&limit=5")).json()
        assert [each["name"] for each in found["data"]] == [f"Number {n}" for n in (179, 178, 177, 176, 175)]
        rest = (await other.get(f"/v1/avatars?q=number%2017&starting_after={found['next_cursor']}")).json()
        assert [each["name"] for each in rest["data"]] == [f"Number {n}" for n in (174, 173, 172, 171, 170, 17)]
        assert not rest["has_more"]

        walked: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await other.get(f"/v1/avatars?limit=100{cursor and '&starting_after=' + cursor}")).json()
            walked += [each["id"] for each in page["data"]]
            cursor = page["next_cursor"]
        assert walked == [*reversed(ids), *STOCK]


async def test_a_search_looks_at_a_bounded_number_and_says_where_to_go_on(running: World) -> None:
    account, key = await running.new_account("very many")
    async with open_pool(running.database_url, 1) as pool:
        data_key = await DataKeys(pool, running.keyring).of(account)
    ids = sorted(new_id(AVATAR) for _ in range(1100))
    named = [
        (each, data_key.encrypt("Lou" if n == 0 else "Bob", field_aad(each, "name"))) for n, each in enumerate(ids)
    ]  # ids have no l, no o and no u: none is found for its own sake
    await _rows(running, account, [(each, name, "ready") for each, name in named])
    async with running.client(key) as other:
        first = (await other.get("/v1/avatars?q=lou")).json()
        assert (first["data"], first["has_more"], first["next_cursor"]) == ([], True, ids[100])
        second = (await other.get(f"/v1/avatars?q=lou&starting_after={first['next_cursor']}")).json()
        assert ([each["id"] for each in second["data"]], second["has_more"]) == ([ids[0]], False)


async def _rows(world: World, account: str, rows: list[tuple[str, Encrypted | None, str]]) -> None:
    """As the projection would write them."""
    ids, names, statuses = zip(*rows, strict=True)
    await world.sql(
        """
        INSERT INTO avatars_v1.avatars
        SELECT id, %s, status, key_id, name, 'avtr1', NULL, NULL, NULL, 0
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS x (id, status, key_id, name)
        ON CONFLICT (avatar_id) DO UPDATE SET name = excluded.name
        """,
        *(account, list(ids), list(statuses)),
        *([name and name.key_id for name in names], [name and name.enc for name in names]),
    )


async def test_stock_avatars(client: httpx.AsyncClient) -> None:
    demo = (await client.get("/v1/avatars/av_demo")).json()
    assert list(demo) == FIELDS
    assert (demo["status"], demo["is_demo"]) == ("ready", True)
    platform = (await client.get("/v1/avatars?scope=platform&limit=1")).json()
    assert (len(platform["data"]), platform["has_more"], platform["next_cursor"]) == (1, True, "av_demo")
    rest = (await client.get("/v1/avatars?scope=platform&starting_after=av_demo")).json()
    assert [a["id"] for a in rest["data"]] == list(STOCK)[1:]
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
