"""What was written under a schema stays readable, and so is what is written now to whoever reads with it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from schemas.events import CATALOGUE
from tools.baseline import Known, Refused, accept, committed, problems, read, release
from tools.compatibility import changes

pytestmark = pytest.mark.unit

NAME = "test.danced.1"
BASE: dict[str, Any] = {
    "$id": "urn:greenroom:test.danced:1",
    "$ref": "#/$defs/Danced",
    "$defs": {
        "Danced": {
            "type": "object",
            "title": "Danced",
            "required": ["who", "steps", "kind"],
            "properties": {
                "who": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[a-z]*$"},
                "steps": {"type": "integer", "minimum": 0, "maximum": 100},
                "kind": {"enum": ["waltz", "tango"]},
                "with": {"anyOf": [{"$ref": "#/$defs/Partner"}, {"type": "null"}], "default": None},
                "tags": {"type": "array", "items": {"type": "string"}, "default": []},
                "at": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
                "more": {"type": "object", "additionalProperties": {"type": "integer"}},
            },
        },
        "Partner": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Partner"}], "default": None},
            },
        },
    },
}


def changed(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> dict[str, Any]:
    """`change` is given the members of the event, and the document."""
    document = copy.deepcopy(BASE)
    change(document["$defs"]["Danced"]["properties"], document)
    return document


def required(document: dict[str, Any], *names: str) -> list[str]:
    document["$defs"]["Danced"]["required"] = [*names]
    return [*names]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p, d: p.pop("tags"), "tags: was removed"),
        (lambda p, d: (p.pop("who"), required(d, "steps", "kind")), "who: was removed"),
        (lambda p, d: d["$defs"]["Partner"]["properties"].pop("name"), "with.name: was removed"),
        (lambda p, d: required(d, "who", "steps", "kind", "tags"), "tags: is required now: what stands in the log"),
        (lambda p, d: (p.update(new={"type": "null"}), required(d, "who", "steps", "kind", "new")), "new: is required"),
        (lambda p, d: required(d, "who", "steps"), "kind: is not required any more: readers"),
        (lambda p, d: p.update(steps={**p["steps"], "type": "string"}), "steps: takes no integer any more"),
        (lambda p, d: p["steps"].update(type=["integer", "null"]), "steps: takes null besides: readers"),
        (lambda p, d: p["steps"].update(minimum=1), "steps (minimum): is narrower: what stands in the log"),
        (lambda p, d: p["steps"].pop("minimum"), "steps (minimum): is wider: readers"),
        (lambda p, d: p["steps"].update(maximum=99), "steps (maximum): is narrower"),
        (lambda p, d: p["steps"].update(maximum=101), "steps (maximum): is wider"),
        (lambda p, d: p["steps"].update(multipleOf=5), "steps: its multipleOf is another one"),
        (lambda p, d: p["who"].update(maxLength=64), "who (maxLength): is narrower"),
        (lambda p, d: p["who"].update(pattern="^[a-f]*$"), "who: its pattern is another one"),
        (lambda p, d: p["who"].update(format="uuid"), "who: its format is another one"),
        (lambda p, d: p["kind"].update(enum=["waltz"]), "kind: takes no tango any more: what stands in the log"),
        (lambda p, d: p["kind"].update(enum=["waltz", "tango", "jig"]), "kind: takes jig besides: readers"),
        (lambda p, d: p.update(kind={"type": "string"}), "kind: takes more values: readers"),
        (lambda p, d: p["tags"].update(items={"type": "integer"}), "tags[]: takes no string any more"),
        (lambda p, d: p["tags"].update(default=["x"]), "tags: its default is another one"),
        (lambda p, d: p["with"].pop("default"), "with: its default is another one"),
        (lambda p, d: p["with"]["anyOf"].pop(), "with: its type is narrower"),
        (lambda p, d: p["with"]["anyOf"].append({"type": "string"}), "with: its type is wider"),
        (lambda p, d: p.update({"with": {"$ref": "#/$defs/Partner", "default": None}}), "with: its type is narrower"),
        (lambda p, d: p["at"]["prefixItems"].pop(), "at[]: has another number of places"),
        (lambda p, d: p["at"]["prefixItems"][1].update(type="integer"), "at[1]: takes no string any more"),
        (lambda p, d: p["more"].update(additionalProperties=False), "more.*: is narrower"),
        (lambda p, d: p["more"].update(additionalProperties={"type": "string"}), "more.*: takes no integer any more"),
        (lambda p, d: d["$defs"]["Danced"].update(additionalProperties=False), ".*: is narrower"),
    ],
)
def test_every_kind_of_incompatible_change_is_told(change: Any, told: str) -> None:
    found = changes(BASE, changed(change))
    assert any(each.startswith(told) for each in found), found


@pytest.mark.parametrize(
    "change",
    [
        lambda p, d: None,
        lambda p, d: p.update(new={"type": "string", "default": ""}),
        lambda p, d: d["$defs"]["Partner"]["properties"].update(age={"anyOf": [{"type": "null"}], "default": None}),
        lambda p, d: p["who"].update(description="Whoever."),
        lambda p, d: required(d, "kind", "who", "steps"),
        lambda p, d: p["kind"].update(enum=["tango", "waltz"]),
        lambda p, d: p["with"]["anyOf"].reverse(),
        lambda p, d: (d["$defs"].update(Dancer=d["$defs"]["Danced"]), d.update({"$ref": "#/$defs/Dancer"})),
    ],
    ids=["none", "new", "new within", "words", "order", "order of values", "order of variants", "name"],
)
def test_what_nobody_needs_may_change(change: Any) -> None:
    assert changes(BASE, changed(change)) == []


def test_no_event_has_changed() -> None:
    """Fails for an incompatible change of any schema: it says what to do."""
    assert list(problems(read(), committed())) == []


def test_each_committed_schema_is_looked_at() -> None:
    """Whatever is taken away of any event in the baseline is told: nothing of it is passed over."""
    schemas = committed()
    for name, known in read().items():
        broken = copy.deepcopy(schemas)
        event = known.document["$ref"].rpartition("/")[2]
        definition = broken[name]["$defs"][event]
        fields = sorted(known.document["$defs"][event]["properties"])  # a new one is in no log yet
        for field in fields:
            kept = definition["properties"].pop(field)
            assert any(f"{name}: {field}: was removed" in each for each in problems(read(), broken)), (name, field)
            definition["properties"][field] = kept
        del broken[name]
        assert any(each.startswith(f"{name}: it is gone") for each in problems(read(), broken))


def test_it_says_what_to_do() -> None:
    broken = {NAME: changed(lambda p, d: p.pop("tags"))}
    [unreleased] = problems({NAME: Known(None, BASE)}, broken, {})
    assert "raise test.danced to version 2 in CATALOGUE, and write @upcaster('test.danced', 1)" in unreleased
    assert "No release has it: `python -m tools.baseline accept test.danced.1`" in unreleased
    [released] = problems({NAME: Known("0.2.0", BASE)}, broken, {})
    assert "Release 0.2.0 has it. Keep schemas/json/test.danced.1.json as it is" in released
    assert "accept" not in released


def test_a_version_without_its_schema_is_told() -> None:
    catalogue = {"test.danced": CATALOGUE["session.joined"]._replace(version=2)}
    found = list(problems({}, {"test.danced.2": BASE}, catalogue))
    assert found == ["test.danced.1: schemas/json/test.danced.1.json is missing: the log has that version for ever."]


def test_what_is_not_released_is_accepted_and_what_is_stays() -> None:
    new = {NAME: changed(lambda p, d: p.pop("tags"))}
    assert accept({NAME: Known(None, BASE)}, new, NAME) == {NAME: Known(None, new[NAME])}
    assert accept({NAME: Known(None, BASE)}, {}, NAME) == {}
    with pytest.raises(Refused, match=r"is in release 0\.2\.0: raise its version"):
        accept({NAME: Known("0.2.0", BASE)}, new, NAME)
    assert accept({}, new, NAME) == {NAME: Known(None, new[NAME])}
    with pytest.raises(Refused, match=r"There is no schemas/json/test\.danced\.1\.json"):
        accept({}, {}, NAME)


def test_a_release_takes_what_is_compatible_and_keeps_who_had_it_first() -> None:
    schemas = committed()
    more = {**schemas, NAME: BASE}
    made = release({name: Known("0.1.0", document) for name, document in schemas.items()}, more, "0.2.0")
    assert {known.release for name, known in made.items() if name in schemas} == {"0.1.0"}
    assert made[NAME] == Known("0.2.0", BASE)
    with pytest.raises(Refused, match="tags: was removed"):
        release({**made}, {**schemas, NAME: changed(lambda p, d: p.pop("tags"))}, "0.3.0")
