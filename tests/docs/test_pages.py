"""The pages and the tree: each page that is cited is there, each link leads somewhere, each room lists its files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tools import site

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent.parent
ROOMS = (
    "api",
    "bench",
    "cli",
    "events",
    "faces",
    "projections",
    "reactors",
    "schemas",
    "stack",
    "store",
    "tests",
    "tools",
    "workers",
)
IGNORED = [".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text().split())]
CITING = (".md", ".py", ".sql", ".toml", ".yaml", ".yml", ".ts", "Makefile", "Dockerfile")

_CITED = re.compile(r"\bdocs/[a-z0-9_/-]+(?:\.md\b)?")
_SECTION = re.compile(r'\b(docs/[a-z0-9_/-]+\.md), "([^"]+)"')
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_NAMED = re.compile(r"`([^`]+)`")


def files(folder: Path = ROOT) -> Iterator[Path]:
    """What git would track."""
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in IGNORED):
            continue
        if path.is_dir():
            yield from files(path)
        else:
            yield path


PAGES = [path for path in files() if path.suffix == ".md"]
NAME = {path: str(path.relative_to(ROOT)) for path in PAGES}


def anchors(page: Path) -> set[str]:
    """As the usual viewers make them of headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}


def test_every_page_that_is_cited_is_there() -> None:
    """A decision may be cited by its number alone."""
    missing = [
        f"{path.relative_to(ROOT)}: {cited}"
        for path in files()
        if path.name.endswith(CITING) and path != Path(__file__)
        for cited in _CITED.findall(path.read_text())
        if cited.endswith(".md") or re.search(r"/\d{4}", cited)
        if not list(ROOT.glob(cited if cited.endswith(".md") else f"{cited}*.md"))
    ]
    assert not missing


def test_every_section_that_is_cited_is_there() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: {page}, {section}"
        for path in files()
        if path.name.endswith(CITING) and path != Path(__file__)
        for page, section in _SECTION.findall(path.read_text())
        if section not in _HEADING.findall((ROOT / page).read_text())
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=NAME.__getitem__)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        url = urlsplit(link)
        if url.scheme:
            continue
        target = (page.parent / unquote(url.path)).resolve() if url.path else page
        if not target.exists() or (url.fragment and url.fragment not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("room", [*ROOMS, "web", "examples"])
def test_every_room_lists_its_files_and_nothing_else(room: str) -> None:
    """In the first column of a table: a file, or a folder with a slash for all that is in it."""
    folder = ROOT / room
    readme = (folder / "README.md").read_text()
    listed = {
        name for line in readme.splitlines() if line.startswith("| `") for name in _NAMED.findall(line.split("|")[1])
    }
    there = {str(path.relative_to(folder)) for path in files(folder) if path.name not in ("__init__.py", "README.md")}
    covered = {
        path for path in there if path in listed or any(path.startswith(each) for each in listed if each[-1] == "/")
    }
    assert not there - covered, "not listed"
    assert not {each for each in listed if not (folder / each).exists()}, "listed, and not there"


def test_every_room_is_known_here() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(ROOMS)


def test_every_page_has_its_place_in_the_site() -> None:
    """One index below `docs/` names it, so it is in the navigation once. Sphinx says the same, in a minute."""
    below = Counter(
        page
        for index in sorted((ROOT / "docs").rglob("README.md"))
        for page in site.children(index.relative_to(ROOT), index.read_text())
    )
    pages = {path.relative_to(ROOT) for path in PAGES if path.is_relative_to(ROOT / "docs")} - {site.ENTRY}
    assert pages <= below.keys()
    assert not [page for page, times in below.items() if times > 1]


def test_every_word_of_the_glossary_lives_where_it_says() -> None:
    page = (ROOT / "docs/reference/glossary.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
    words = [(row[1].strip(), _NAMED.findall(row[3])) for row in rows if row[1].strip() not in ("word", "---")]
    assert not [word for word, places in words if not places or not all((ROOT / place).exists() for place in places)]
    assert len({word for word, _ in words}) == len(words), "a word with two meanings"
