"""`greenroom top`: what it draws of a known view, and one look at a real system."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cli.top import bars, draw
from projections.latencies import bucket
from projections.overview import MINUTES, Behind, Of, Overview, WorkerNow
from projections.windows import window, windows
from schemas.live import WINDOW_MS
from tests.builders import T0, life, session_id
from tests.world import World, eventually

NOW = T0 // WINDOW_MS * WINDOW_MS + 30_000
COUNTS = {
    "starts": 3,
    "active:running": 2,
    "active:failed": 1,
    f"first_frame:{bucket(250)}": 2,
    "billable_ms": 42_000,
    "credit_us": 42_000_000,
    "failure:renderer.crashed": 1,
    "audio_stalls": 1,
}


def drawn(lag: list[Behind] | None) -> str:
    minutes = {NOW - 30_000: COUNTS}
    now = window(minutes, NOW - 30_000 - 4 * WINDOW_MS, 5)
    found = Overview(
        at_ms=NOW,
        minutes=windows(minutes, NOW, MINUTES, 1),
        now=now,
        qualities=[Of("standard", now)],
        accounts=[Of("acct_[bold]1", now)],
        workers=[WorkerNow("wrk_1", "ready", 4, 2, 400), WorkerNow("wrk_2", "draining", 4, 0, 9_000)],
        parked=7,
    )
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(draw(found, lag))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.unit
def test_a_look_says_what_goes_on() -> None:
    text = drawn([Behind("usage", "sessions.v1", 4_200)])
    for told in ("running 2", "3 starts", "renderer.crashed 1", "audio stalls 1", "42 s billed", "parked: 7", "4200"):
        assert told in text, told
    assert "acct_[bold]1" in text  # what others have named is no markup
    assert "9000 ms" in text


@pytest.mark.unit
def test_without_kafka_the_rest_is_shown() -> None:
    assert "Kafka does not answer" in drawn(None)


@pytest.mark.unit
def test_bars_are_against_the_largest() -> None:
    assert bars([0, 1, 8, 4]).plain == "· ▂ █ ▅"
    assert bars([0, 0]).plain == "· ·"


@pytest.mark.servers
async def test_one_look_at_a_system(world: World, tmp_path: Path) -> None:
    await world.start("live")
    await world.append(*life(session_id(), beats=1, account=world.account))

    def look(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "top", *args],
            env={**os.environ, **world.env, "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def counted() -> bool:
        return bool(await world.sql("SELECT 1 FROM r.live_counts WHERE measure = 'active:ended'"))

    await eventually(counted, what="the session in the live windows")
    text = look("--once")
    assert world.account in text
    assert "1 starts" in text
    picture = tmp_path / "top.svg"
    look("--svg", str(picture))
    made = picture.read_text()
    assert made.startswith("<svg")
    assert "url(http" not in made
