"""Blocks of shell and Python in README, tutorial and how-tos, and a reader who types them.

A page is read from its top, in one shell, in a checkout with a running stack. What stands straight before a block says
what else is to be done with it:

| mark | the block |
| --- | --- |
| `<!-- not run: REASON -->` | is not run |
| `<!-- run by: tests/….py -->` | is run by that test, which names the page |
| `<!-- saved as: FILE -->` | is a file in the reader's folder, not a command |
| `<!-- goes on: TEXT -->` | goes on in another terminal until the page ends; the reader waits for TEXT |
| `<!-- needs: PROGRAM -->` | is skipped where that program is not |
| `<!-- exits: CODE -->` | ends with that code, and the page says why |

A block of `text` straight behind one is what it prints; `…` stands for anything. A session's id is made anew each time,
so a page sets variables from what commands print, as a reader's shell would.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "tutorial").glob("*.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]
RUN = ("sh", "python")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_MARKS = re.compile(r"((?:<!-- [a-z ]+: [^\n]*? -->\n)+)\Z")
_MARK = re.compile(r"<!-- ([a-z ]+): (.*?) -->")
_BLOCK_S = 240.0
_DONE = "the-reader-reads-on"


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str
    marks: dict[str, str] = field(default_factory=dict)
    prints: str | None = None

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_read(self) -> bool:
        """It is the reader's to run or to save."""
        return self.language in RUN and not {"not run", "run by"} & self.marks.keys()


def blocks(page: Path) -> Iterator[Block]:
    """Of a page, in order, those that are run or printed."""
    text, found = page.read_text(), list[tuple[Block, int]]()
    for match in _BLOCK.finditer(text):
        before = text[: match.start()]
        marks = _MARKS.search(before)
        told = dict(_MARK.findall(marks[1])) if marks else {}
        if match[1] == "text" and found and text[found[-1][1] : match.start()].strip() == "":
            last = found[-1][0]
            found[-1] = (Block(last.page, last.line, last.language, last.code, last.marks, match[2]), match.end())
        else:
            found.append((Block(page, before.count("\n") + 1, match[1], match[2], told), match.end()))
    yield from (block for block, _ in found if block.language in RUN)


class Unexpected(AssertionError):
    """What a block did is not what its page says."""


class Reader:
    """One shell in a folder. Processes that go on are stopped at the end, the last first."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._going_on: list[subprocess.Popen[bytes]] = []
        self._state = Path(tempfile.mkdtemp(prefix="reader-"))
        self._variables = self._state / "variables"
        self._variables.write_text("")
        self._environment = environment

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._going_on):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(10)
        shutil.rmtree(self._state)

    def read(self, block: Block) -> str:
        """Do what the page says; what was printed. Raises Unexpected."""
        if (program := block.marks.get("needs")) and shutil.which(program) is None:
            return f"skipped: {program} is not there"
        if (file := block.marks.get("saved as")) is not None:
            (self._folder / file).write_text(block.code)
            return ""
        if block.language != "sh":
            raise Unexpected(f"{block.where}: a block of {block.language} is saved, run by a test, or not run")
        if (text := block.marks.get("goes on")) is not None:
            return self._in_another_terminal(block, text)
        return self._here(block)

    def _here(self, block: Block) -> str:
        result = subprocess.run(
            ["bash", "-c", self._script_kept(block.code)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_BLOCK_S,
            check=False,
        )
        expected = int(block.marks.get("exits", "0"))
        if result.returncode != expected:
            raise Unexpected(f"{block.where} exits with {result.returncode}\n{block.code}\n{result.stdout}")
        if block.prints is not None and not _is_shown(block.prints, result.stdout):
            raise Unexpected(f"{block.where} prints otherwise\n{result.stdout}\nand not\n{block.prints}")
        return result.stdout

    def _script_kept(self, code: str) -> str:
        """Variables are kept for the blocks behind, also where the last command fails as the page says."""
        saved = f'export -p | grep -v "declare -x \\(SHLVL\\|_\\|PWD\\|OLDPWD\\)=" > {self._variables}'
        return f"source {self._variables}\nset -eao pipefail\ntrap '{saved}' EXIT\n{code}"

    def _in_another_terminal(self, block: Block, text: str) -> str:
        log = self._state / f"{len(self._going_on)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"source {self._variables}\nset -eao pipefail\n{block.code}"],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._going_on.append(process)
        deadline = time.monotonic() + _BLOCK_S
        while text not in (said := log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unexpected(f"{block.where} never says {text!r}\n{said}")
            time.sleep(0.1)
        return said


def _is_shown(shown: str, printed: str) -> bool:
    """Line by line, spaces at the ends aside; `…` is anything, of a line or, alone in one, of several."""
    pattern = re.escape(shown.strip()).replace("…", ".*")
    return re.search(pattern, printed, re.DOTALL) is not None
