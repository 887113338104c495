"""`greenroom verify`: exit codes, what it prints, its report and its picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from cli.verification import lines
from faces.mark.keys import MarkKeyring
from schemas.verification import (
    Break,
    ClipFacts,
    ForeignMark,
    Seconds,
    ShownSession,
    ShownSpan,
    VerificationReport,
    WindowScore,
)
from tests import containers
from tests.builders import life, session_id
from tests.cli import test_admin
from tests.world import World, eventually

pytestmark = pytest.mark.servers

OWN, OTHER = session_id(), session_id()


async def greenroom(world: World, *args: str) -> tuple[int, str]:
    code, said, complained = await test_admin.greenroom(world, *args)
    return code, said + complained


@pytest_asyncio.fixture(scope="module")
async def clips(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files, and two sessions."""
    await world.start("sessions", "usage")
    await world.append(*life(OWN, account=world.account), *life(OTHER, account=world.account))

    async def there() -> bool:
        return len(await world.sql("SELECT 1 FROM r.sessions WHERE first_frame_ms IS NOT NULL")) == 2

    await eventually(there, what="two sessions")
    folder, key = tmp_path_factory.mktemp("clips"), MarkKeyring(world.env["GREENROOM_MARK_KEYS"]).current
    both = [*containers.shown(15, 40, OWN, key), *containers.shown(15, 7, OTHER, key, seed=2)]
    made = {
        "own.mkv": containers.file(containers.shown(12, 40, OWN, key), "matroska"),
        "both.mp4": containers.file(both),
        "plain.webm": containers.file(containers.pictures(150, 256, 256), "webm", "libvpx-vp9", deadline="realtime"),
        "gone.mp4": containers.file(containers.shown(12, 3, "sess_of_another_log", key)),
        "short.mp4": containers.file(containers.pictures(20, 256, 256)),
        "sound.mp4": containers.sound(),
        "text.mp4": b"no clip",
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return folder


async def test_ours(world: World, clips: Path, tmp_path: Path) -> None:
    report, picture = tmp_path / "report.json", tmp_path / "picture.png"
    options = ("--report", str(report), "--picture", str(picture))
    code, said = await greenroom(world, "verify", str(clips / "own.mkv"), *options)
    assert code == 0, said
    assert "ours\n" in said
    assert OWN in said
    assert world.account in said
    found = json.loads(report.read_bytes())
    assert found["sessions"][0]["id"] == OWN
    assert found["sessions"][0]["spans"][0]["session_from"] == pytest.approx(40, abs=1)
    assert all(window["score"] > found["threshold"] for window in found["windows"])
    image = Image.open(io.BytesIO(picture.read_bytes()))
    assert image.format == "PNG"
    assert len(image.convert("RGB").getcolors(1 << 20) or []) > 100


async def test_two_of_our_sessions_one_after_the_other(world: World, clips: Path) -> None:
    code, said = await greenroom(world, "verify", str(clips / "both.mp4"))
    assert code == 0, said
    assert OWN in said
    assert OTHER in said
    assert "to another session" in said


async def test_a_part_of_it(world: World, clips: Path) -> None:
    code, said = await greenroom(world, "verify", str(clips / "both.mp4"), "--from", "0:17", "--to", "28")
    assert code == 0, said
    assert OTHER in said
    assert OWN not in said


async def test_not_ours(world: World, clips: Path) -> None:
    code, said = await greenroom(world, "verify", str(clips / "plain.webm"), "--searches", "0")
    assert code == 1, said
    assert "not ours\n" in said
    assert "0 of them everywhere" in said


async def test_a_mark_of_no_session(world: World, clips: Path) -> None:
    code, said = await greenroom(world, "verify", str(clips / "gone.mp4"))
    assert code == 0, said
    assert "none of the sessions that were looked at has it" in said


@pytest.mark.parametrize(
    ("name", "says"),
    [("short.mp4", "Give at least 5 s"), ("sound.mp4", "has sound alone"), ("text.mp4", "convert it to MP4")],
)
async def test_what_cannot_be_told_says_what_to_do(world: World, clips: Path, name: str, says: str) -> None:
    code, said = await greenroom(world, "verify", str(clips / name))
    assert code == 2, said
    assert says in " ".join(said.split())


async def test_what_keeps_it_from_telling_is_never_a_no(world: World, clips: Path) -> None:
    own, env = str(clips / "own.mkv"), dict(world.env)
    try:
        for name, value, says in (
            ("GREENROOM_MARK_KEYS", "", "GREENROOM_MARK_KEYS is not set"),
            ("GREENROOM_MARK_KEYS", "k1:short", "comma-separated"),
            ("GREENROOM_DATABASE_URL", "postgresql://127.0.0.1:1/none", "database cannot be reached"),
        ):
            world.env = {**env, name: value}
            code, said = await greenroom(world, "verify", own)
            assert code == 2, said
            assert says in " ".join(said.split())
    finally:
        world.env = env
    for wrong in (("--from", "soon"), ("--from", "9", "--to", "8"), ("--created-after", "soon")):
        code, said = await greenroom(world, "verify", own, *wrong)
        assert code == 2, said


def test_every_line() -> None:
    """What is told of a clip with everything in it."""
    span = ShownSpan(
        from_=5.0,
        to=3665.5,
        session_from=40.0,
        session_to=3700.5,
        began_at="2026-11-02T09:30:40.000Z",
        ended_at="2026-11-02T10:31:40.500Z",
        ledger="partly",
        billed_seconds=3000.0,
    )
    facts = {"account_id": "acct_1", "avatar_id": "av_demo", "quality": "standard", "score": 20.5}
    told = VerificationReport(
        verdict="ours",
        reason=None,
        clip=ClipFacts(
            from_=0, to=4000, container="mp4", codec="h264", width=1, height=1, frames=1,
            unread=[Seconds(from_=3800, to=3802.5)],
        ),
        sessions=[
            ShownSession(id="sess_1", **facts, spans=[span, span.model_copy(update={"ledger": "pending"})]),
            ShownSession(id="sess_2", **facts, spans=[]),
        ],
        breaks=[
            Break(kind="gap", from_=0, to=5, skipped_seconds=None),
            Break(kind="cut", from_=60, to=60, skipped_seconds=-12.5),
            Break(kind="cut", from_=70, to=70, skipped_seconds=None),
        ],
        unknown=[
            ForeignMark(key_id="k1", tag=None, file_id=None, score=11),
            ForeignMark(key_id="k1", tag="00000000ff", file_id=None, score=12),
            ForeignMark(key_id="k1", tag="00000000ff", file_id="file_1", score=13),
        ],
        windows=[WindowScore(from_=0, to=10, score=20.5, searched=True)],
        threshold=10,
    )  # fmt: skip
    shown = "0:05.0–1:01:05.5 shows its seconds 40.0–3700.5, 2026-11-02T09:30:40.000Z to 2026-11-02T10:31:40.500Z"
    assert lines(told) == [
        "ours",
        "sess_1  account acct_1  avatar av_demo  standard  score 20.5",
        f"  {shown}, partly in the ledger (3000.0 of 3660.5 s)",
        f"  {shown}, not in the ledger yet: the session's next reading will tell",
        "sess_2  account acct_1  avatar av_demo  standard  score 20.5",
        "  which of its seconds it shows cannot be read; a longer part may tell",
        "a mark of key k1, tag unreadable, score 11.0: none of the sessions that were looked at has it. A longer part"
        " may tell.",
        "a mark of key k1, tag 00000000ff, score 12.0: none of the sessions that were looked at has it. It may be a"
        " file of `greenroom render`.",
        "file_1, a file of `greenroom render`, score 13.0",
        "gap 0:00.0–0:05.0: none of the sessions that were looked at",
        "cut at 1:00.0–1:00.0: the session's seconds jump by -12.5",
        "cut at 1:10.0–1:10.0: to another session",
        "unread 1:03:20.0–1:03:22.5: could not be decoded",
    ]
