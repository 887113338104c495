"""How long people wait for the console: its first load, and a list of ten thousand sessions; beside a page of text."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from playwright.async_api import Browser, Page, expect

from bench.common import quantile, report, run, world
from tests.builders import life, session_id
from tests.web.browser import Opened, chromium, opened
from tests.world import World, eventually
from tools import web

SESSIONS = 10_000
LOADS = 30
APPENDED = 500
_DESKTOP = {"width": 1440, "height": 900}
_LIST_MS = """() => performance.getEntriesByType("resource")
  .filter((each) => new URL(each.name).pathname === "/v1/sessions").map((each) => each.duration)[0]"""

Show = Callable[[Opened], Awaitable[None]]


async def text(made: Opened) -> None:
    await made.page.goto(f"{made.world.api_url}/llms.txt")


async def login(made: Opened) -> None:
    await made.go()
    await expect(made.page.get_by_label("API key")).to_be_editable()


async def first_row(page: Page) -> None:
    await page.locator(".rows [role=row]").first.wait_for()


async def listed(made: Opened) -> None:
    await made.go()
    await first_row(made.page)


async def those_that_ended(page: Page) -> None:
    async with page.expect_response(lambda told: "/v1/sessions?" in told.url):
        await page.get_by_role("button", name="Ended").click()
    await first_row(page)


async def timed(work: Awaitable[None]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1000


async def loads(browser: Browser, system: World) -> tuple[dict[str, list[float]], int]:
    """In turns, each in a context of its own, so nothing is in a cache. Also how many rows the document had at most."""
    async with opened(browser, system) as made:
        await made.go()
        await made.log_in()
        await expect(made.page.get_by_role("heading", name="Sessions")).to_be_visible()
        state = await made.page.context.storage_state()
    shows: dict[str, tuple[Show, bool]] = {
        "a page of text (`/llms.txt`)": (text, False),
        "first load → the key can be typed": (login, False),
        "first load, logged in → the first row is there": (listed, True),
    }
    took: dict[str, list[float]] = {name: [] for name in shows}
    answers, filtered, held = list[float](), list[float](), 0
    for _ in range(LOADS):
        for name, (show, known) in shows.items():
            options = {"storage_state": state} if known else {}
            async with opened(browser, system, viewport=_DESKTOP, **options) as made:
                took[name].append(await timed(show(made)))
                if known:
                    page = made.page
                    answers.append(float(await page.evaluate(_LIST_MS)))
                    held = max(held, await page.locator(".rows [role=row]").count())
                    filtered.append(await timed(those_that_ended(page)))
    took["the list's first page, asked → answered"] = answers
    took["another filter clicked → its first row is there"] = filtered
    return took, held


async def projected(system: World) -> bool:
    return await system.sql("SELECT count(*) FROM r.sessions WHERE status = 'ended'") == [(SESSIONS,)]


async def main() -> None:
    web.build()
    async with world() as system:
        await system.start("api", "sessions", "history", "usage", "avatars")
        for _ in range(SESSIONS // APPENDED):
            await system.append(
                *(each for _ in range(APPENDED) for each in life(session_id(), beats=1, account=system.account))
            )
        await eventually(lambda: projected(system), 120, "all sessions in the table")
        async with chromium() as browser:
            took, held = await loads(browser, system)
    report(
        "console",
        "How long people wait for the console",
        ("ms", "p50", "p95", "slowest"),
        [
            (name, *(f"{each:.0f}" for each in (quantile(v, 0.5), quantile(v, 0.95), max(v))))
            for name, v in took.items()
        ],
        [
            f"{SESSIONS:,} sessions of one account; {LOADS} loads of each, in turns, none with anything in its cache.",
            "Aims: interactive 2,000 ms, the first page of the list 300 ms.",
            f"The document holds {held} rows at most.",
            "Debian's Chromium without a GPU, the API, Kafka and PostgreSQL run on the same cores.",
        ],
    )


if __name__ == "__main__":
    run(main())
