"""docs/how-to/prove-a-bill.md: `greenroom prove`, and the script that verifies its file where nothing of ours is."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from cli.processes import environment
from events.producer import EventProducer
from events.signing import SigningKey
from reactors.days import Sealer
from schemas.events import UsageAdjusted
from store.database import pool
from tests.builders import life, session_id
from tests.cli.test_admin import done, greenroom
from tests.reactors.test_days import Clock, caught_up
from tests.world import World

pytestmark = pytest.mark.servers

SCRIPT = Path(__file__).parents[2] / "examples/verify_proof.py"
KEY = SigningKey(SigningKey.generate("t1"))


async def verified(folder: Path, proof: bytes, *keys: str) -> tuple[int, str]:
    """(exit code, what it said), in a folder and an environment that hold nothing else."""
    shutil.copy(SCRIPT, folder / "verify_proof.py")
    (folder / "proof.json").write_bytes(proof)
    command = (sys.executable, "-I", "-S", "verify_proof.py", "proof.json", *keys)
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, cwd=folder, env={}, stdout=pipe, stderr=pipe)
    said, complained = await asyncio.wait_for(child.communicate(), 30)
    return child.returncode or 0, (said + complained).decode()


@pytest_asyncio.fixture(scope="module")
async def sessions(world: World) -> list[str]:
    """Six that are sealed, the first one adjusted a day later, and then once more; and one that still runs."""
    await world.start("usage", "history", "sessions", GREENROOM_SIGNING_KEY="")
    ids = [session_id() for _ in range(6)]
    for sid in ids:
        await world.append(*life(sid, beats=5, account=world.account))
    running = session_id()
    await world.append(*life(running, beats=1, account=world.account)[:5])
    clock = Clock()
    async with pool(world.database_url, 2) as connections, EventProducer(world.settings) as producer:
        sealer = Sealer(world.settings, connections, producer, KEY, clock)
        await caught_up(world)
        clock.days = 1
        assert await sealer.look()
        await world.append(UsageAdjusted(ids[0], -5_000, "late", "tests"))
        await caught_up(world)
        clock.days = 2
        assert await sealer.look()
        await world.append(UsageAdjusted(ids[0], 5_000, "later", "tests"))
        await caught_up(world)
    return [*ids, running]


async def proof_of(world: World, sid: str, folder: Path) -> bytes:
    path = folder / "out.json"
    said = await done(world, "prove", sid, "--out", str(path))
    assert KEY.public in said
    return path.read_bytes()


async def test_a_bill_is_proven_where_nothing_of_ours_is(world: World, sessions: list[str], tmp_path: Path) -> None:
    for sid in sessions[:6]:
        proof = await proof_of(world, sid, tmp_path)
        code, said = await verified(tmp_path, proof, KEY.public)
        assert (code, sid in said) == (0, True), said
    billed = await world.sql("SELECT sum(credit_us), sum(billable_ms) FROM r.usage_events WHERE session_id = %s", sid)
    assert f"{billed[0][0] / 60_000_000:.6f} credits for {billed[0][1]} ms" in said


async def test_two_days_that_have_it_and_what_is_not_sealed_yet(
    world: World, sessions: list[str], tmp_path: Path
) -> None:
    code, _, complained = await greenroom(world, "prove", sessions[0], "--out", str(tmp_path / "out.json"))
    assert (code, "Its last 1 entries are not sealed yet" in complained) == (0, True)
    proof = json.loads((tmp_path / "out.json").read_bytes())
    assert [seal["entries"] for seal in proof["seals"]] == [6, 7]
    assert len(proof["entries"]) == 7


async def test_without_a_key_it_says_so_and_another_key_is_refused(
    world: World, sessions: list[str], tmp_path: Path
) -> None:
    proof = await proof_of(world, sessions[1], tmp_path)
    assert (await verified(tmp_path, proof))[0] == 3
    other = SigningKey(SigningKey.generate("t2"))
    code, said = await verified(tmp_path, proof, other.public)
    assert (code, "none of your keys" in said) == (1, True)
    assert (await verified(tmp_path, proof, other.public, KEY.public))[0] == 0


async def test_one_byte_that_is_another_is_refused_wherever_it_is(
    world: World, sessions: list[str], tmp_path: Path
) -> None:
    proof = await proof_of(world, sessions[0], tmp_path)
    chosen = random.Random(7)
    places = {proof.index(b'"' + name) + 2 + len(name) + 3 for name in (b"public_key", b"signature", b"path", b"root")}
    places |= {proof.index(b'"' + name) + 2 for name in (b"index", b"previous", b"cut", b"version", b"flags")}
    places |= {chosen.randrange(len(proof)) for _ in range(20)}
    for place in sorted(places):
        bit = 1 << chosen.randrange(8)
        flipped = proof[:place] + bytes([proof[place] ^ bit]) + proof[place + 1 :]
        code, said = await verified(tmp_path, flipped, KEY.public)
        assert (code, "REFUSED" in said) == (1, True), (place, bit, said)


async def test_a_forged_bill_is_refused(world: World, sessions: list[str], tmp_path: Path) -> None:
    """Whole and canonical, but not what was sealed: an entry less, another amount, a day signed by somebody else."""
    proof = json.loads(await proof_of(world, sessions[0], tmp_path))

    def forged(**changes: object) -> bytes:
        return json.dumps({**proof, **changes}, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()

    assert (await verified(tmp_path, forged(), KEY.public))[0] == 0
    entries, seals = proof["entries"], proof["seals"]
    dearer = [*entries[:-1], {**entries[-1], "credit_us": 1}]
    mallory = SigningKey(SigningKey.generate("m"))
    day = {**seals[-1]["day"], "leaves": 1, "root": "00" * 32}
    content = json.dumps(day, separators=(",", ":"), sort_keys=True).encode()
    resigned = {**seals[-1], "day": day, "public_key": mallory.public, "signature": mallory.sign(content)}
    for bad in (
        forged(entries=entries[:-1]),
        forged(entries=entries[1:]),
        forged(entries=[*entries, entries[-1]]),
        forged(entries=dearer),
        forged(entries=[]),
        forged(seals=[]),
        forged(seals=seals[:1]),
        forged(seals=[seals[0], resigned]),
        forged(seals=[seals[0], {**seals[1], "index": seals[1]["index"] - 2**20}]),
        forged(seals=[seals[0], {**seals[1], "index": False}]),
        forged(seals=[seals[0], {**seals[1], "signature": seals[1]["signature"] + "00"}]),
        forged(seals=[seals[0], {**seals[1], "total": 5}]),
        forged(seals=[seals[0], *seals]),
        forged(seals=[seals[1], seals[0]]),
        forged(total=5),
        forged(version=True),
        forged(session_id="sess_other"),
        forged() + b"\n",
        b"",
        b"[]",
    ):
        code, said = await verified(tmp_path, bad, KEY.public)
        assert (code, "REFUSED" in said) == (1, True), said


async def test_what_cannot_be_proven_is_a_sentence(world: World, sessions: list[str], tmp_path: Path) -> None:
    for sid, told in (("sess_nobody", "nothing billed of"), (sessions[-1], "is in no sealed day")):
        code, _, complained = await greenroom(world, "prove", sid)
        assert (code, told in " ".join(complained.split())) == (1, True)
    code, _, complained = await greenroom(world, "prove", sessions[1], "--out", "/nowhere/out.json")
    assert (code, "could not be written" in complained) == (1, True)


async def test_a_customer_takes_the_very_same_file(world: World, sessions: list[str], tmp_path: Path) -> None:
    await world.start("api")
    _, stranger = await world.new_account("stranger")
    async with world.client() as client, world.client(stranger) as other:
        answer = await client.get(f"/v1/sessions/{sessions[0]}/proof")
        assert answer.content == await proof_of(world, sessions[0], tmp_path)
        assert (await verified(tmp_path, answer.content, KEY.public))[0] == 0
        for asking, sid, code in (
            (client, sessions[-1], "session_proof.not_found"),
            (client, "sess_nobody", "session.not_found"),
            (other, sessions[0], "session.not_found"),
        ):
            answer = await asking.get(f"/v1/sessions/{sid}/proof")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)
    others = {sid.encode() for sid in sessions[1:]}
    assert not [sid for sid in others if sid in (tmp_path / "proof.json").read_bytes()]


async def test_without_a_signing_key_it_says_so_once_and_a_bad_one_ends_it(world: World, sessions: list[str]) -> None:
    told = (world.folder / "usage.log").read_text().count("GREENROOM_SIGNING_KEY is not set")
    assert told == 1
    env = environment("project", {**world.env, "GREENROOM_SIGNING_KEY": "d1:short"})
    command = (sys.executable, "-m", "cli.main", "project", "usage")
    child = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    _, complained = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 1
    assert "GREENROOM_SIGNING_KEY is not `name:base64`" in " ".join(complained.decode().split())
    assert "Traceback" not in complained.decode()


async def test_the_days_and_their_keys(world: World, sessions: list[str]) -> None:
    said = await done(world, "days")
    assert KEY.public[:16] in said.replace("\n", "")


def test_it_is_short() -> None:
    """A customer reads it before he believes it: sixty lines, of the standard library alone."""
    source = SCRIPT.read_text()
    code = source.split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 60
    imported = {line.split()[1] for line in code.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= {"hashlib", "json", "sys"}
