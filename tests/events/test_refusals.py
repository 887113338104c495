"""Each reason for which a fold rejects an event is explained, in the code and on the page."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from events import avatars, sessions
from events.refusals import WHY

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent.parent
_REASON = re.compile(r'Rejected\("([a-z_]+)"(?: if .+? else "([a-z_]+)")?\)')


def test_every_reason_is_explained() -> None:
    sources = [inspect.getsource(fold) for fold in (sessions, avatars)]
    found = {word for source in sources for match in _REASON.findall(source) for word in match if word}
    assert found == WHY.keys()
    assert sum(source.count("Rejected(") for source in sources) >= len(found)


def test_the_page_says_the_same() -> None:
    page = (ROOT / "docs/reference/events.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", page, re.MULTILINE))
    assert {reason: rows.get(reason) for reason in WHY} == WHY
