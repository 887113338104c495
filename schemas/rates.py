"""Rate cards: what a minute of each quality costs.

A session carries a snapshot of its rate in `session.created`; bills are computed from that, never from a card.
"""

from __future__ import annotations

from msgspec import Struct

from schemas.bounds import Id, Milli

CREDIT_US = 60_000_000
"""credit_us of one credit, which is a minute of `standard`."""
BILLED_AS = {"lite": "lite", "standard": "standard", "pro": "pro", "mock": "standard"}


class Rate(Struct, frozen=True, gc=False):
    """`credit_us = billable_ms × multiplier_milli`; one credit is one standard minute, 60,000,000 credit_us."""

    card: Id
    billed_as: Id
    multiplier_milli: Milli


class RateCard(Struct, frozen=True):
    """Multipliers in thousandths, by what a quality is billed as."""

    version: Id
    lite: Milli
    standard: Milli
    pro: Milli

    def rate(self, quality: str) -> Rate:
        """The snapshot for a session of this quality."""
        billed_as = BILLED_AS[quality]
        return Rate(card=self.version, billed_as=billed_as, multiplier_milli=getattr(self, billed_as))


FIRST = RateCard("2026-11", 500, 1000, 2000)
"""In force until another one is: each database begins with it."""
