"""`greenroom accounts|plans|keys|credits` as an operator types them, on a real database."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

import pytest

from cli.processes import environment
from tests import portraits
from tests.world import World

pytestmark = pytest.mark.servers

PIPE = {"COLUMNS": "250"}
SMALL = {"COLUMNS": "80"}


async def greenroom(world: World, *args: str, terminal: Mapping[str, str] = PIPE) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)."""
    env = {**environment("api", world.env), **terminal}
    command = [sys.executable, "-m", "cli.main", *args]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=pipe)
    said, complained = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode or 0, said.decode(), complained.decode()


async def done(world: World, *args: str) -> str:
    code, said, complained = await greenroom(world, *args)
    assert code == 0, complained
    return said.strip()


async def test_from_a_plan_to_a_balance(world: World) -> None:
    assert "made" in await done(world, "plans", "set", "pro", "--name", "Pro", "--max-concurrency", "7")
    assert "changed" in await done(world, "plans", "set", "pro", "--creates-per-minute", "30")
    plans = await world.sql(
        "SELECT name, max_concurrency, creates_per_minute, custom_avatar_slots FROM plans WHERE key = 'pro'"
    )
    assert plans == [("Pro", 7, 30, 1)]
    assert "Pro" in await done(world, "plans", "list")
    account = await done(world, "accounts", "create", "acme", "--plan", "pro")
    assert account.startswith("acct_")
    secret = await done(
        world, "keys", "create", "--account", "acme", "--scope", "sessions:read", "--creates-per-minute", "5"
    )
    listed = await done(world, "keys", "list")
    assert "sessions:read" in listed
    assert secret not in listed
    keys = await world.sql(
        "SELECT scopes, creates_per_minute, max_concurrency FROM api_keys WHERE account_id = %s", account
    )
    assert keys == [(["sessions:read"], 5, None)]
    await done(world, "accounts", "set", "acme", "--credit-gated", "--idle-timeout-seconds", "60")
    listed = await done(world, "accounts", "list")
    assert account in listed
    assert (await done(world, "credits", "grant", "acme", "12", "--note", "welcome")).startswith("cg_")
    await done(world, "credits", "grant", account, "3", "--expires", "2999-01-31")
    shown = await done(world, "credits", "show", "acme")
    assert "15.000" in shown
    assert "2999-01-31" in shown
    found = await world.sql("SELECT credit_gated, idle_timeout_seconds, plan FROM accounts WHERE id = %s", account)
    assert found == [(True, 60, "pro")]
    await done(world, "accounts", "set", "acme", "--label", " [IA] généré ", "--label-corner", "top-left")
    assert "[IA] généré (top-left)" in await done(world, "accounts", "list")
    await done(world, "accounts", "set", "acme", "--idle-timeout-seconds", "30")
    assert "[IA] généré (top-left)" in await done(world, "accounts", "list")
    await done(world, "accounts", "set", "acme", "--label", "")
    found = await world.sql("SELECT label, label_corner FROM accounts WHERE id = %s", account)
    assert found == [(None, "top-left")]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("accounts create tests", "There is an account tests already"),
        ("accounts create other --plan gold", "There is no plan gold. There are"),
        ("accounts set nobody --plan trial", "There is no account nobody"),
        ("accounts set tests --plan gold", "There is no plan gold"),
        ("accounts set tests --label 人工", "its font has no U+4EBA, U+5DE5"),
        ("keys create --account tests --scope everything", "everything is no scope. There are *, sessions:read"),
        ("keys create --account other --plan gold", "There is no plan gold"),
        ("keys revoke key_none", "There is no key key_none"),
        ("credits grant nobody 5", "There is no account nobody"),
        ("credits grant tests 5 --expires 2001-01-01", "is over already"),
        ("credits show nobody", "There is no account nobody"),
    ],
)
async def test_what_goes_wrong_is_a_sentence(world: World, command: str, told: str) -> None:
    code, _, complained = await greenroom(world, *command.split())
    assert code == 1
    assert told in " ".join(complained.split())
    assert "Traceback" not in complained


async def test_an_accounts_avatars(world: World) -> None:
    await world.start("api", "avatars")
    _, key = await world.new_account("faces")
    async with world.client(key) as client:
        files = {"image": portraits.file(portraits.noise())}
        made = (await client.post("/v1/avatars", files=files, data={"name": "Ada", "runtime_type": "mock"})).json()
        listed = await done(world, "avatars", "list", "faces")
        assert made["id"] in listed
        assert "Ada" in listed
        await done(world, "avatars", "delete", "faces", made["id"])
        assert (await client.get(f"/v1/avatars/{made['id']}")).status_code == 404
    assert made["id"] not in await done(world, "avatars", "list", "faces")
    code, _, complained = await greenroom(world, "avatars", "delete", "faces", made["id"])
    assert (code, "has no avatar" in complained) == (1, True)
