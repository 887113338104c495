"""Uploaded pictures are decoded in processes that can be killed: real ones, real bombs."""

from __future__ import annotations

import asyncio
import io
import os
import sys

import psutil
import pytest
from PIL import Image
from starlette.datastructures import UploadFile

from api.decoders import Decoders
from api.errors import AtCapacity
from faces.portrait import TOO_LARGE, TOO_SLOW, BadImage, normalise
from tests import bombs, portraits
from tests.looking import environment_of
from tests.world import eventually

pytestmark = pytest.mark.processes

PORTRAIT = portraits.file(portraits.drawn())
BOMB = bombs.progressive(100_000)


def file(data: bytes) -> UploadFile:
    return UploadFile(io.BytesIO(data))


def decoding(parent: int | None = None) -> list[psutil.Process]:
    """The decoders of a process, this one by default."""
    found = []
    for child in psutil.Process(parent).children():
        try:
            if "faces.decoder" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


async def started(count: int = 1) -> list[psutil.Process]:
    async def there() -> list[psutil.Process]:
        found = decoding()
        return found if len(found) >= count else []

    return await eventually(there, what="a decoder")


async def test_it_says_what_the_function_says() -> None:
    assert await Decoders().normalise("acct_1", file(PORTRAIT), "av_1") == normalise(PORTRAIT, "av_1")
    with pytest.raises(BadImage, match="not a PNG or JPEG"):
        await Decoders().normalise("acct_1", file(b"GIF89a"), "av_1")
    assert decoding() == []


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [("RGBA", "PNG", {"compress_level": 1}), ("CMYK", "JPEG", {"progressive": True, "subsampling": 0})],
)
async def test_the_largest_pictures_have_enough_memory(mode: str, kind: str, options: dict[str, object]) -> None:
    largest = portraits.drawn(side=256).resize((8000, 5000), Image.Resampling.NEAREST)
    data = portraits.file(largest.convert(mode), kind, **options)
    _, scale = await Decoders().normalise("acct_1", file(data), "av_1")
    assert scale == 2048 / 8000


async def test_a_picture_that_takes_too_long_is_told() -> None:
    with pytest.raises(BadImage) as told:
        await Decoders(cpu_s=1).normalise("acct_1", file(BOMB), "av_1")
    assert str(told.value) == TOO_SLOW
    assert decoding() == []


async def test_a_picture_that_needs_too_much_memory_is_told() -> None:
    with pytest.raises(BadImage) as told:
        await Decoders(memory=128 * 1024 * 1024).normalise("acct_1", file(bombs.clear_palette()), "av_1")
    assert str(told.value) == TOO_LARGE


@pytest.mark.parametrize("bomb", [bombs.clear_palette, bombs.text, bombs.crowd_of_chunks, bombs.promise])
async def test_other_bombs_are_taken_or_told(bomb: object) -> None:
    try:
        png, _ = await Decoders().normalise("acct_1", file(bomb()), "av_1")  # type: ignore[operator]
    except BadImage:
        return
    assert len(png) < 1024 * 1024


async def test_a_decoder_knows_nothing() -> None:
    os.environ["GREENROOM_MASTER_KEYS"] = "secret"
    try:
        decoded = asyncio.create_task(Decoders().normalise("acct_1", file(BOMB), "av_1"))
        (process,) = await started()
        told = environment_of(process.pid).split(b"\0")
        assert {name.partition(b"=")[0] for name in told} <= {b"", b"LD_LIBRARY_PATH"}
        handles = {os.readlink(f"/proc/{process.pid}/fd/{n}").split(":")[0] for n in range(3)}
        assert handles <= {"pipe", "socket"}
    finally:
        del os.environ["GREENROOM_MASTER_KEYS"]
        decoded.cancel()
    with pytest.raises(asyncio.CancelledError):
        await decoded
    assert not process.is_running()


async def test_it_dies_with_its_parent() -> None:
    script = (
        "import asyncio, io, sys; from starlette.datastructures import UploadFile; from api.decoders import Decoders;"
        "asyncio.run(Decoders().normalise('acct_1', UploadFile(io.BytesIO(sys.stdin.buffer.read())), 'av_1'))"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=asyncio.subprocess.PIPE)
    assert parent.stdin is not None
    parent.stdin.write(BOMB)
    parent.stdin.close()

    async def there() -> list[psutil.Process]:
        return decoding(parent.pid)

    (child,) = await eventually(there, what="its decoder")
    parent.kill()
    await parent.wait()

    async def gone() -> bool:
        return not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

    await eventually(gone, timeout_s=5, what="the end of the decoder")


async def test_an_account_has_one_at_a_time_and_keeps_nobody_waiting() -> None:
    decoders = Decoders()
    bombers = [asyncio.create_task(decoders.normalise("acct_1", file(BOMB), f"av_{n}")) for n in range(5)]
    (first,) = await started()
    await decoders.normalise("acct_2", file(PORTRAIT), "av_9")
    assert [process.pid for process in decoding()] == [first.pid]
    for bomber in bombers:
        bomber.cancel()
    await asyncio.gather(*bombers, return_exceptions=True)
    assert decoding() == []
    await decoders.normalise("acct_1", file(PORTRAIT), "av_9")  # every turn was given back


async def test_who_gets_no_turn_is_told_to_come_back() -> None:
    decoders = Decoders(at_once=1, wait_s=0.2)
    bomber = asyncio.create_task(decoders.normalise("acct_1", file(BOMB), "av_1"))
    await started()
    for account in ("acct_1", "acct_2"):
        with pytest.raises(AtCapacity):
            await decoders.normalise(account, file(PORTRAIT), "av_2")
    bomber.cancel()
    await asyncio.gather(bomber, return_exceptions=True)
    assert len(await decoders.normalise("acct_2", file(PORTRAIT), "av_2")) == 2
