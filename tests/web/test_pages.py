"""The console in a browser, on real servers: what people see and do, and what they must not be done by."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from cli.receiver import Receiver
from events.producer import EventProducer
from reactors.days import Sealer
from schemas.avatars import CONSENT_TEXT
from store.database import pool
from tests import portraits
from tests.builders import life, session_id
from tests.cli.test_prove import KEY
from tests.projections.upgrades import writing
from tests.reactors.test_days import Clock, caught_up
from tests.web.browser import CHROMIUM, ELSEWHERE, Opened, chromium, opened
from tests.world import World, eventually

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's Chromium: make chromium (#15)"),
]

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
MANY = 230


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="module")
async def sealed(world: World, console: Path) -> str:
    """A session whose bill is sealed, among many that are not."""
    await world.start("api", "sessions", "history", "usage", "avatars", "webhooks", "deliver", GREENROOM_SIGNING_KEY="")
    sid = session_id()
    await world.append(*life(sid, beats=5, account=world.account))
    clock = Clock()
    async with pool(world.database_url, 2) as connections, EventProducer(world.settings) as producer:
        sealer = Sealer(world.settings, connections, producer, KEY, clock)
        await caught_up(world)
        clock.days = 1
        assert await sealer.look()
    await world.append(*(life(session_id(), account=world.account)[0] for _ in range(MANY)))
    await caught_up(world)
    return sid


@pytest_asyncio.fixture
async def page(browser: Browser, world: World, sealed: str) -> AsyncIterator[Opened]:
    """Logged in; whatever it complains of fails the test."""
    async with opened(browser, world, viewport={"width": 1280, "height": 800}) as made:
        await made.go()
        await made.log_in()
        await expect(made.page.get_by_role("heading", name="Sessions")).to_be_visible()
        yield made
        assert made.complaints == []


async def test_a_wrong_key_is_told_and_the_right_one_opens(browser: Browser, world: World, sealed: str) -> None:
    async with opened(browser, world) as made:
        await made.go("/usage")
        assert await made.barriers() == []
        await made.log_in("sk_nonsense")
        await made.seen("This API key is not known")
        await made.log_in()
        await expect(made.page.get_by_role("heading", name="Usage")).to_be_visible()
        assert world.key not in json.dumps(await made.page.context.storage_state())
        await made.page.get_by_role("button", name="Log out").first.click()
        await expect(made.page.get_by_label("API key")).to_be_visible()


async def test_a_long_list_has_the_rows_that_are_seen(page: Opened) -> None:
    rows = page.page.locator(".rows [role=row]")
    await expect(rows.first).to_be_visible()
    assert await rows.count() < 60
    await expect(page.page.get_by_text("more as you scroll")).to_be_visible()
    await page.page.get_by_label("Rows").focus()
    while await page.page.get_by_text("more as you scroll").count():
        await page.page.keyboard.press("End")
    await expect(page.page.get_by_text(f"{MANY + 1} loaded")).to_be_visible()
    assert await rows.count() < 60
    await page.page.get_by_role("button", name="Ended").click()
    await expect(rows).to_have_count(1)
    assert await page.barriers() == []


async def test_a_bill_is_proven_in_the_browser(page: Opened, sealed: str) -> None:
    await page.go(f"/sessions/{sealed}")
    slider = page.page.get_by_role("slider")
    await slider.focus()

    async def at_its_end() -> bool:
        """Marks come with each of three answers: what was the last one may be no more."""
        await page.page.keyboard.press("End")
        told = await slider.get_attribute("aria-valuetext")
        return re.search("Usage entry|ended", told or "") is not None

    await eventually(at_its_end, 20, "the last mark")
    await page.page.get_by_role("button", name="Prove it").click()
    await expect(page.page.locator("[data-verdict=unsigned]")).to_be_visible()
    trusted = page.page.get_by_label("Public keys that you trust")
    await trusted.fill("00" * 32)
    await expect(page.page.locator("[data-verdict=refused]")).to_contain_text("none of yours")
    await trusted.fill(KEY.public)
    await expect(page.page.locator("[data-verdict=proven]")).to_contain_text("credits")
    assert await page.barriers() == []


async def test_a_stranger_s_texts_are_texts(page: Opened, world: World) -> None:
    await world.slots_of_nobody(1)
    async with world.client() as client:
        session = await world.create(client, f"room {HOSTILE}", metadata={HOSTILE: HOSTILE})
    await expect(page.page.get_by_text(f"room {HOSTILE}")).to_be_visible()  # told of, while the list is open
    await page.page.get_by_label("Search sessions").fill("onerror")
    await page.page.get_by_role("link", name=session["id"][-6:]).click()
    await expect(page.page.get_by_role("heading", name="Details")).to_be_visible()
    await page.page.get_by_role("button", name="Created").click()
    await expect(page.page.get_by_label("session.created")).to_contain_text("onerror")
    assert await page.page.locator("img[src=x]").count() == 0
    await page.page.get_by_role("button", name="End", exact=True).click()
    await page.page.get_by_role("button", name="End it").click()
    await expect(page.page.get_by_text("Canceled").first).to_be_visible()


async def test_over_plain_http_no_key_is_asked_for(browser: Browser, world: World, sealed: str) -> None:
    async with opened(browser, world) as made:
        await made.page.goto(f"http://{ELSEWHERE}:{world.api_port}/console")
        await made.seen("Log in over https")
        assert await made.page.get_by_label("API key").count() == 0


async def test_two_windows_speak_for_one_key(page: Opened, world: World) -> None:
    _, key = await world.new_account("a neighbour")
    other = Opened(await page.page.context.new_page(), world)
    await other.go()
    await other.page.get_by_role("button", name="Log out").first.click()
    await expect(page.page.get_by_label("API key")).to_be_visible()
    await other.log_in(key)
    await expect(page.page.get_by_text("No session yet")).to_be_visible()


async def test_a_revoked_key_leaves_an_open_page(browser: Browser, world: World, sealed: str) -> None:
    key_id, key = await world.new_key()
    async with opened(browser, world) as made:
        await made.go()
        await made.log_in(key)
        await expect(made.page.get_by_role("heading", name="Sessions")).to_be_visible()
        await world.revoke(key_id)
        await made.seen("This API key was revoked")


async def test_it_goes_on_after_the_api_was_away(page: Opened, world: World) -> None:
    await world.kill("api")
    await page.seen("The API does not answer")
    await world.restart("api")
    await expect(page.page.get_by_text("The API does not answer")).to_have_count(0)
    sid = session_id()
    await world.append(*life(sid, account=world.account)[:1])
    await expect(page.page.locator(f"[title='{sid}']")).to_be_visible()
    page.complaints.clear()  # of the browser, for each request that found nobody


async def test_a_portrait_is_uploaded(page: Opened) -> None:
    await page.go("/avatars")
    await page.page.get_by_role("button", name="Upload a portrait").click()
    picture: Any = {"name": "ada.png", "mimeType": "image/png", "buffer": portraits.file(portraits.noise())}
    await page.page.locator("input[type=file]").set_input_files(picture)
    await page.page.get_by_label("Name", exact=True).fill(HOSTILE)
    await page.page.get_by_label("Say where eyes and mouth are").check()
    places = page.page.get_by_role("img", name="Places of eyes and mouth")
    for x, y in ((60, 60), (120, 60), (60, 120), (120, 120)):
        await places.click(position={"x": x, "y": y})
    await expect(page.page.get_by_text("All four are marked")).to_be_visible()
    assert await page.barriers() == []
    await page.page.get_by_label("Background").select_option("blur")
    await page.page.get_by_label(CONSENT_TEXT).check()
    await page.page.get_by_role("button", name="Upload", exact=True).click()
    await expect(page.page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    await expect(page.page.get_by_text("Processing")).to_be_visible()


async def test_a_webhook_is_added_tried_and_sent_again(page: Opened, world: World, receiver: Receiver) -> None:
    await page.go("/webhooks")
    await page.page.get_by_role("button", name="Add an endpoint").click()
    await page.page.get_by_label("URL").fill(receiver.url)
    await page.page.get_by_role("button", name="Add it").click()
    receiver.secret = await page.page.locator("dialog .notice code").inner_text()
    await page.page.get_by_role("button", name="I have kept it").click()
    await page.page.get_by_role("link", name=receiver.url).click()
    await page.page.get_by_role("button", name="Send a test").click()
    await page.page.get_by_role("button", name="webhook_endpoint.test").click()
    await expect(page.page.get_by_text("Answered 200")).to_have_count(1)
    assert await page.barriers() == []
    await page.page.get_by_role("button", name="Redeliver").click()
    await expect(page.page.get_by_text("Answered 200")).to_have_count(2)
    assert len(receiver.received) == 2

    sid = session_id()
    await world.append(life(sid, account=world.account)[0])
    await page.go(f"/sessions/{sid}")
    sent = page.page.get_by_role("region", name="Webhooks")
    await expect(sent.get_by_text("Delivered")).to_be_visible()
    await sent.get_by_role("button", name="Redeliver").click()

    async def again() -> bool:
        return [each.type for each in receiver.received[2:]] == ["session.created"] * 2

    await eventually(again, 20, "the delivery, once more")
    assert len({each.id for each in receiver.received[2:]}) == 1
    assert receiver.refused == 0


async def test_the_ledger_of_a_month_is_saved_as_csv(page: Opened, world: World) -> None:
    await page.go("/usage")
    async with page.page.expect_download() as saved:
        await page.page.get_by_role("button", name="CSV").click()
    file = await saved.value
    named = re.fullmatch(r"greenroom-usage-(\d{4}-\d\d-01)\.csv", file.suggested_filename)
    assert named
    rows = list(csv.DictReader((await file.path()).read_text().splitlines()))
    async with world.client() as client:
        asked: dict[str, Any] = {"limit": 100, "period_start": f"{named[1]}T00:00:00Z"}
        entries = (await client.get("/v1/usage_events", params=asked)).json()["data"]
    assert len(entries) > 4
    assert [(each["id"], each["hash"]) for each in rows] == [(each["id"], each["hash"]) for each in reversed(entries)]
    assert [int(each["credit_us"]) for each in rows] == [each["credit_us"] for each in reversed(entries)]


async def test_a_cap_and_thresholds_are_set(page: Opened, world: World) -> None:
    async with world.client() as client:

        async def limits() -> tuple[float | None, list[float]]:
            told = (await client.get("/v1/limits")).json()["account"]
            return told["hard_cap_credits"], told["threshold_credits"]

        await page.go("/usage")
        form = page.page.get_by_role("region", name="Spending this month")
        for cap, thresholds, wrong in (("ten", "5", "ten is not a number"), ("-1", "5", "hard_cap_credits")):
            await form.get_by_label("Cap, in credits").fill(cap)
            await form.get_by_label("Tell me at").fill(thresholds)
            await form.get_by_role("button", name="Save").click()
            await expect(form.get_by_role("alert")).to_contain_text(wrong)
        assert await limits() == (None, [])
        await form.get_by_label("Cap, in credits").fill("1000")
        await form.get_by_label("Tell me at").fill("900 500")
        await form.get_by_role("button", name="Save").click()
        await expect(form.get_by_text("Saved.")).to_be_visible()
        assert await limits() == (1000, [500, 900])
        await page.page.reload()
        await expect(form.get_by_label("Tell me at")).to_have_value("500, 900")
        await form.get_by_label("Cap, in credits").fill("")
        await form.get_by_label("Tell me at").fill("")
        await form.get_by_role("button", name="Save").click()
        await expect(form.get_by_text("Saved.")).to_be_visible()
        assert await limits() == (None, [])


async def test_an_operator_audits_and_asks_for_what_is_parked(browser: Browser, world: World, sealed: str) -> None:
    sid = session_id()
    async with opened(browser, world) as made:
        page = made.page
        await made.go("/operations")
        await made.log_in((await world.new_key(scopes=("operator",)))[1])
        await expect(page.get_by_text("Nothing is parked")).to_be_visible()
        await page.get_by_role("button", name="Audit everything").click()
        await expect(page.get_by_role("progressbar", name="How far the audit is")).to_be_visible()
        await expect(page.locator("[data-verdict=equal]")).to_contain_text("entries of", timeout=60_000)
        async with writing(world) as log:
            for n, data in enumerate(life(sid, account=world.account)):
                await log.put(data, of_second=n == 6)
        parked = page.get_by_role("region", name="Parked")
        line = parked.get_by_role("listitem").filter(has_text="usage:")
        await expect(line).to_contain_text("newer than this software")
        await line.get_by_role("button", name="Read again").click()
        assert await made.barriers() == []
        await page.get_by_role("dialog").get_by_role("button", name="Read again").click()
        await expect(line).to_contain_text("still cannot be")
        await parked.get_by_role("button", name="Read all again").click()
        await page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        assert made.complaints == []


@pytest.mark.parametrize("path", ["", "/talk", "/avatars", "/webhooks", "/usage", "/operations", "/nothing"])
async def test_every_page_on_a_phone_and_in_the_dark(browser: Browser, world: World, sealed: str, path: str) -> None:
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}
    async with opened(browser, world, **phone) as made:
        await made.go(path)
        await made.log_in((await world.new_key(scopes=("*", "operator")))[1])
        await expect(made.page.get_by_role("navigation")).to_be_visible()
        await made.page.wait_for_load_state("networkidle")
        assert await made.barriers() == []
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not await made.page.evaluate(wide), "it has to be moved sideways"
        assert made.complaints == []
