"""`greenroom inspect` as an operator types it, on real Kafka."""

from __future__ import annotations

import json

import pytest

from tests.builders import beat, life, session_id
from tests.cli.test_admin import greenroom
from tests.world import World

pytestmark = pytest.mark.servers


async def test_a_session_and_nothing_of_the_others(world: World) -> None:
    sid, other = session_id(), session_id()
    for both in zip(life(sid), life(other), strict=True):
        await world.append(*both)
    await world.append(beat(sid, 9, 9000))
    code, said, complained = await greenroom(world, "inspect", sid)
    assert code == 0, complained
    assert "ended (api_request)" in said
    assert "rejected: terminal." in said
    assert other not in said
    found = json.loads((await greenroom(world, "inspect", sid, "--json", "--at", "3"))[1])
    assert found["state"]["status"] == "starting"
    assert [event["type"] for event in found["events"]][-1] == "session.joined"
    later = json.loads((await greenroom(world, "inspect", sid, "--json", "--at", "2999-01-01T00:00:00Z"))[1])
    rows = [(e["offset"], e["recorded_at"]) for e in later["events"]]
    assert rows == sorted(rows)
    # What a slow Kafka had acknowledged too late was appended twice.
    rejected = [e["reason"] for e in later["events"] if e["verdict"] == "rejected" and e["reason"] != "duplicate"]
    assert rejected == ["terminal"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["sess_none"], "The log has no record of sess_none."),
        (["sess_none", "--at", "yesterday"], "--at is a seq or an ISO 8601 time"),
        (["sess_none", "--at", "²"], "--at is a seq or an ISO 8601 time"),
    ],
)
async def test_what_goes_wrong_is_a_sentence(world: World, args: list[str], told: str) -> None:
    code, _, complained = await greenroom(world, "inspect", *args)
    assert (code, told in " ".join(complained.split())) == (1, True), complained
