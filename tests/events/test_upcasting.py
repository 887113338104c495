"""Old versions of events, read as the current one: each way has a golden fixture and gives what it says."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import msgspec
import pytest

from events.upcasting import UPCASTERS, Upcaster, problems, upcaster
from schemas.events import CATALOGUE, EventType, SessionEvent
from schemas.jsons import JsonObject
from tests.builders import created, event, record

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).with_name("golden")
NAME = "test.danced"


class Danced(SessionEvent, frozen=True):
    """Its third version. The first counted `steps`, the second called them `moves`; now they are thousandths."""

    moves_milli: int
    kind: Literal["waltz", "tango"]


@pytest.fixture
def codec(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Of a software that has `test.danced`, made known as any type is: in the catalogue, its ways registered."""
    monkeypatch.setitem(CATALOGUE, NAME, EventType(3, Danced, "sessions.v1", public=False))

    @upcaster(NAME, 1)
    def renamed(content: JsonObject) -> JsonObject:
        content["moves"] = content.pop("steps")
        return content

    @upcaster(NAME, 2)
    def thousandths(content: JsonObject) -> JsonObject:
        moves = content.pop("moves")
        return {**content, "moves_milli": 1000 * moves, "kind": "waltz"}

    spec = importlib.util.find_spec("events.codec")
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    yield fresh
    del UPCASTERS[NAME, 1], UPCASTERS[NAME, 2]


def read(codec: ModuleType, version: int, content: JsonObject) -> object:
    fine = record(event(created("sess_1")))
    changed = {"ce_type": NAME.encode(), "ce_dataschema": f"urn:greenroom:{NAME}:{version}".encode()}
    headers = [(name, changed.get(name, value)) for name, value in fine.headers]
    value = msgspec.json.encode(content)
    return codec.decode(record(event(created("sess_1")), value=value, headers=headers)).data


def test_every_version_is_read_as_the_current_one(codec: ModuleType) -> None:
    current = Danced("sess_1", 7000, "waltz")
    assert read(codec, 1, {"session_id": "sess_1", "steps": 7}) == current
    assert read(codec, 2, {"session_id": "sess_1", "moves": 7}) == current
    assert read(codec, 3, {"session_id": "sess_1", "moves_milli": 7000, "kind": "waltz"}) == current
    assert read(codec, 1, {"session_id": "sess_1", "steps": 7, "unheard_of": 1}) == current


def test_what_is_newer_or_of_another_shape_is_no_crash(codec: ModuleType) -> None:
    with pytest.raises(codec.Unknown, match=r"version 4 is newer than this software \(3\)"):
        read(codec, 4, {"session_id": "sess_1"})
    other: list[Any] = [{"session_id": "sess_1"}, {"session_id": "sess_1", "steps": "seven"}, [], None, {"moves": 7}]
    for content in other:
        with pytest.raises(codec.Malformed):
            read(codec, 1, content)


def test_a_version_without_a_way_is_told(codec: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(problems()) == []
    with pytest.raises(ValueError, match="has a way from version 1 to 2 already"):
        upcaster(NAME, 1)(dict)
    monkeypatch.setitem(CATALOGUE, NAME, CATALOGUE[NAME]._replace(version=4))
    assert list(problems()) == [
        "test.danced version 3 cannot be read any more: register its way to 4, @upcaster('test.danced', 3)."
    ]
    monkeypatch.setitem(CATALOGUE, NAME, CATALOGUE[NAME]._replace(version=2))
    assert list(problems()) == ["test.danced has a way from version 2, and the catalogue no version 3 of it."]


def unproven(upcasters: Mapping[tuple[str, int], Upcaster], folder: Path) -> Iterator[str]:
    """A sentence for each upcaster without a fixture, or the other way round, and for one that gives something else."""
    fixtures = {path.stem: path for path in sorted(folder.glob("*.json"))}
    for (name, n), way in sorted(upcasters.items()):
        path = fixtures.pop(f"{name}.{n}", None)
        if path is None:
            yield f"{name} version {n}: there is no {folder.name}/{name}.{n}.json with `before` and `after`"
        elif way(msgspec.json.decode(path.read_bytes())["before"]) != msgspec.json.decode(path.read_bytes())["after"]:
            yield f"{path.name}: its upcaster makes something else of `before`"
    for left in fixtures.values():
        yield f"{left.name}: there is no such upcaster"


def test_each_way_gives_what_its_fixture_says() -> None:
    assert list(unproven(UPCASTERS, GOLDEN / "upcasters")) == []
    assert list(problems()) == []


def test_a_way_without_a_true_fixture_is_told(codec: ModuleType) -> None:
    ours = {key: way for key, way in UPCASTERS.items() if key[0] == NAME}
    folder = GOLDEN / "upcasters-of-tests"
    assert list(unproven(ours, folder)) == []
    assert list(unproven({(NAME, 1): ours[NAME, 1]}, folder)) == ["test.danced.2.json: there is no such upcaster"]
    assert list(unproven({**ours, (NAME, 3): ours[NAME, 1]}, folder)) == [
        "test.danced version 3: there is no upcasters-of-tests/test.danced.3.json with `before` and `after`"
    ]
    wrong = {**ours, (NAME, 1): lambda content: {**content, "moves": 0}}
    assert list(unproven(wrong, folder)) == ["test.danced.1.json: its upcaster makes something else of `before`"]
