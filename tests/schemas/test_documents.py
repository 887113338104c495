"""The committed schemas are those of the code."""

from __future__ import annotations

import msgspec
import pytest

from schemas.documents import FOLDER, documents
from schemas.events import CATALOGUE, TYPE_OF, Assignment, AvatarEvent, SessionEvent
from tests.builders import created, session_id

pytestmark = pytest.mark.unit


def test_committed_documents_are_current() -> None:
    for path, content in documents():
        assert path.exists(), f"{path.name} is missing: make schemas"
        assert path.read_bytes() == content, f"{path.name} has drifted: make schemas"


def test_no_document_is_left_over() -> None:
    """Those of versions before stay: the log has them for ever."""
    kept = {f"{name}.{n}" for name, known in CATALOGUE.items() for n in range(1, known.version + 1)}
    assert {path.stem for path in (FOLDER / "json").glob("*.json")} <= kept


def test_every_event_is_in_the_catalogue() -> None:
    def kinds(base: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
        below = base.__subclasses__()
        return [kind for each in below for kind in kinds(each)] if below else [base]

    events = [kind for base in (SessionEvent, AvatarEvent, Assignment) for kind in kinds(base)]
    assert not [kind.__name__ for kind in events if kind.__module__ == "schemas.events" and kind not in TYPE_OF]


def test_every_type_has_a_channel() -> None:
    asyncapi = msgspec.json.decode((FOLDER / "asyncapi.json").read_bytes())
    named = {name for channel in asyncapi["channels"].values() for name in channel["messages"]}
    assert named == set(CATALOGUE)


def test_erasable_fields_are_encrypted_in_the_schema() -> None:
    clear = msgspec.to_builtins(created(session_id()))
    for name in ("url", "room_name", "worker_identity"):
        assert set(clear["transport"][name]) == {"enc", "key_id"}
    assert set(clear["metadata"]) == {"enc", "key_id"}
    assert "worker_token" not in clear["transport"]
