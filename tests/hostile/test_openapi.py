"""The OpenAPI document against the real stack: what schemathesis makes of it, valid and not, with all of its checks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from schemas.documents import OPENAPI
from tests.world import World

pytestmark = pytest.mark.servers

CONFIG = Path(__file__).with_name("schemathesis.toml")
LEAST_CASES = 2000
LEAST_ACCEPTED = {
    "POST /v1/sessions": 20,
    "POST /v1/webhook_endpoints": 5,
    "GET /v1/sessions": 20,
    "GET /v1/avatars": 20,
}
"""By the fuzzing alone: a run in which everything is refused shows little."""


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "all", GREENROOM_CAPACITY_WAIT_SECONDS="0")
    await world.fake_worker(3000, ["mock", "lite", "standard", "pro"])
    return world


@pytest_asyncio.fixture(scope="module")
async def document(running: World) -> dict[str, Any]:
    async with running.client() as client:
        found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


@pytest.mark.timeout(400)
async def test_every_answer_is_as_documented(running: World, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    child = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"],
        *[f"{running.api_url}/openapi.json", "--checks", "all", "--report", "json", "--report-json-path", str(report)],
        cwd=tmp_path,
        env={**os.environ, "GREENROOM_API_KEY": running.key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await child.communicate()
    assert child.returncode == 0, said.decode()
    told = json.loads(report.read_bytes())
    assert told["complete"]
    assert not told["failures"]
    assert not told["errors"]
    assert told["test_cases"]["generated"] >= LEAST_CASES
    for operation, least in LEAST_ACCEPTED.items():
        assert told["valid_rates"][operation]["fuzzing"]["accepted"] >= least, operation


async def test_what_is_served_is_what_is_committed(running: World, document: dict[str, Any]) -> None:
    assert document == json.loads(OPENAPI.read_bytes())
    async with httpx.AsyncClient(base_url=running.api_url, trust_env=False) as stranger:
        page, text = await stranger.get("/docs"), await stranger.get("/llms.txt")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["content-security-policy"].startswith("default-src 'none';")
    assert (text.status_code, text.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert text.text.startswith("# Greenroom")


async def test_every_error_has_our_envelope(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            statuses = set(operation["responses"])
            assert {"400", "408", "414", "431", "500", "503"} <= statuses, (method, path)
            assert ({"401", "403"} <= statuses) == (operation.get("security") != []), (method, path)
            assert ("413" in statuses) == ("requestBody" in operation), (method, path)
            for status, answer in operation["responses"].items():
                if status >= "400":
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorEnvelope"}, (method, path, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_405_names_what_is_allowed(running: World, document: dict[str, Any]) -> None:
    async with running.client() as client:
        for path, operations in document["paths"].items():
            unknown = next(method for method in ("PATCH", "PUT") if method.lower() not in operations)
            answer = await client.request(unknown, path)
            assert answer.status_code == 405
            assert answer.headers["allow"] == ", ".join(sorted(method.upper() for method in operations))
        assert (await client.post("/openapi.json")).headers["allow"] == "GET, HEAD"


async def test_no_answer_is_without_an_envelope(running: World) -> None:
    """A slash at the end was answered with a redirect, to whatever host the request had named."""
    async with httpx.AsyncClient(base_url=running.api_url, trust_env=False) as stranger:
        answer = await stranger.get("/v1/sessions/", headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "route.not_found")
