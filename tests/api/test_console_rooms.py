"""Tokens that the console mints, as LiveKit's own SDK reads them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from livekit import api

from api.console_rooms import LocalRooms, local_rooms
from api.settings import ApiSettings
from api.tokens import check
from schemas.sessions import LiveKitTransport

pytestmark = pytest.mark.unit

ROOMS = LocalRooms("ws://livekit:7880", "wss://rooms.example.com", "key", "a secret of thirty-two characters")


def read(token: Any) -> Any:
    return api.TokenVerifier(ROOMS.key, ROOMS.secret).verify(token)


def test_a_room_for_a_talk() -> None:
    made, other = ROOMS.for_talk(time.time()), ROOMS.for_talk(time.time())
    assert made["room_name"] != other["room_name"]
    worker, agent = read(made["worker_token"]), read(made["agent_token"])
    assert (worker.identity, worker.kind, worker.attributes) == ("avatar", "agent", {"lk.publish_on_behalf": "agent"})
    assert agent.identity == "agent"
    for claims in (worker, agent):
        assert claims.video is not None
        assert (claims.video.room, claims.video.room_join, claims.video.can_publish) == (made["room_name"], True, True)
        assert not claims.video.room_admin
    transport = LiveKitTransport(url=made["worker_url"], **{k: made[k] for k in ("room_name", "worker_token")})
    assert check(transport, time.time()) == "avatar"
    assert made["url"] == "wss://rooms.example.com"


def test_who_looks_in_does_nothing_else() -> None:
    claims = read(ROOMS.for_view("room", time.time())["token"])
    assert claims.video is not None
    assert (claims.video.room, claims.video.can_subscribe, claims.video.hidden) == ("room", True, True)
    assert (claims.video.can_publish, claims.video.can_publish_data) == (False, False)


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("ws://livekit:7880", True),
        ("ws://LIVEKIT:7880/", True),
        ("ws://livekit", False),
        ("ws://livekit:7880/other", False),
        ("ws://livekit:7880/?to=elsewhere", False),
        ("ws://me@livekit:7880", False),
        ("ws://livekit:99999999", False),
        ("wss://elsewhere:7880", False),
        ("[erased]", False),
    ],
)
def test_which_rooms_are_of_this_livekit(url: str, ours: bool) -> None:
    assert ROOMS.is_ours(url) is ours


def test_a_livekit_below_a_path() -> None:
    below = LocalRooms("wss://example.com/livekit/", "wss://example.com/livekit", "key", "secret")
    assert below.is_ours("wss://example.com:443/livekit")
    assert not below.is_ours("wss://example.com")
    assert below.origins == ["wss://example.com", "https://example.com"]


def test_without_all_of_it_there_is_none() -> None:
    settings = ApiSettings(console_livekit_url="ws://livekit:7880", console_livekit_key="key")
    assert local_rooms(settings) is None
