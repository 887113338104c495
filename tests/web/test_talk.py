"""Somebody talks to an avatar in a browser, and sees its mouth move."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from tests.web.browser import CHROMIUM, chromium, opened
from tests.world import World, eventually

pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's Chromium: make chromium (#15)"),
]

# Of the mock face's lower half, where its mouth is: how bright it is, and a picture of it that two looks compare.
LOOK = """video => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 32;
    const half = video.videoHeight / 2;
    const drawing = canvas.getContext("2d");
    drawing.drawImage(video, 0, half, video.videoWidth, half, 0, 0, 32, 32);
    return Array.from(drawing.getImageData(0, 0, 32, 32).data);
}"""


@pytest_asyncio.fixture(scope="module")
async def browser(world: World, console: Path) -> AsyncIterator[Browser]:
    await world.start("api", "all")
    await world.start("worker")
    async with chromium() as started:
        yield started


async def moved(video: Locator) -> bool:
    """Whether two looks, a little later, differ by more than what the encoder does to a picture that stands still."""
    first: list[int] = await video.evaluate(LOOK)
    await video.evaluate("video => new Promise(seen => video.requestVideoFrameCallback(seen))")
    await video.evaluate("video => new Promise(seen => video.requestVideoFrameCallback(seen))")
    second: list[int] = await video.evaluate(LOOK)
    return sum(abs(a - b) > 24 for a, b in zip(first, second, strict=True)) > 40


async def test_what_is_said_is_seen(browser: Browser, world: World) -> None:
    async with opened(browser, world, viewport={"width": 1280, "height": 900}) as made, world.client() as client:
        page = made.page
        await made.go("/talk")
        await made.log_in()
        await page.get_by_role("button", name="Start").click()
        video = page.locator("video")
        await expect(video).to_be_visible(timeout=40_000)
        speak = page.get_by_role("button", name="Say the demo's sentence")
        await expect(speak).to_be_enabled()
        assert not await moved(video), "the mouth is shut until something is said"
        await speak.click()
        await eventually(lambda: moved(video), 20, "a mouth that moves")
        await expect(page.get_by_text("speaks").first).to_be_visible()
        assert await made.barriers() == []
        await page.get_by_role("button", name="Interrupt").click()
        await expect(page.get_by_text("cut off at")).to_be_visible()
        await page.get_by_role("button", name="Speak", exact=True).click()  # into a microphone that beeps
        await expect(page.get_by_text("You, by microphone")).to_be_visible()
        await eventually(lambda: moved(video), 20, "a mouth that moves to the microphone")
        await page.get_by_role("button", name="Stop speaking").click()
        await expect(page.get_by_text(re.compile(r"said \d"))).to_be_visible(timeout=20_000)
        session = (await client.get("/v1/sessions")).json()["data"][0]
        assert session["metadata"] == {"made_by": "console"}

        async with opened(browser, world) as other:  # somebody else of the account looks on
            await other.go(f"/sessions/{session['id']}")
            await other.log_in()
            await other.page.get_by_role("button", name="Watch").click()
            await expect(other.page.locator("video")).to_be_visible(timeout=40_000)
            assert other.complaints == []

        await page.get_by_role("button", name="End", exact=True).click()
        await expect(page.get_by_text("Ended", exact=True)).to_be_visible()
        await page.get_by_role("link", name="Timeline and bill").click()
        await expect(page.get_by_text("Heartbeats").first).to_be_visible()
        assert made.complaints == []
