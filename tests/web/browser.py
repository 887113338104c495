"""Debian's Chromium on the console of a world, with everything that the page complains of."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.world import World
from tools import web

CHROMIUM = shutil.which("chromium")
_ARGUMENTS = (
    "--no-sandbox",  # whoever runs tests as root has no other
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    # In rooms of this machine: its addresses are not hidden behind names that nobody resolves.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--host-resolver-rules=MAP greenroom.test 127.0.0.1",
)
ELSEWHERE = "greenroom.test"
"""This machine, by a name of which the browser does not know that it is."""
_AXE = web.WEB / "node_modules" / "axe-core" / "axe.min.js"
_SERIOUS = ("serious", "critical")
_WITHIN_MS = 20_000
"""For whatever a page is to show or to let be done: on a machine that other tests work on, too."""
expect.set_options(timeout=_WITHIN_MS)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Opened:
    """A page of the console. `complaints`: errors of scripts, and what the policy has refused."""

    def __init__(self, page: Page, world: World) -> None:
        self.page = page
        self.world = world
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda told: self._heard(told.type, told.text))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    def _heard(self, kind: str, text: str) -> None:
        if "Content Security Policy" in text or (kind == "error" and "Failed to load resource" not in text):
            self.complaints.append(text)

    async def go(self, path: str = "") -> None:
        await self.page.goto(f"{self.world.api_url}/console{path}")

    async def log_in(self, key: str | None = None) -> None:
        await self.page.get_by_label("API key").fill(key or self.world.key)
        await self.page.get_by_role("button", name="Log in").click()

    async def seen(self, text: str, timeout_s: float = 20) -> None:
        await self.page.get_by_text(text).first.wait_for(timeout=timeout_s * 1000)

    async def barriers(self) -> Sequence[str]:
        """What axe finds serious."""
        await self.page.evaluate(_AXE.read_text())
        found: dict[str, Any] = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {node['html']} {node['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in _SERIOUS
            for node in each["nodes"]
        ]


@asynccontextmanager
async def opened(browser: Browser, world: World, **options: Any) -> AsyncIterator[Opened]:
    """`options`: of the browser's context, such as `viewport`."""
    context = await browser.new_context(**options)
    context.set_default_timeout(_WITHIN_MS)
    try:
        yield Opened(await context.new_page(), world)
    finally:
        await context.close()
