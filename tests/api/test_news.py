"""Who is woken by what, and who gets a place."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from api.errors import StreamsExceeded
from api.news import News

pytestmark = pytest.mark.unit


async def test_news_between_looking_and_waiting_are_not_missed() -> None:
    news = News(100)
    with news.of("acct_1", "sess_1", "key_1") as waiter:
        news.tell("sess_2")
        assert await waiter.wait(0) == set()
        news.tell("sess_2\nsess_1\nkey_1")
        assert await waiter.wait(0) == {"sess_1", "key_1"}
        assert await waiter.wait(0) == set()


async def test_a_new_connection_wakes_everybody() -> None:
    news = News(100)
    with news.of("acct_1", "sess_1") as one, news.of("acct_2", "sess_2", "key_2") as other:
        news.tell("")
        assert await one.wait(0) == {"sess_1"}
        assert await other.wait(0) == {"sess_2", "key_2"}
        news.end()
        assert news.over
        assert await one.wait(0) == {"sess_1"}


async def test_an_account_has_its_places_and_gives_them_back() -> None:
    news = News(24)
    with ExitStack() as places:

        def take(account: str) -> bool:
            try:
                places.enter_context(news.of(account, "sess_1"))
            except StreamsExceeded:
                return False
            return True

        assert [take("acct_1") for _ in range(9)] == [True] * 8 + [False]
        assert [take("acct_2") for _ in range(9)] == [True] * 8 + [False]
        assert [take("acct_3") for _ in range(9)] == [True] * 4 + [False] * 5  # two of these are for those with few
        assert [take("acct_4") for _ in range(2)] == [True, False]
    assert not news._waiting
    assert not news._of_account
