"""`make docs`: the pages as a site, with a search that needs no server. Run by the site's own environment, which has
Sphinx and nothing of Greenroom: the standard library alone is imported here.

Pages stay as a repository shows them. An index page (`README.md` below `docs/`) is the navigation of its folder: what
it links to, in its order. What no index links to is an orphan, which fails, as a link that leads nowhere does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent
SITE = ROOT / "build" / "site"
LAID_OUT = ROOT / "build" / "site-source"
ENTRY = Path("docs/README.md")
PROJECT = Path("docs/project/README.md")
"""The index of what stands outside of `docs/`: the rooms, the records, the rules."""

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_START = """<!doctype html><meta charset="utf-8"><title>Greenroom</title>
<meta http-equiv="refresh" content="0; url=docs/README.html"><a href="docs/README.html">Greenroom</a>
"""


def links(page: Path, text: str) -> list[Path]:
    """The files that a page links to or shows, in order, as paths below the root. What is shown as code is none."""
    found = []
    for link in _LINK.findall(_CODE.sub("", text)):
        url = urlsplit(link)
        if url.path and not url.scheme:
            target = (ROOT / page.parent / unquote(url.path)).resolve()
            if target.is_relative_to(ROOT):
                found.append(target.relative_to(ROOT))
    return list(dict.fromkeys(found))


def is_index(page: Path) -> bool:
    return page.name == "README.md" and page.parts[0] == "docs"


def children(index: Path, text: str) -> list[Path]:
    """The pages that an index has below it: those of its folder, the indexes one folder down, and, of the project's,
    whatever is not in `docs/`."""

    def below(page: Path) -> bool:
        if page.suffix != ".md" or page == index:
            return False
        if index == PROJECT and page.parts[0] != "docs":
            return True
        return page.parent == index.parent or (is_index(page) and page.parent.parent == index.parent)

    return [page for page in links(index, text) if below(page)]


def toctree(index: Path, pages: list[Path]) -> str:
    """As MyST writes it; hidden, since the page itself names them. Paths without `.md`, from the root."""
    entries = "\n".join(f"/{page.with_suffix('')}" for page in pages)
    depth = "\n:caption: Pages" if index == ENTRY else ""
    return f"\n```{{toctree}}\n:hidden:{depth}\n\n{entries}\n```\n"


def laid_out() -> Iterator[tuple[Path, str | None]]:
    """(path, text) of each page that is reached from the entry, and (path, None) of what they show or link to."""
    todo, seen = [ENTRY], {ENTRY}
    while todo:
        page = todo.pop(0)
        if page.suffix != ".md":
            yield page, None
            continue
        text = (ROOT / page).read_text()
        if is_index(page):
            text += toctree(page, children(page, text))
        yield page, text
        fresh = [path for path in links(page, text) if path not in seen and (ROOT / path).is_file()]
        seen.update(fresh)
        todo += fresh
    # A page of docs/ that nothing leads to is laid out, too: Sphinx says that it is an orphan.
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if (path := page.relative_to(ROOT)) not in seen:
            yield path, page.read_text()


def main() -> int:
    for folder in (SITE, LAID_OUT):
        shutil.rmtree(folder, ignore_errors=True)
    pages = 0
    for path, text in laid_out():
        target = LAID_OUT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            shutil.copy(ROOT / path, target)
        else:
            target.write_text(text)
            pages += 1
    command = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", str(ROOT / "docs")]
    command = [sys.executable, *command, "-b", "html", str(LAID_OUT), str(SITE)]
    built = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    # Sphinx says of an index what it says of it once for each page below it.
    for line in dict.fromkeys(built.stderr.splitlines()):
        print(line.replace(f"{LAID_OUT}/", ""))
    if built.returncode:
        print("The site was not made: each line above is a link that leads nowhere, or a page that no index names.")
        return built.returncode
    (SITE / "index.html").write_text(_START)
    print(f"{pages} pages: {SITE / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
