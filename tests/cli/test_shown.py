"""Foreign bytes on a terminal."""

from __future__ import annotations

import pytest

from cli import shown
from cli.shown import dump, plain, shown_bytes
from events.dead_letters import letter_of
from tests.builders import created, event, record, session_id

pytestmark = pytest.mark.unit

HOSTILE = ["\x1b[2J", "a\rb", "\x9b31m", "\u202egnp.exe", "\x07", "\x00", "\u2028", "[red]x[/red]", "\ud800"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_printed_as_what_it_is(text: str) -> None:
    assert plain(text).isprintable()
    assert plain(plain(text)) == plain(text)
    if text.isprintable():
        assert plain(text) == text


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (None, ["null"]),
        (b"", ["(empty)"]),
        (b'{"a": 1}', ["{", '  "a": 1', "}"]),
        (b'{"a": "\\u001b[2J"}', ["{", '  "a": "\\u001b[2J"', "}"]),
        ("a\tb\nü".encode(), ["a\\tb", "ü"]),
        (b"\x1b[2J", ["\\x1b[2J"]),
        (b"\xff\x00AB", ["00000000  ff 00 41 42                                      ..AB"]),
    ],
    ids=["none", "empty", "json", "json with an escape", "text", "escape", "binary"],
)
def test_bytes_are_shown_in_the_form_that_says_most(data: bytes | None, lines: list[str]) -> None:
    assert list(shown_bytes(data)) == lines


def test_whatever_they_are_no_line_has_a_control_character() -> None:
    for data in (bytes(range(256)), b"[" * 100_000, bytes(range(128)) * 100, "\u2066".encode() * 9999):
        lines = list(shown_bytes(data))
        assert all(line.isprintable() for line in lines)
        assert sum(map(len, lines)) < 10 * shown._MOST


def test_a_dump_that_is_too_long_says_how_long() -> None:
    lines = list(dump(b"\xff" * (shown._MOST + 1)))
    assert len(lines) == shown._MOST // 16 + 1
    assert lines[-1] == f"… {shown._MOST + 1} bytes in all"


def test_a_letter_is_made_of_anything() -> None:
    """The topic may hold what somebody else wrote."""
    foreign = record(event(created(session_id())), headers=[("dead_letter_offset", b"\xff"), ("dead_letter_cut", None)])
    assert letter_of(foreign)[:5] == ("", "", "\ufffd", "", True)
