"""The process of an audit."""

from __future__ import annotations

import asyncio
import sys

import pytest

from api.children import environment
from api.console_audits import Audits
from store.settings import StoreSettings

pytestmark = pytest.mark.processes


async def test_a_process_that_cannot_start_is_told_and_another_can(monkeypatch: pytest.MonkeyPatch) -> None:
    audits = Audits()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    for _ in range(2):
        audits.begin(StoreSettings())
        assert audits.running
        await asyncio.gather(*audits._tasks, return_exceptions=True)
        assert audits.state["status"] == "failed"
        assert "log may say why" in str(audits.state["failed"])


def test_it_finds_the_database_as_the_api_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "of the database")
    monkeypatch.setenv("PGSSLROOTCERT", "/etc/ca.pem")
    monkeypatch.setenv("GREENROOM_KEY_PEPPER", "of the API")
    told = environment(StoreSettings(), StoreSettings)
    assert (told["PGPASSWORD"], told["PGSSLROOTCERT"]) == ("of the database", "/etc/ca.pem")
    assert "GREENROOM_KEY_PEPPER" not in told
