"""A stream by itself: what it asks before it sends, and what it tells before there is anything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from api import sse
from api.news import News
from api.sse import EventStream, Item
from store.accounts import Principal
from store.database import DatabaseUnreachable

pytestmark = pytest.mark.unit

CALLER = Principal("key_1", "acct_1", "trial", 30, 600, 10, ("*",), False)


class Client:
    """What it was sent; `at(n)` is called after each chunk."""

    def __init__(self, at: Any = None) -> None:
        self.sent: list[bytes] = []
        self._at = at

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            self.sent.append(message["body"])
            if self._at is not None:
                self._at(len(self.sent))
        await asyncio.sleep(0)

    async def receive(self) -> Any:
        await asyncio.Event().wait()


class Revocations:
    """In the place of the database: what it answers each time, the last one for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        monkeypatch.setattr("api.auth.is_revoked", self.ask)

    async def ask(self, *_: Any) -> bool:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def endless() -> Sequence[Item]:
    return [Item("7", "session.created", {})]


def stream(news: News, look: Any, place: Any = lambda: "3") -> EventStream:
    ctx: Any = SimpleNamespace(news=news)
    return EventStream(ctx, CALLER, "acct_1", look, place)


async def test_a_backlog_ends_when_the_key_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    news = News(100)
    Revocations(monkeypatch, False, True)
    client = Client(lambda n: news.tell("key_1") if n == 5 else None)
    await asyncio.wait_for(stream(news, endless)({"type": "http"}, client.receive, client.send), 5)
    assert len(client.sent) == 5


async def test_nothing_is_sent_while_nobody_knows_whether_it_was_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_AWAY_S", 0.01)
    news = News(100)
    away = DatabaseUnreachable("away")
    Revocations(monkeypatch, False, away, away, True)
    client = Client(lambda n: news.tell("key_1") if n == 3 else None)
    await asyncio.wait_for(stream(news, endless)({"type": "http"}, client.receive, client.send), 5)
    assert len(client.sent) == 3


async def test_it_tells_where_it_stands_before_anything_and_past_what_was_of_no_interest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "PING_S", 0.01)
    news = News(100)
    Revocations(monkeypatch, False)
    at = ["3"]

    async def nothing() -> Sequence[Item]:
        return ()

    def end(n: int) -> None:
        at[0] = "9" if n >= 2 else "3"
        if n == 5:
            news.end()

    client = Client(end)
    await asyncio.wait_for(stream(news, nothing, lambda: at[0])({"type": "http"}, client.receive, client.send), 5)
    assert client.sent[0] == b"retry: 2000\nid: 3\n\n"
    assert client.sent[1:4] == [b": ping\n\n", b"id: 9\n\n", b": ping\n\n"]


async def test_a_news_while_the_database_is_away_is_looked_at_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_AWAY_S", 0.01)
    news = News(100)
    Revocations(monkeypatch, False, DatabaseUnreachable("away"), False)
    found: list[list[Item]] = [[], [Item("8", "session.ended", {}, last=True)]]

    async def look() -> Sequence[Item]:
        return found.pop(0)

    client = Client(
        lambda n: asyncio.get_running_loop().call_later(0.05, news.tell, "acct_1\nkey_1") if n == 1 else None
    )
    await asyncio.wait_for(stream(news, look)({"type": "http"}, client.receive, client.send), 5)
    assert client.sent[-1].startswith(b"id: 8\n")
