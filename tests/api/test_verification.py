"""`POST /v1/verify`: real clips, really decoded and looked through, against real sessions of two accounts."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.verification import MOST_BYTES, PER_MINUTE
from faces.clips import NO_PICTURE, UNREADABLE
from faces.mark.keys import MarkKey, MarkKeyring
from faces.verification import TOO_SHORT
from tests import containers
from tests.builders import life, session_id
from tests.world import World, eventually

pytestmark = pytest.mark.servers

OWN, OTHERS, RUNNING = session_id(), session_id(), session_id()


def key_of(world: World) -> MarkKey:
    return MarkKeyring(world.env["GREENROOM_MARK_KEYS"]).current


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    """Two sessions of the world's account, of which one still runs, and one of another's."""
    await world.start("api", "sessions", "usage")
    other, world.other_key = await world.new_account("another")  # type: ignore[attr-defined]
    await world.append(*life(OWN, account=world.account), *life(RUNNING, account=world.account)[:6])
    await world.append(*life(OTHERS, account=other))

    async def there() -> bool:
        return len(await world.sql("SELECT 1 FROM r.sessions WHERE first_frame_ms IS NOT NULL")) == 3

    await eventually(there, what="three sessions")
    return world


@pytest_asyncio.fixture(scope="module")
async def clips(running: World) -> dict[str, bytes]:
    key = key_of(running)
    of_each = {OWN: 12, OTHERS: 6, RUNNING: 6}
    made = {name: containers.file(containers.shown(seconds, 40, name, key)) for name, seconds in of_each.items()}
    return made | {"plain": containers.file(containers.pictures(150, 256, 256))}


async def asked(world: World, clip: bytes, key: str | None = None, **fields: str) -> httpx.Response:
    """With a key that has not asked before: each may ask a few times a minute."""
    account = None
    if key is None:
        _, key = await world.new_key(account, scopes=("sessions:write",))
    async with world.client(key) as client:
        return await client.post("/v1/verify", files={"clip": clip}, data=fields, timeout=180)


async def told(world: World, clip: bytes, key: str | None = None, **fields: str) -> dict[str, Any]:
    answer = await asked(world, clip, key, **fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_clip_of_ones_own_names_session_and_seconds(running: World, clips: dict[str, bytes]) -> None:
    found = await told(running, clips[OWN])
    assert (found["verdict"], found["reason"]) == ("ours", None)
    (session,) = found["sessions"]
    assert (session["id"], session["account_id"], session["avatar_id"]) == (OWN, running.account, "av_demo")
    (span,) = session["spans"]
    assert span["session_from"] - span["from"] == pytest.approx(40, abs=1)
    assert (span["from"], span["to"]) == (pytest.approx(0.1, abs=0.2), pytest.approx(11.9, abs=0.2))
    assert span["ledger"] == "not_billed"  # its session was over after a moment
    assert found["clip"]["frames"] == 300
    assert found["breaks"] == []


async def test_what_a_running_session_has_not_told_yet_is_pending(running: World, clips: dict[str, bytes]) -> None:
    (session,) = (await told(running, clips[RUNNING]))["sessions"]
    assert [span["ledger"] for span in session["spans"]] == ["pending"]


async def test_not_yours_is_not_ours(running: World, clips: dict[str, bytes]) -> None:
    """Byte for byte what is said of a clip that has no mark: nobody learns that there is such a session."""
    theirs, nobodys = await told(running, clips[OTHERS]), await told(running, clips["plain"])
    assert theirs == nobodys
    assert theirs["verdict"] == "not_ours"
    assert OTHERS not in str(theirs)
    assert (await told(running, clips[OTHERS], running.other_key))["sessions"][0]["id"] == OTHERS  # type: ignore[attr-defined]


async def test_a_part_of_it(running: World, clips: dict[str, bytes]) -> None:
    found = await told(running, clips[OWN], **{"from": "2", "to": "9.5"})
    (span,) = found["sessions"][0]["spans"]
    assert (span["from"], span["to"]) == (pytest.approx(2.1, abs=0.2), pytest.approx(9.4, abs=0.2))
    assert span["session_from"] == pytest.approx(42, abs=1)


async def test_too_short_to_tell(running: World) -> None:
    found = await told(running, containers.file(containers.pictures(30, 256, 256)))
    assert (found["verdict"], found["reason"]) == ("cannot_tell", TOO_SHORT)


@pytest.mark.parametrize(
    ("files", "fields", "status", "code"),
    [
        ({}, {"from": "1"}, 400, "multipart.malformed"),
        ({"clip": b""}, {}, 422, "clip.invalid"),
        ({"clip": b"no clip"}, {}, 422, "clip.invalid"),
        ({"clip": b"x", "other": b"x"}, {}, 400, "multipart.malformed"),
        ({"clip": b"x"}, {"speed": "2"}, 422, "speed.unknown"),
        ({"clip": b"x"}, {"from": "soon"}, 422, "from.invalid"),
        ({"clip": b"x"}, {"from": "nan"}, 422, "from.invalid"),
        ({"clip": b"x"}, {"from": "-1"}, 422, "from.invalid"),
        ({"clip": b"x"}, {"from": "5", "to": "5"}, 422, "to.invalid"),
        ({"clip": b"x"}, {"to": "61"}, 422, "to.invalid"),
        ({"other": b"x"}, {}, 422, "other.unknown"),
    ],
)
async def test_what_is_refused(
    running: World, files: dict[str, bytes], fields: dict[str, str], status: int, code: str
) -> None:
    _, key = await running.new_key()
    async with running.client(key) as client:
        answer = await client.post("/v1/verify", files=files, data=fields, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_what_is_no_clip_says_what_to_do(running: World) -> None:
    for clip, says in ((containers.sound(), NO_PICTURE), (containers.playlist("/etc/passwd"), UNREADABLE)):
        answer = await asked(running, clip)
        assert (answer.status_code, answer.json()["error"]["message"]) == (422, says)


async def test_a_body_is_bounded(running: World) -> None:
    answer = await asked(running, bytes(MOST_BYTES + 100_000))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body.too_large")


async def test_a_key_asks_a_few_times_a_minute(running: World) -> None:
    _, key = await running.new_key()
    answers = [await asked(running, b"no clip", key, **{"from": "soon"}) for _ in range(PER_MINUTE + 1)]
    assert [answer.status_code for answer in answers] == [422] * PER_MINUTE + [429]
    assert answers[-1].json()["error"]["code"] == "rate_limited"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
