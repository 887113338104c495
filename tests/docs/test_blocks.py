"""Every block of shell and Python of README, tutorial and how-tos is run, or the page says why it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, Block, Reader, Unexpected, blocks


@pytest.mark.unit
@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    known = {"not run", "run by", "saved as", "goes on", "needs", "exits"}
    for block in blocks(page):
        assert block.marks.keys() <= known, f"{block.where}: {block.marks}"
        if (reason := block.marks.get("not run")) is not None:
            assert len(reason.split()) > 3, f"{block.where}: a reason"
        if (test := block.marks.get("run by")) is not None:
            assert page.name in (ROOT / test).read_text(), f"{block.where}: {test} does not name the page"
        assert block.language == "sh" or not block.is_read or "saved as" in block.marks, f"{block.where}: python"


@pytest.mark.unit
def test_a_program_stands_in_a_page_as_it_stands_in_examples() -> None:
    (shown,) = (one for one in blocks(ROOT / "docs/how-to/verify-webhooks.md") if one.language == "python")
    assert (ROOT / "examples/webhook_receiver.py").read_text().endswith(shown.code)


@pytest.mark.unit
def test_blocks_are_found_with_their_marks_and_what_they_print(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- exits: 3 -->\n<!-- needs: sh -->\n```sh\nexit 3\n```\n\n```text\nb…\n```\n```js\nc\n```\n")
    (found,) = blocks(page)
    assert (found.language, found.code, found.marks, found.prints) == (
        "sh",
        "exit 3\n",
        {"exits": "3", "needs": "sh"},
        "b…\n",
    )


@pytest.mark.processes
def test_a_reader_goes_on_with_what_was_set_and_is_told_what_differs(tmp_path: Path) -> None:
    def block(code: str, prints: str | None = None, **marks: str) -> Block:
        return Block(
            ROOT / "README.md", 1, "sh", code, {name.replace("_", " "): mark for name, mark in marks.items()}, prints
        )

    with Reader(tmp_path, dict(os.environ)) as reader:
        reader.read(block('A="one \'two\'"\necho "$A" > file'))
        reader.read(block('echo "$A"; cat file', prints="one…\none 'two'\n"))
        reader.read(block("B=$A; exit 4", exits="4"))
        reader.read(block('test "$B" = "$A"'))
        reader.read(block("echo begun; exec sleep 60", goes_on="begun"))
        assert reader.read(block("false", needs="no-such-program")).startswith("skipped")
        for wrong in (
            block("false"),
            block("echo a", prints="b"),
            block("true", exits="1"),
            block("true", goes_on="x"),
        ):
            with pytest.raises(Unexpected):
                reader.read(wrong)
