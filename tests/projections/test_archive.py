"""The log as files, the ledger beside it: whole or not there, audited without a server, restored as it was."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from cli.processes import environment
from events import archive, topics
from events.archive import TOPICS, Busy, Damaged, locked, read_manifest, verify
from events.codec import new_event
from events.offsets import end_offsets
from events.producer import EventProducer
from events.reader import LogReader
from events.restoring import Refused, restore
from events.settings import LogSettings
from events.topics import AVATARS, SESSIONS, Topic
from events.whole import CannotRead
from projections import archive as archiving
from projections.audit import Scope
from projections.entries import Stored
from schemas.events import AvatarCreated, AvatarDeleted
from store.database import DatabaseUnreachable, pool
from tests.builders import HIDDEN, life, session_id
from tests.cli.test_admin import greenroom
from tests.hostile.test_log import malformed, write
from tests.projections.test_audit import billed
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


async def audited(world: World, *args: str) -> tuple[int, str]:
    """On a machine that has neither Kafka nor PostgreSQL."""
    away = {"GREENROOM_KAFKA_BOOTSTRAP": "127.0.0.1:1", "GREENROOM_DATABASE_URL": "postgresql://127.0.0.1:1/none"}
    command = [sys.executable, "-m", "cli.main", "audit", *args]
    env = {**os.environ, **away, "COLUMNS": "250"}
    child = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode or 0, said.decode()


async def export(world: World, folder: Path) -> archive.Manifest:
    async with pool(world.database_url, 1) as connections, Stored.open(connections) as ledger:
        return await archiving.Export(folder, {}, lambda _, __: None).run(world.settings, ledger)


async def verdict_of(folder: Path, ledger: Path | None = None) -> Any:
    return await archiving.audit(folder, ledger, Scope(), lambda _, __: None)


async def test_an_export_is_audited_without_a_server(world: World, folder: Path) -> None:
    await world.start("usage")
    await billed(world, 5)
    await write(world, SESSIONS, malformed())
    await world.append(AvatarCreated("av_1", "acct_1", HIDDEN, "avtr1", "a" * 64, None), AvatarDeleted("av_1"))
    code, said, complained = await greenroom(world, "export", "--to", str(folder))
    assert code == 0, complained
    code, said = await audited(world, "--from-archive", str(folder))
    assert code == 0, said
    assert "5 sessions, 20 entries" in said
    assert f"{len(malformed())} malformed" in said


async def test_the_next_export_goes_on(world: World, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*-*.parquet") if "usage_events" not in str(path)}
    await billed(world, 3)
    manifest = await export(world, folder)
    assert {path: path.read_bytes() for path in before} == before
    assert (await verdict_of(folder)).entries == 32
    named = {folder / name for name in ([f.name for f in manifest.files] + [f.name for f in manifest.ledger])}
    assert {path for path in folder.rglob("*") if path.is_file()} == {*named, folder / "manifest.json"}


async def test_one_flipped_byte_is_named(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    pick = random.Random(7)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert len(files) > 30
    for path in files:
        good = path.read_bytes()
        for at in (0, len(good) - 1, *(pick.randrange(len(good)) for _ in range(20 if path.suffix == ".json" else 1))):
            bad = bytearray(good)
            bad[at] ^= 1 << pick.randrange(8)
            path.write_bytes(bad)
            with pytest.raises(CannotRead) as told:
                await verdict_of(copy)
            assert str(path.relative_to(copy)) in str(told.value)
            assert str(told.value).count(" is ") == 1
        path.write_bytes(good)
    assert (await verdict_of(copy)).equal


@pytest.mark.parametrize("harm", ["missing", "cut", "empty"])
async def test_a_file_that_is_not_whole_is_named(world: World, folder: Path, tmp_path: Path, harm: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    path = max(copy.glob("sessions.v1/*"), key=lambda file: file.stat().st_size)
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if harm == "cut" else b"")
    code, said = await audited(world, "--from-archive", str(copy))
    assert code == 2
    assert f"sessions.v1/{path.name} is {'missing' if harm == 'missing' else 'damaged'}" in " ".join(said.split())


async def test_a_row_that_was_changed_before_or_after(world: World, folder: Path, tmp_path: Path) -> None:
    """In the table, before the export; and in a ledger that somebody hands over as a file of his own."""
    (sid, partition, offset) = (await world.sql('SELECT session_id, partition, "offset" FROM r.usage_events LIMIT 1'))[
        0
    ]
    change = 'UPDATE usage_v1.usage_events SET frames = frames + %s WHERE session_id = %s AND "offset" = %s'
    await world.sql("ALTER TABLE usage_v1.usage_events DISABLE TRIGGER append_only")
    await world.sql(change, 1, sid, offset)
    await export(world, tmp_path / "tampered")
    await world.sql(change, -1, sid, offset)
    await world.sql("ALTER TABLE usage_v1.usage_events ENABLE TRIGGER append_only")
    code, said = await audited(world, "--from-archive", str(tmp_path / "tampered"))
    assert code == 1
    assert f"changed: session {sid}, partition {partition}, offset {offset}: frames is" in said
    tables = [pq.read_table(path) for path in (tmp_path / "tampered" / "usage_events").iterdir()]
    pq.write_table(pa.concat_tables(tables), tmp_path / "ledger.parquet")
    code, said = await audited(world, "--from-archive", str(folder), "--ledger", str(tmp_path / "ledger.parquet"))
    assert code == 1
    assert said.count(f"session {sid}, partition {partition}, offset {offset}") == 2  # and its hash
    code, said = await audited(world, "--from-archive", str(folder), "--ledger", str(folder / "manifest.json"))
    assert code == 2
    assert "no Parquet file of entries" in said


async def test_a_full_disk_leaves_no_half_file(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is whole, and the next export goes on from it."""
    monkeypatch.setattr(archive, "RECORDS_OF_A_FILE", 4)
    monkeypatch.setattr(archiving, "_SAVE_EVERY_S", 0.0)
    table, room = archive._table, [6]

    def full(records: Any) -> Any:
        room[0] -= 1
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return table(records)

    monkeypatch.setattr(archive, "_table", full)
    with pytest.raises(OSError, match="No space"):
        await export(world, tmp_path)
    manifest = read_manifest(tmp_path)
    verify(tmp_path, manifest, lambda _, __: None)
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*/*")}
    assert len(written) == len(manifest.files) == 5
    monkeypatch.setattr(archive, "_table", table)
    await export(world, tmp_path)
    assert {name: (tmp_path / "sessions.v1" / name).read_bytes() for name in written} == written
    assert (await verdict_of(tmp_path)).equal


async def test_killed_at_any_moment_it_leaves_whole_files(world: World, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli.main", "export", "--to", str(tmp_path)]
    env = environment("project", world.env)
    for files in (1, 5, 12):  # of those that there are by then; a moment in between does not matter
        child = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.DEVNULL)

        async def begun(so_many: int = files, child: asyncio.subprocess.Process = child) -> bool:
            return len([*tmp_path.rglob("[0-9]*.parquet")]) >= so_many or child.returncode is not None

        await eventually(begun, what="some files")
        if child.returncode is None:
            child.kill()
        await child.wait()
        for path in tmp_path.rglob("[0-9]*.parquet"):
            pq.read_table(path)
        if (tmp_path / "manifest.json").exists():
            verify(tmp_path, read_manifest(tmp_path), lambda _, __: None)
    await export(world, tmp_path)
    assert (await verdict_of(tmp_path)).equal
    assert not [*tmp_path.rglob(".*")]


async def test_two_do_not_write_one_archive(world: World, folder: Path) -> None:
    with locked(folder):
        code, _, complained = await greenroom(world, "export", "--to", str(folder))
        with pytest.raises(Busy), locked(folder):
            pass
    assert (code, "another process writes" in complained) == (1, True)


async def test_a_part_of_a_log_has_no_verdict_and_is_not_restored(world: World, tmp_path: Path) -> None:
    place = (await world.sql("SELECT partition FROM r.usage_events LIMIT 1"))[0][0]
    (tmp_path / "offsets.json").write_text(f'{{"sessions.v1": {{"{place}": 1}}}}')
    to = str(tmp_path / "part")
    code, _, complained = await greenroom(
        world, "export", "--to", to, "--log-only", "--from-offsets", str(tmp_path / "offsets.json")
    )
    assert code == 0, complained
    assert "holds no ledger" in (await audited(world, "--from-archive", to))[1]
    with pytest.raises(CannotRead, match="do not begin at offset 0"):
        await verdict_of(Path(to), tmp_path / "offsets.json")
    with pytest.raises(Refused, match="only a whole"):
        await restore(elsewhere(world), Path(to), 1, lambda _, __: None)


def elsewhere(world: World) -> LogSettings:
    prefix = f"{world.prefix}restored{secrets.token_hex(3)}."
    return LogSettings(kafka_bootstrap=world.servers.kafka_bootstrap, topic_prefix=prefix)


async def everything(settings: LogSettings, topic: Topic) -> list[Any]:
    async with LogReader(settings, topic) as log:
        ends = await log.ends()
        return [
            (r.partition, r.offset, r.timestamp, r.key, r.value, list(r.headers))
            for partition, end in ends.items()
            async for records in log.read(partition, 0, end)
            for r in records
        ]


async def test_restored_topics_are_what_they_were(world: World, folder: Path) -> None:
    """Offsets, times, hostile bytes; and then they stamp what is appended with their own time again."""
    settings = elsewhere(world)
    total = await restore(settings, folder, 1, lambda _, __: None)
    found = {topic.name: await everything(settings, topic) for topic in TOPICS}
    for topic in (SESSIONS, AVATARS):  # to usage.v1 more may have come since
        assert found[topic.name] == await everything(world.settings, topic)
    assert total == sum(map(len, found.values()))
    with pytest.raises(Refused, match="holds records"):
        await restore(settings, folder, 1, lambda _, __: None)
    assert await _stamped_by_the_log(settings)


async def _stamped_by_the_log(settings: LogSettings) -> bool:
    sid = session_id()
    async with EventProducer(settings) as producer:
        await producer.send(SESSIONS, new_event(life(sid)[0], source="tests", subject=sid))
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
    await consumer.start()
    try:
        place = TopicPartition(settings.topic_prefix + SESSIONS.name, topics.partition_of(sid.encode()))
        consumer.assign([place])
        consumer.seek(place, (await consumer.end_offsets([place]))[place] - 1)
        return bool((await consumer.getone()).timestamp_type == 1)
    finally:
        await consumer.stop()


async def test_a_log_that_is_longer_than_its_ledger_has_no_verdict(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export that brought the rest found no ledger, or somebody wrote a manifest that says so."""
    await export(world, tmp_path)
    await billed(world, 1)

    async def away(*_: Any) -> None:
        raise DatabaseUnreachable("away")

    monkeypatch.setattr(Stored, "caught_up", away)
    with pytest.raises(DatabaseUnreachable):
        await export(world, tmp_path)
    code, said = await audited(world, "--from-archive", str(tmp_path))
    assert (code, "alone, and the log ends at" in " ".join(said.split())) == (2, True)
    monkeypatch.undo()
    await export(world, tmp_path)
    assert (await verdict_of(tmp_path)).equal


async def test_an_archive_goes_on_with_its_own_log_alone(world: World, folder: Path, tmp_path: Path) -> None:
    """Of two systems, or of a log that was lost and has grown again: half of each would be restored as one."""
    copy, other = Path(shutil.copytree(folder, tmp_path / "copy")), elsewhere(world)
    before = archive.Manifest(files=[file for file in read_manifest(copy).files if file.topic == SESSIONS.name])
    archive.write_manifest(copy, before)
    await topics.apply(other.kafka_bootstrap, other.topic_prefix, 1)
    async with EventProducer(other) as producer:
        for sid in (session_id() for _ in range(1500)):
            await producer.enqueue(SESSIONS, new_event(life(sid)[0], source="tests", subject=sid))
    export = archiving.Export(copy, {}, lambda _, __: None)
    ends = await end_offsets(other, SESSIONS)
    assert all(ends[file.partition] >= file.end for file in before.files)
    with pytest.raises(CannotRead, match="is another record"):
        await export.run(other, None)
    assert read_manifest(copy) == before


async def test_topics_that_hold_anything_are_left_alone(world: World, folder: Path) -> None:
    before = await everything(world.settings, SESSIONS)
    code, _, complained = await greenroom(world, "restore", str(folder))
    assert (code, "holds records, or did" in " ".join(complained.split())) == (1, True)
    assert await everything(world.settings, SESSIONS) == before
    admin = AIOKafkaAdminClient(bootstrap_servers=world.servers.kafka_bootstrap)
    await admin.start()
    left = [name for name in await admin.list_topics() if name.startswith(f"{world.prefix}restored")]
    await admin.delete_topics(left)
    await admin.close()


async def test_a_folder_that_is_no_archive_is_told(world: World, tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="no archive"):
        read_manifest(tmp_path)
    assert (await audited(world, "--from-archive", str(tmp_path)))[0] == 2
