"""Draws each page of the console, on a system with some days of sessions: docs/pictures/console-*.png."""

from __future__ import annotations

import argparse
import asyncio
import random
import re
from pathlib import Path

from playwright.async_api import Page, expect

from bench.common import run, world
from cli.receiver import Receiver
from events.producer import EventProducer
from events.signing import SigningKey
from reactors.days import Sealer
from stack.ports import free_ports
from store.database import pool
from tests.reactors.test_days import Clock, caught_up
from tests.web.browser import Opened, chromium, opened
from tests.world import World
from tools import web
from workers.renderers import neural_missing

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
ROOMS = ("lesson-4b", "reception", "museum-hall", "onboarding", "clinic-desk", "practice", "tour-17", "interview")
PEOPLE = ("Ada", "Linus", "Mira", "Tomas", "Yuki", "Noor", "Eva", "Sam")
SLOTS, RUNNING = 4, 2
ACCOUNT = "Blue Door Tutors"
KEY = SigningKey(SigningKey.generate("d1"))


async def sessions(system: World, count: int) -> None:
    """As customers make them, in rooms of some names, with what they want to know of them; the last ones still run."""
    pick = random.Random(11)

    async def one(n: int) -> None:
        still = n >= count - RUNNING
        body = {
            "metadata": {"customer": pick.choice(PEOPLE), "lesson": n},
            "transport": {"synthetic_audio_if_no_input": True},
            "max_duration_seconds": 600 if still else pick.randint(2, 6),
            "idle_timeout_seconds": 600,
        }
        session = await system.create(client, f"{pick.choice(ROOMS)}-{n:02d}", **body)
        await system.until(client, session["id"], *(("running", "failed") if still else ("ended", "failed")))

    async with system.client() as client:
        for first in range(0, count, SLOTS):
            await asyncio.gather(*(one(n) for n in range(first, min(count, first + SLOTS))))


async def talk(opened: Opened) -> str:
    """A session from begin to end in the browser; returns its id."""
    page = opened.page
    await opened.go("/talk")
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator("video")).to_be_visible(timeout=60_000)
    await page.get_by_role("button", name="Say the demo's sentence").click()
    await expect(page.get_by_text("speaks").first).to_be_visible()
    await page.wait_for_timeout(1800)
    await shot(page, "talk")
    await expect(page.get_by_text(re.compile(r"said \d"))).to_be_visible(timeout=30_000)
    link = page.get_by_role("link", name="Timeline and bill")
    session = str(await link.get_attribute("href")).rpartition("/")[2]
    await page.wait_for_timeout(9000)
    await page.get_by_role("button", name="End", exact=True).click()
    await expect(page.get_by_text("Ended", exact=True)).to_be_visible()
    return session


async def shot(page: Page, name: str, whole: bool = False) -> None:
    """`whole`: in a window that is as tall as the page."""
    before = page.viewport_size
    if whole and before:
        height = await page.evaluate("document.documentElement.scrollHeight")
        await page.set_viewport_size({**before, "height": height})
    await page.wait_for_timeout(600)  # what fades is done
    await page.screenshot(path=str(PICTURES / f"console-{name}.png"))
    if whole and before:
        await page.set_viewport_size(before)
    print(f"console-{name}.png")


async def seal(system: World) -> None:
    clock = Clock()
    async with pool(system.database_url, 2) as connections, EventProducer(system.settings) as producer:
        sealer = Sealer(system.settings, connections, producer, KEY, clock)
        await caught_up(system)
        clock.days = 1
        await sealer.look()


async def subscribe(system: World, receiver: Receiver) -> str:
    async with system.client() as client:
        for url, description in ((receiver.url, "Lessons"), ("http://127.0.0.1:9/hook", "Warehouse, being moved")):
            body = {"url": url, "events": ["session.*"], "description": description}
            made = (await client.post("/v1/webhook_endpoints", json=body)).json()
            receiver.secret = receiver.secret or made["secret"]
        endpoints = (await client.get("/v1/webhook_endpoints")).json()["data"]
    return str(endpoints[-1]["id"])


async def draw(system: World, receiver: Receiver, endpoint: str) -> None:
    desktop = {"viewport": {"width": 1440, "height": 900}, "device_scale_factor": 1.5}
    async with chromium() as browser:
        async with opened(browser, system, **desktop) as made:
            page = made.page
            await made.go()
            await shot(page, "login")
            await made.log_in()
            await expect(page.get_by_role("heading", name="Sessions")).to_be_visible()
            session = await talk(made)
            await sessions(system, 14)
            await seal(system)
            await made.go()
            await expect(page.locator(".rows [role=row]").first).to_be_visible()
            await shot(page, "sessions")
            await made.go(f"/sessions/{session}")
            await page.get_by_label("Public keys that you trust").fill(KEY.public)
            await page.get_by_role("button", name="Prove it").click()
            await expect(page.locator("[data-verdict=proven]")).to_be_visible()
            await page.get_by_role("slider").focus()
            for _ in range(6):
                await page.keyboard.press("ArrowRight")
            await shot(page, "session", whole=True)
            for path, name in (("/avatars", "avatars"), (f"/webhooks/{endpoint}", "webhooks"), ("/usage", "usage")):
                await made.go(path)
                await page.wait_for_load_state("networkidle")
                await shot(page, name)
            await page.get_by_role("button", name="Dark colours").first.click()
            await made.go(f"/sessions/{session}")
            await expect(page.get_by_text("Heartbeats").first).to_be_visible()
            await shot(page, "session-dark")
        async with opened(browser, system, **desktop) as made:
            await made.go("/operations")
            await made.log_in((await system.new_key(scopes=("*", "operator")))[1])
            await made.page.get_by_role("button", name="Audit everything").click()
            await expect(made.page.locator("[data-verdict=equal]")).to_be_visible(timeout=60_000)
            await shot(made.page, "operations")
        phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "color_scheme": "dark"}
        async with opened(browser, system, **phone) as made:
            await made.go()
            await made.log_in()
            await expect(made.page.locator(".rows [role=row]").first).to_be_visible()
            await shot(made.page, "phone")


async def main(mock: bool) -> None:
    web.build()
    async with world() as system:
        system.account, system.key = await system.new_account(ACCOUNT)
        renderer = "mock" if mock or neural_missing() else "neural"
        await system.start("api", "all", "deliver", "live", GREENROOM_SIGNING_KEY="")
        await system.start("worker", GREENROOM_WORKER_RENDERER=renderer)
        await system.start("worker-2", GREENROOM_WORKER_SLOTS=str(SLOTS))
        (port,) = free_ports(1)
        async with Receiver(port) as receiver:
            endpoint = await subscribe(system, receiver)
            await draw(system, receiver, endpoint)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mock", action="store_true", help="without torch")
    run(main(parser.parse_args().mock))
