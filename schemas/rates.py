"""The rate card: what a minute of each quality costs.

A session carries a snapshot of its rate in `session.created`; bills are computed from that, never from this table.
"""

from __future__ import annotations

from msgspec import Struct

from schemas.bounds import Id, Milli

CARD = "2026-11"
CREDIT_US = 60_000_000
"""credit_us of one credit, which is a minute of `standard`."""
MULTIPLIER_MILLI = {"lite": 500, "standard": 1000, "pro": 2000}
BILLED_AS = {"lite": "lite", "standard": "standard", "pro": "pro", "mock": "standard"}


class Rate(Struct, frozen=True, gc=False):
    """`credit_us = billable_ms × multiplier_milli`; one credit is one standard minute, 60,000,000 credit_us."""

    card: Id
    billed_as: Id
    multiplier_milli: Milli


def rate_for(quality: str) -> Rate:
    billed_as = BILLED_AS[quality]
    return Rate(card=CARD, billed_as=billed_as, multiplier_milli=MULTIPLIER_MILLI[billed_as])
