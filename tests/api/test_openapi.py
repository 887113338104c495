"""The OpenAPI document as a product, and the pages that are made of it. What it promises is held by tests/hostile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import jsonschema_rs
import pytest

from api import manual_page, manual_text, openapi
from api.app import published_document
from schemas.documents import OPENAPI, readable
from schemas.events import ENDPOINT_TEST, SUBSCRIBABLE
from schemas.webhooks import WebhookBody

pytestmark = pytest.mark.unit

DOCUMENT = published_document()
OPERATIONS = list(openapi.operations(DOCUMENT))
RESERVED = "create_pipecat_session"


def test_the_committed_document_is_current() -> None:
    assert OPENAPI.read_bytes() == readable(DOCUMENT), "openapi.json has drifted: make schemas"
    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_operation_says_what_it_does() -> None:
    for operation in OPERATIONS:
        assert operation.told["summary"], operation
        assert operation.told["description"], operation.told["operationId"]
        assert set(operation.told["tags"]) <= set(openapi.TAGS), operation
    assert max(Counter(operation.told["operationId"] for operation in OPERATIONS).values()) == 1
    assert {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]} == set(openapi.TAGS)


def test_every_operation_says_who_may() -> None:
    assert DOCUMENT["security"] == [{"key": []}]
    assert DOCUMENT["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for operation in OPERATIONS:
        assert ("x-scope" in operation.told) == (operation.told.get("security") != []), operation


def valid(schema: dict[str, Any], example: Any) -> None:
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "components": DOCUMENT["components"]}
    jsonschema_rs.validator_for(whole).validate(example)


def test_every_error_has_an_example() -> None:
    for operation in OPERATIONS:
        for status, answer in operation.told["responses"].items():
            if status < "400":
                continue
            content = answer["content"]["application/json"]
            for name, reference in content["examples"].items():
                assert reference == {"$ref": f"#/components/examples/{name}"}
                shown = DOCUMENT["components"]["examples"][name]["value"]
                valid(content["schema"], shown)
                assert shown["error"]["code"] == name
            assert len(content["examples"]) == answer["description"].count("`") // 2, (operation, status)


def test_every_body_and_main_answer_has_an_example() -> None:
    for operation in OPERATIONS:
        for content in operation.told.get("requestBody", {}).get("content", {}).values():
            valid(content["schema"], content["example"])
        for status, answer in operation.told["responses"].items():
            content = answer.get("content", {}).get("application/json")
            if status < "300" and content is not None and operation.told["operationId"] != RESERVED:
                valid(content["schema"], content["example"])


def test_every_public_event_is_a_webhook() -> None:
    assert set(DOCUMENT["webhooks"]) == {*SUBSCRIBABLE, ENDPOINT_TEST}
    for kind, entry in DOCUMENT["webhooks"].items():
        content = entry["post"]["requestBody"]["content"]["application/json"]
        valid(content["schema"], content["example"])
        assert set(content["example"]) - {"n"} == set(WebhookBody.model_fields)
        with pytest.raises(jsonschema_rs.ValidationError):
            valid(content["schema"], {**content["example"], "type": f"{kind}.not"})
    assert DOCUMENT["components"]["schemas"]["WebhookBody"]["properties"]["data"] == {
        "$ref": "#/components/schemas/SessionResource"
    }


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def test_every_reference_resolves_and_everything_is_referred_to() -> None:
    found = set(references(DOCUMENT))
    assert "#/components/schemas/LiveKitTransport" in found
    for reference in found:
        node: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    components = DOCUMENT["components"]
    named = {f"#/components/{kind}/{name}" for kind in ("schemas", "examples", "headers") for name in components[kind]}
    assert named == found


class Page(HTMLParser):
    """What a page is made of, and where its addresses lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.addresses: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            elif name not in ("lang", "charset", "name", "content"):
                self.addresses.add(value or "")


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = manual_page.page(DOCUMENT)
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe", "base", "form", "object"}
    assert "url(" not in text.split("</style>")[0]
    assert "@import" not in text
    within = {address for address in page.addresses if address.startswith("#")}
    assert page.addresses - within == {"/openapi.json", "/llms.txt"}
    assert {address.removeprefix("#") for address in within} <= set(page.ids)
    assert max(Counter(page.ids).values()) == 1


def test_the_page_shows_everything() -> None:
    ids = set(Page(manual_page.page(DOCUMENT)).ids)
    assert {operation.told["operationId"] for operation in OPERATIONS} <= ids
    assert {entry["post"]["operationId"] for entry in DOCUMENT["webhooks"].values()} <= ids
    assert {f"schema-{name}" for name in DOCUMENT["components"]["schemas"]} <= ids
    assert {"errors", "schemas"} <= ids


def test_the_guide_names_every_call() -> None:
    text = manual_text.text(DOCUMENT)
    for operation in OPERATIONS:
        assert f"- {operation.method} {operation.path}: " in text
    for kind in SUBSCRIBABLE:
        assert f"- {kind}: " in text
    for named in ("Authorization: Bearer", "/openapi.json", "Retry-After", "whsec_"):
        assert named in text
