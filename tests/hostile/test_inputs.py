"""Whatever a caller writes into a path, a query, a header, a form or a body: an answer of ours, never a crash."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
import pytest_asyncio
from pydantic import ValidationError

from api import bodies
from api.creates import parse
from api.errors import ApiError
from schemas.sessions import CreateSession
from tests.api.test_sessions import error
from tests.world import World, eventually

pytestmark = pytest.mark.servers

CONTROLS = ["\x00", "\x01", "\t", "\n", "\r", "\x1b", "\x1f"]
TEXTS = [
    "",
    " ",
    "a\x00b",
    "\x7f",
    "\u2028",
    "\ufffe",
    "💥",
    "%00",
    "'; --",
    "../..",
    "sess_",
    "x" * 3000,
    "-1",
    "1e400",
]
BYTES = ["%ff", "%C0%80", "%ED%A0%80", "%", "%zz", "%f4%90%80%80", "%2500", "é".encode().hex(":").replace(":", "%")]
VALUES: list[Any] = [
    *TEXTS,
    *CONTROLS,
    None,
    True,
    0,
    -1,
    2**53 + 1,
    2**63,
    2**64 + 1,
    1e308,
    0.1,
    [],
    {},
    ["\x00"],
    {"\x00": "\x00"},
    {"a": {"b": [{}]}},
    [[]] * 3,
]


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "avatars", "roster", GREENROOM_CAPACITY_WAIT_SECONDS="0")
    await world.fake_worker(3000, ["mock", "lite", "standard", "pro"])
    return world


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as opened:
        yield opened


def fine(answer: httpx.Response, what: object) -> None:
    """A success, or an error of the documented form that is not our fault."""
    if not answer.is_success:
        assert answer.status_code < 500, (what, answer.text)
        assert error(answer)["code"], what


@pytest.mark.parametrize("path", ["/v1/sessions/{}", "/v1/avatars/{}", "/v1/webhook_endpoints/{}", "/{}"])
async def test_paths(client: httpx.AsyncClient, path: str) -> None:
    for method, value in itertools.product(["GET", "DELETE", "POST", "PATCH"], [*map(quote, TEXTS + CONTROLS), *BYTES]):
        answer = await client.request(method, path.format(value))
        fine(answer, (method, path, value))
        assert answer.status_code in (404, 405) or value in ("", "..", "../..", "%2E%2E"), (method, path, value)


@pytest.mark.parametrize("control", CONTROLS)
async def test_a_control_in_a_path_is_404(client: httpx.AsyncClient, control: str) -> None:
    for path in ("/v1/sessions/sess_{}", "/v1/sessions/sess_{}/end", "/v1/avatars/av_{}", "/v1/webhook_endpoints/{}"):
        for method in ("GET", "POST", "DELETE"):
            answer = await client.request(method, path.format(quote(control)))
            assert (answer.status_code, error(answer)["type"]) == (404, "not_found")


PARAMETERS = {
    "/v1/sessions": ["status", "avatar_id", "created_after", "created_before", "limit", "starting_after", "unknown"],
    "/v1/avatars": ["scope", "q", "limit", "starting_after", "unknown"],
}
PLACES = [(path, name) for path, names in PARAMETERS.items() for name in names]
MORE = [
    "0001-01-01T00:00:00-23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-01-01T00:00:00+24:00",
    "1" * 31,
    "1" * 5000,
    "sess_" + "Z" * 5000,
    "av_" + "Z" * 5000,
]


@pytest.mark.parametrize(("path", "name"), PLACES)
async def test_queries(client: httpx.AsyncClient, path: str, name: str) -> None:
    for value in [*map(quote, TEXTS + MORE), *BYTES]:
        fine(await client.get(f"{path}?{name}={value}"), (path, name, value))
        fine(await client.get(f"{path}?{name}={value}&{name}={value}"), (path, name, value))
    for control in CONTROLS:
        for value in (control, f"sess_{control}", f"av_{control}"):
            answer = await client.get(f"{path}?{name}={quote(value)}")
            code = "cursor.invalid" if name == "starting_after" else f"{name}.invalid"
            assert (answer.status_code, error(answer)["code"], error(answer)["param"]) == (400, code, name)


async def test_a_control_in_the_name_of_a_parameter(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/sessions?lim%00it=1")
    assert (answer.status_code, error(answer)["code"]) == (400, "query.invalid")


def places(body: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(body, dict):
        for name, value in body.items():
            yield from places(value, (*path, name))


def changed(body: dict[str, Any], path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    made = copy.deepcopy(body)
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return made


SESSION = {
    "avatar_id": "av_demo",
    "quality": "mock",
    "max_duration_seconds": 60,
    "idle_timeout_seconds": 5,
    "metadata": {"note": "x"},
    "transport": {
        "type": "livekit",
        "url": "ws://127.0.0.1:7880",
        "room_name": "nasty",
        "worker_token": "opaque",
        "worker_identity": "me",
        "audio_source": "track",
        "subscribe_to_identity": "you",
        "synthetic_audio_if_no_input": False,
    },
}
ENDPOINT = {"url": "https://127.0.0.1/hook", "events": ["*"], "description": "d", "enabled": False}
BODIES = [("/v1/sessions", SESSION, place) for place in places(SESSION)] + [
    ("/v1/webhook_endpoints", ENDPOINT, place) for place in places(ENDPOINT)
]


@pytest.mark.parametrize(("path", "body", "place"), BODIES, ids=[f"{b[0]}:{'.'.join(b[2])}" for b in BODIES])
async def test_bodies(client: httpx.AsyncClient, path: str, body: dict[str, Any], place: tuple[str, ...]) -> None:
    for value in VALUES:
        fine(await client.post(path, content=json.dumps(changed(body, place, value))), (path, place, value))
    fine(await client.post(path, content=json.dumps(changed(body, (*place[:-1], "\x00"), 1))), (path, place))


def texts(body: dict[str, Any]) -> list[tuple[str, ...]]:
    return [place for place in places(body) if isinstance(at(body, place), str)]


def at(body: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        body = body[name]
    return body


CONTROLLED = [
    *(("/v1/sessions", SESSION, place) for place in texts(SESSION) if place != ("transport", "type")),
    *(("/v1/webhook_endpoints", ENDPOINT, place) for place in texts(ENDPOINT)),
]


@pytest.mark.parametrize(("path", "body", "place"), CONTROLLED, ids=[".".join(c[2]) for c in CONTROLLED])
async def test_a_control_in_a_string_of_a_body(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], place: tuple[str, ...]
) -> None:
    for control in CONTROLS:
        answer = await client.post(path, json=changed(body, place, f"{at(body, place)}{control}"))
        told = error(answer)
        assert (answer.status_code, told["code"], told["param"]) == (422, f"{'.'.join(place)}.invalid", ".".join(place))


async def test_controls_in_names_and_items(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/sessions", json={**SESSION, "metadata": {"a": 1, "b\x00": 2}})
    assert (answer.status_code, error(answer)["code"], error(answer)["param"]) == (422, "metadata.invalid", "metadata")
    answer = await client.post("/v1/webhook_endpoints", json={**ENDPOINT, "events": ["*", "session.\x00"]})
    assert (answer.status_code, error(answer)["code"]) == (422, "events.1.invalid")


async def test_the_first_problem_in_field_order_is_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/sessions", json={**SESSION, "avatar_id": "a\x00", "quality": "ultra"})
    assert error(answer)["code"] == "avatar_id.invalid"
    answer = await client.post("/v1/sessions", json={**SESSION, "quality": "ultra", "metadata": {"a": "\x00"}})
    assert error(answer)["code"] == "quality.invalid"


HOSTS = [
    "a" * 64 + ".example",
    "a..b",
    "\x00",
    "é.example",
    "[::1",
    "a:70000",
    "a." * 130 + "b",
    "",
    "?",
    "u:p@a",
    "a\\b",
]


@pytest.mark.parametrize("host", HOSTS)
async def test_hosts_that_cannot_be(client: httpx.AsyncClient, host: str) -> None:
    answer = await client.post("/v1/webhook_endpoints", json={**ENDPOINT, "url": f"https://{host}/hook"})
    assert (answer.status_code, error(answer)["code"]) == (422, "url.invalid")
    answer = await client.post("/v1/sessions", json=changed(SESSION, ("transport", "url"), f"wss://{host}/"))
    assert (answer.status_code, error(answer)["code"]) == (422, "transport.url.invalid")


@pytest.mark.parametrize("key", [b"a\tb", b"caf\xe9", "é".encode(), b"", b"x" * 256])
async def test_idempotency_keys_are_visible_ascii(client: httpx.AsyncClient, key: bytes) -> None:
    answer = await client.post("/v1/sessions", json=SESSION, headers=[(b"Idempotency-Key", key)])
    assert answer.status_code == 400
    assert error(answer)["code"] in ("idempotency_key.invalid", "http.malformed")


@pytest.mark.parametrize("value", [b"Bearer \xff", b"Bearer sk_\xe9", "Bearer 💥".encode(), b"Bearer " + b"x" * 9000])
async def test_keys_of_any_bytes(running: World, value: bytes) -> None:
    async with httpx.AsyncClient(base_url=running.api_url, trust_env=False) as stranger:
        answer = await stranger.get("/v1/sessions", headers=[(b"Authorization", value)])
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "name", ["name", "runtime_type", "positions", "shape", "background", "consent", "image", "other\x00", ""]
)
async def test_forms(client: httpx.AsyncClient, name: str) -> None:
    for value in [*TEXTS, *CONTROLS]:
        fine(await client.post("/v1/avatars", data={name: value}, files={"file": b"x"}), (name, value))
        fine(await client.post("/v1/avatars", files={"image": b"x", name: value.encode()}), (name, value))


@pytest.mark.parametrize("control", CONTROLS)
async def test_a_control_in_the_name_of_an_avatar(client: httpx.AsyncClient, control: str) -> None:
    answer = await client.post("/v1/avatars", data={"name": f"Ada{control}"}, files={"image": b"x"})
    assert (answer.status_code, error(answer)["code"], error(answer)["param"]) == (422, "name.invalid", "name")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b"x"),
        (
            "multipart/form-data; boundary=x; charset=nope",
            b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\na\r\n--x--',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"y" * 70_000),
        ("multipart/form-data; boundary=" + "y" * 300, b"--"),
        ("multipart/form-data; boundary=\xe9", b"--"),
    ],
)
async def test_forms_that_are_none(client: httpx.AsyncClient, kind: str, content: bytes) -> None:
    answer = await client.post("/v1/avatars", content=content, headers=[(b"Content-Type", kind.encode("latin-1"))])
    assert answer.status_code in (400, 422), answer.text
    fine(answer, kind)


# Metadata


@pytest.mark.parametrize(
    "number", [2**53 + 1, -(2**53) - 1, 2**63, 2**64, 123456789012345678901234567890, 1e16, -1e300]
)
async def test_numbers_that_would_come_back_rounded(client: httpx.AsyncClient, number: float) -> None:
    answer = await client.post("/v1/sessions", json={**SESSION, "metadata": {"fine": 1, "n": number}})
    assert (answer.status_code, error(answer)["code"]) == (422, "metadata.n.too_large")


async def test_numbers_come_back_as_they_were(running: World, client: httpx.AsyncClient) -> None:
    told = {
        "a": 2**53,
        "b": -(2**53),
        "c": 0.1,
        "d": 1.7976931348623157e-300,
        "e": -0.0,
        "f": True,
        "g": 5e-324,
        "h": 1.0,
    }
    session = await running.create(client, metadata=told)
    assert repr(session["metadata"]) == repr(told)

    async def folded() -> list[Any]:
        return await running.sql("SELECT 1 FROM r.sessions WHERE session_id = %s", session["id"])

    await eventually(folded)
    assert repr((await running.status(client, session["id"]))["metadata"]) == repr(told)


@pytest.mark.parametrize("text", ["1e400", "-1e400", "NaN", "Infinity", "01", "1.", '"\\ud800"', '"\x00"'])
async def test_what_is_no_json(client: httpx.AsyncClient, text: str) -> None:
    raw = orjson.dumps(SESSION).replace(b'"x"', text.encode())
    answer = await client.post("/v1/sessions", content=raw)
    assert (answer.status_code, error(answer)["code"]) == (400, "json.malformed")


@pytest.mark.parametrize(
    "body", [b'{"a":' * 1000 + b"1" + b"}" * 1000, b'{"metadata":' + b"[" * 1020 + b"]" * 1020 + b"}"]
)
async def test_depth(client: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/v1/sessions", "/v1/webhook_endpoints"):
        answer = await client.post(path, content=body)
        assert answer.status_code in (400, 422)
        fine(answer, path)


def many(count: int) -> dict[str, Any]:
    return {f"{n:x}": [] for n in range(count)}


@pytest.mark.parametrize(
    "body",
    [
        {**SESSION, "metadata": many(30_000)},
        {**SESSION, **many(30_000)},
        {**SESSION, "transport": many(30_000)},
        {**SESSION, "metadata": [0] * 100_000},
        {**SESSION, "metadata": {"a": [[{}] * 40] * 2000}},
    ],
    ids=["metadata", "fields", "transport", "array", "nested"],
)
def test_too_many_members_are_refused_before_any_is_validated(
    body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("validated")

    monkeypatch.setattr(CreateSession, "model_validate", never)
    raw = orjson.dumps(body)
    with pytest.raises(ApiError) as refused:
        parse(raw)
    assert (refused.value.status, refused.value.code) == (413, "body.too_large")


def test_metadata_costs_one_error_however_much_of_it_is_wrong() -> None:
    with pytest.raises(ValidationError) as failed:
        CreateSession.model_validate({**SESSION, "metadata": many(1600)})
    assert [found["loc"] for found in failed.value.errors()] == [("metadata", "0")]
    with pytest.raises(ApiError) as refused:
        parse(orjson.dumps({**SESSION, "metadata": many(1700)}))
    assert (refused.value.status, refused.value.code) == (422, "metadata.too_large")


def test_every_string_of_a_body_has_a_pattern() -> None:
    """So that a new field cannot forget the control characters."""

    def strings(schema: Any) -> Iterator[dict[str, Any]]:
        if isinstance(schema, dict):
            if schema.get("type") == "string":
                yield schema
            for inner in schema.values():
                yield from strings(inner)
        elif isinstance(schema, list):
            for inner in schema:
                yield from strings(inner)

    for model in bodies.documented_models():
        for found in strings(model.model_json_schema()):
            assert "enum" in found or "const" in found or not re.search(found["pattern"], "a\x00"), found
