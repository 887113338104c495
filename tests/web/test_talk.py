"""Somebody talks to an avatar in a browser, and sees its mouth move."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, Locator, Page, expect

from faces.face import Face, Landmarks
from schemas.avatars import CONSENT_TEXT
from tests import portraits
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


# Of two places of the picture, for so many frames, how bright they are.
WATCH = """(video, [places, count]) => new Promise(done => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [64, 32];
    const drawing = canvas.getContext("2d", {willReadFrequently: true});
    const [width, height] = [video.videoWidth, video.videoHeight];
    const found = [];
    const look = () => {
        places.forEach(([x, y, w, h], n) =>
            drawing.drawImage(video, x * width, y * height, w * width, h * height, 32 * n, 0, 32, 32));
        found.push(Array.from(drawing.getImageData(0, 0, 64, 32).data.filter((_, n) => n % 4 === 1)));
        if (found.length < count) video.requestVideoFrameCallback(look);
        else done(found);
    };
    video.requestVideoFrameCallback(look);
})"""


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

        async def plays() -> bool:
            return bool(await video.evaluate("video => video.getVideoPlaybackQuality().totalVideoFrames > 50"))

        await eventually(plays, 30, "two seconds of pictures: the first of them are none, or of another size")
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


async def upload(page: Page, name: str, picture: Image.Image) -> Locator:
    """The card of the avatar that it becomes."""
    await page.get_by_role("button", name="Upload a portrait").click()
    file: Any = {"name": f"{name}.png", "mimeType": "image/png", "buffer": portraits.file(picture)}
    await page.locator("input[type=file]").set_input_files(file)
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label(CONSENT_TEXT).check()
    await page.get_by_role("button", name="Upload", exact=True).click()
    card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))
    await expect(card).to_be_visible()
    return card


async def landmarks(world: World) -> Landmarks:
    """Of the one face that the builder has made."""
    ((digest,),) = await world.sql("SELECT face FROM r.avatars WHERE face IS NOT NULL")
    return Face.from_bytes((world.folder / "assets" / digest[:2] / digest).read_bytes()).landmarks


async def lips(video: Locator, marks: Landmarks, frames: int) -> float:
    """How much the mouth changes within two frames, beyond what the head above it does: it is never quite at rest."""
    width = marks.mouth_width
    left = marks.mouth_centre.x - 0.5 * width
    places = [[left, marks.mouth_centre.y + up * width, width, 1.1 * width] for up in (-0.35, -2.4)]
    seen = np.array(await video.evaluate(WATCH, [places, frames]), np.int16).reshape(frames, 32, 64)
    changed = np.abs(seen[2:] - seen[:-2])
    return float((changed[:, :, :32].mean(axis=(1, 2)) - changed[:, :, 32:].mean(axis=(1, 2))).max())


async def test_an_uploaded_portrait_speaks(browser: Browser, world: World) -> None:
    await world.start("build")
    await world.start("worker-2", GREENROOM_WORKER_RENDERER="neural", GREENROOM_WORKER_SLOTS="1")
    async with opened(browser, world, viewport={"width": 1280, "height": 900}) as made:
        page = made.page
        await made.go("/avatars")
        await made.log_in()
        refused = await upload(page, "Nobody", portraits.noise())
        await expect(refused).to_contain_text("No face was found: send one", timeout=60_000)
        await expect(refused).to_contain_text("Failed")
        built = await upload(page, "Grace Hopper", portraits.hopper())
        await expect(built).to_contain_text("Ready", timeout=60_000)
        marks = await landmarks(world)

        await page.get_by_role("link", name="Talk").click()
        await page.get_by_label("Quality").select_option("standard")
        await page.get_by_role("radio", name="Grace Hopper").check(force=True)
        await page.get_by_role("button", name="Start").click()
        video = page.locator("video")
        await expect(video).to_be_visible(timeout=60_000)
        speak = page.get_by_role("button", name="Say the demo's sentence")
        await expect(speak).to_be_enabled()
        shut = await lips(video, marks, 40)
        await speak.click()
        await expect(page.get_by_text("speaks").first).to_be_visible()
        said = await lips(video, marks, 40)
        assert said > 3 * max(shut, 1.0)
        await page.get_by_role("button", name="End", exact=True).click()
        await expect(page.get_by_text("Ended", exact=True)).to_be_visible()
        assert made.complaints == []


async def test_a_room_elsewhere_is_looked_into_by_a_pasted_token(browser: Browser, world: World) -> None:
    """By another name it is another LiveKit."""
    here = urlsplit(world.livekit.url)
    elsewhere = here._replace(netloc=f"localhost:{here.port}").geturl()
    async with opened(browser, world) as made, world.client() as client:
        session = await world.create(client, "elsewhere", transport={"url": elsewhere})
        await made.go(f"/sessions/{session['id']}")
        await made.log_in()
        await made.page.get_by_role("button", name="Watch").click()
        address, token = made.page.get_by_label("LiveKit"), made.page.get_by_label("Viewer token")
        await expect(address).to_have_value(elsewhere)
        assert await made.barriers() == []
        await address.fill(world.livekit.url)  # the one name that the page's policy lets through without TLS
        await token.fill(world.livekit.token("elsewhere", "looker", can_publish=False))
        await made.page.get_by_role("button", name="Enter the room").click()
        await expect(made.page.locator("video")).to_be_visible(timeout=40_000)
        await client.post(f"/v1/sessions/{session['id']}/end")
        assert made.complaints == []


async def test_a_talk_in_a_room_of_ones_own_livekit(browser: Browser, world: World) -> None:
    """The console has no LiveKit, so it takes tokens. Its policy wants TLS, which that of the tests has not."""
    url = await world.second_api(GREENROOM_CONSOLE_LIVEKIT_KEY="")
    async with opened(browser, world, bypass_csp=True) as made, world.client() as client:
        page = made.page
        await page.goto(f"{url}/console/talk")
        await made.log_in()
        await expect(page.get_by_text("This console mints no tokens")).to_be_visible()
        assert await made.barriers() == []
        await page.get_by_label("LiveKit").fill(world.livekit.url)
        await page.get_by_label("Room", exact=True).fill("of-ones-own")
        await page.get_by_label("Agent token").fill(world.livekit.token("of-ones-own", "agent"))
        await page.get_by_label("Worker token").fill(world.livekit.token("another-room", "avatar", behalf="agent"))
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("alert")).to_contain_text("room")
        await page.get_by_label("Worker token").fill(world.livekit.token("of-ones-own", "avatar", behalf="agent"))
        await page.get_by_role("button", name="Start").click()
        await expect(page.locator("video")).to_be_visible(timeout=40_000)
        speak = page.get_by_role("button", name="Say the demo's sentence")
        await expect(speak).to_be_enabled()
        await speak.click()
        await expect(page.get_by_text("speaks").first).to_be_visible()
        await page.get_by_role("button", name="End", exact=True).click()
        await expect(page.get_by_text("Ended", exact=True)).to_be_visible()
        session = (await client.get("/v1/sessions")).json()["data"][0]
        assert session["transport"]["room_name"] == "of-ones-own"
        assert made.complaints == []
