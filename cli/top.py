"""`greenroom top`: what goes on, in a terminal."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.console import WAIT_S, out, run_to_the_end
from schemas.times import now_ms, to_wire

if TYPE_CHECKING:  # `--help` is there at once
    from events.settings import LogSettings
    from projections.overview import Behind, Of, Overview, WorkerNow
    from schemas.live import Window
    from store.database import Pool

_FROM_ELSEWHERE = re.compile(r"@font-face \{\{.*?\}\}|<!--.*?-->", re.DOTALL)
_FONTS = "DejaVu Sans Mono, Menlo, Consolas"
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 116
_CREDIT_US = 60_000_000
_SETTLED_MS = 6_000
"""A running session says something every five seconds: a minute younger than this has not heard of all."""
_SILENT_MS = 3_000
_MANY = 1_000
"""Events behind, from which on a consumer is late."""
_AT_WORK = ("queued", "starting", "running", "ending")


def top(
    once: Annotated[bool, typer.Option("--once", help="One look, and back.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.5)] = 2.0,
    picture: Annotated[Path | None, typer.Option("--svg", help="Write one look as a picture, and back.")] = None,
) -> None:
    """Sessions, workers, live windows and lag, as they are now. Ctrl-C ends it.

    `greenroom live` counts what is shown; without it the windows stand still.
    """
    try:
        run_to_the_end(_watch(once, every, picture))
    except KeyboardInterrupt:
        raise typer.Exit from None


async def _watch(once: bool, every_s: float, picture: Path | None) -> None:
    from store.database import pool
    from store.settings import StoreSettings

    settings = StoreSettings()
    async with pool(settings.database_url, 1, WAIT_S) as connections:
        if picture is not None:
            write_picture(picture, await look(settings, connections))
        elif once:
            out.print(await look(settings, connections))
        else:
            with Live(await look(settings, connections), console=out, screen=True, auto_refresh=False) as live:
                while True:
                    await asyncio.sleep(every_s)
                    live.update(await look(settings, connections), refresh=True)


def write_picture(path: Path, screen: RenderableType) -> None:
    """As SVG that loads nothing from elsewhere: rich's own fetches its font."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO())
    console.print(screen)
    template = _FROM_ELSEWHERE.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code", _FONTS)
    console.save_svg(str(path), title="greenroom top", code_format=template)


async def look(settings: LogSettings, connections: Pool) -> RenderableType:
    """The whole screen. Raises DatabaseUnreachable; without Kafka the lag is left out."""
    from aiokafka.errors import KafkaError

    from events.offsets import end_offsets
    from events.topics import AVATARS, SESSIONS
    from projections import overview

    try:
        ends = {topic.name: await end_offsets(settings, topic) for topic in (SESSIONS, AVATARS)}
    except (KafkaError, TimeoutError):
        ends = {}
    async with connections.connection() as connection:
        found = await overview.overview(connection, now_ms())
        lag = await overview.behind(connection, ends)
    return draw(found, lag if ends else None)


def draw(found: Overview, lag: Sequence[Behind] | None) -> RenderableType:
    """`lag`: None when Kafka does not answer."""
    return Group(
        _head(found),
        _minutes(found),
        _of("account", found.accounts),
        _of("quality", found.qualities),
        _workers(found.workers),
        _lag(lag, found.parked),
    )


def _head(found: Overview) -> RenderableType:
    active = _settled(found).active
    now = found.now
    states = "  ".join(f"{status} [b]{n}[/b]" for status, n in active.items()) or "no session"
    frames = now.first_frame
    told = (
        f"{states}\n"
        f"five minutes: [b]{now.starts}[/b] starts, first frame p50 [b]{_ms(frames.p50_ms)}[/b]"
        f" p95 [b]{_ms(frames.p95_ms)}[/b] p99 [b]{_ms(frames.p99_ms)}[/b],"
        f" [b]{now.billable_ms / 1000:.0f}[/b] s billed, [b]{now.credit_us / _CREDIT_US:.2f}[/b] credits"
    )
    if now.failures or now.audio_stalls:
        failures = ", ".join(f"{code} {n}" for code, n in now.failures.items())
        told += f"\n[red]failed: {failures or 'none'}; audio stalls {now.audio_stalls}[/red]"
    return Panel(told, title=f"greenroom · {to_wire(found.at_ms)[:19]}Z", border_style="green")


def _settled(found: Overview) -> Window:
    """The latest minute in which all that run have had their say."""
    return next((w for w in reversed(found.minutes) if w.from_ms + _SETTLED_MS <= found.at_ms), found.minutes[-1])


def _minutes(found: Overview) -> RenderableType:
    """A row for each measure, a column of bars for the minutes."""
    last = found.minutes[-1]
    rows: list[tuple[str, list[int], str]] = [
        ("starts", [w.starts for w in found.minutes], str(last.starts)),
        ("running", [w.active.get("running", 0) for w in found.minutes], str(_settled(found).active.get("running", 0))),
        ("first frame p95", [w.first_frame.p95_ms or 0 for w in found.minutes], _ms(last.first_frame.p95_ms)),
        ("billed seconds", [w.billable_ms // 1000 for w in found.minutes], f"{last.billable_ms / 1000:.0f}"),
        ("failures", [sum(w.failures.values()) for w in found.minutes], str(sum(last.failures.values()))),
        ("audio stalls", [w.audio_stalls for w in found.minutes], str(last.audio_stalls)),
    ]
    table = _table(f"last {len(found.minutes)} minutes", "", "now", "most")
    table.columns[1].style, table.columns[1].no_wrap = "cyan", True
    for name, values, now in rows:
        table.add_row(name, bars(values), now, str(max(values)))
    return table


def bars(values: Sequence[int]) -> Text:
    """One character each, against the largest; nothing where there is nothing."""
    most = max([*values, 1])
    return Text(" ".join(_BARS[round(v / most * (len(_BARS) - 1))] if v else "·" for v in values))


def _of(what: str, found: Sequence[Of]) -> RenderableType:
    table = _table(f"{what}, five minutes", "starts", "active", "first frame p95", "billed s", "failed")
    for each in found:
        window = each.window
        table.add_row(
            _name(each.key),
            str(window.starts),
            str(sum(window.active.get(status, 0) for status in _AT_WORK)),
            _ms(window.first_frame.p95_ms),
            f"{window.billable_ms / 1000:.0f}",
            str(sum(window.failures.values())),
        )
    return table


def _workers(found: Sequence[WorkerNow]) -> RenderableType:
    table = _table("worker", "phase", "held", "slots", "silent for")
    for each in found:
        style = "red" if each.age_ms > _SILENT_MS else ""
        table.add_row(
            _name(each.worker_id), _name(each.phase), str(each.held), str(each.slots), _ms(each.age_ms), style=style
        )
    return table


def _lag(lag: Sequence[Behind] | None, parked: int) -> RenderableType:
    table = _table(f"consumer (parked: {parked})", "topic", "events behind the log")
    if lag is None:
        table.add_row("Kafka does not answer", "", "", style="red")
    for each in lag or ():
        table.add_row(each.consumer, each.topic, str(each.events), style="red" if each.events > _MANY else "")
    return table


def _table(first: str, *rest: str) -> Table:
    table = Table(expand=True, box=None, header_style="bold green")
    table.add_column(first, no_wrap=True)
    for name in rest:
        table.add_column(name, justify="right")
    return table


def _name(text: str) -> Text:
    """As others have named it: no markup, and nothing that takes hold of a terminal."""
    return Text("".join(each if each.isprintable() else "·" for each in text))


def _ms(value: int | None) -> str:
    return "–" if value is None else f"{value} ms"
