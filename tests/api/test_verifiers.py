"""What a process that looks at clips is told, and when there is none."""

from __future__ import annotations

import contextlib

import pytest
from pydantic import SecretStr

from api.children import environment
from api.errors import AtCapacity
from api.settings import ApiSettings
from api.verifiers import Verifiers
from faces.settings import MarkSettings
from store.settings import StoreSettings

pytestmark = pytest.mark.unit

SETTINGS = ApiSettings(
    database_url="postgresql://u:p@h/d",
    master_keys=SecretStr("m1:master"),
    key_pepper=SecretStr("pepper"),
    mark_keys=SecretStr("k1:mark"),
)


def test_without_keys_no_clip_is_looked_at() -> None:
    assert Verifiers(SETTINGS).able
    assert not Verifiers(SETTINGS.model_copy(update={"mark_keys": SecretStr("")})).able


def test_its_process_knows_log_database_and_keys_of_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_MASTER_KEYS", "m1:master")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PGPASSFILE", "/pgpass")
    told = environment(SETTINGS, StoreSettings, MarkSettings)
    assert told["GREENROOM_MARK_KEYS"] == "k1:mark"
    assert told["GREENROOM_DATABASE_URL"] == "postgresql://u:p@h/d"
    assert told["PGPASSFILE"] == "/pgpass"
    assert not {"GREENROOM_MASTER_KEYS", "GREENROOM_KEY_PEPPER", "AWS_SECRET_ACCESS_KEY"} & told.keys()


async def test_a_clip_waits_unread_until_there_is_room_for_it() -> None:
    """Each is a file of some megabytes: an account has one of them here, and all accounts together a few."""
    verifiers = Verifiers(SETTINGS, wait_s=0.05)
    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(verifiers.taken_in("acct_0"))
        with pytest.raises(AtCapacity, match="Too many clips"):
            await held.enter_async_context(verifiers.taken_in("acct_0"))
        for n in range(1, 32):
            await held.enter_async_context(verifiers.taken_in(f"acct_{n}"))
        with pytest.raises(AtCapacity, match="Too many clips"):
            await held.enter_async_context(verifiers.taken_in("acct_32"))
    async with verifiers.taken_in("acct_32"):
        pass
