"""Stripe meter events: their shape, and the list of customers."""

from __future__ import annotations

import json

import pytest

from schemas.ids import USAGE, new_id
from schemas.meter_events import BadCustomers, customers, meter_event, unnamed
from tests.schemas.test_focus import NOVEMBER, adjustment

pytestmark = pytest.mark.unit

HEAD = "account_id,stripe_customer_id"


def test_an_event_is_as_stripe_takes_it() -> None:
    event = meter_event(adjustment(-7, at=NOVEMBER + 999), "cus_1", "credits")
    assert json.loads(event.line()) == {
        "event_name": "credits",
        "identifier": "use_1",
        "payload": {"stripe_customer_id": "cus_1", "value": "-7"},
        "timestamp": NOVEMBER // 1000,
    }
    assert event.line().endswith(b"\n")
    assert event.form() == {
        "event_name": "credits",
        "identifier": "use_1",
        "payload[stripe_customer_id]": "cus_1",
        "payload[value]": "-7",
        "timestamp": str(NOVEMBER // 1000),
    }
    assert len(new_id(USAGE)) <= 100


def test_accounts_have_a_customer_are_left_out_or_are_missing() -> None:
    known = customers([f"\ufeff{HEAD}", "acct_1, cus_1 ", "", "acct_2,"])
    assert known == {"acct_1": "cus_1", "acct_2": None}
    assert unnamed(["acct_3", "acct_1", "acct_2"], known) == ["acct_3"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "first line must be account_id,stripe_customer_id"),
        (["acct_1,cus_1"], "first line must be"),
        ([HEAD, "acct_1"], "line 2 has 1 columns and not 2"),
        ([HEAD, "acct_1,cus_1", "acct_1,cus_2"], "line 3 names account acct_1 again"),
        ([HEAD, "acct_1,a b"], "line 2 has no customer such as"),
    ],
)
def test_a_list_that_is_refused(lines: list[str], told: str) -> None:
    with pytest.raises(BadCustomers, match=told):
        customers(lines)
