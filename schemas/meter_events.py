"""Stripe meter events, as `POST /v1/billing/meter_events` takes them: https://docs.stripe.com/api/billing/meter-event/create."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from schemas.usage import RecordedEntry

EVENT_NAME: Final = "greenroom_credit_us"
PAST_S: Final = 35 * 86_400
"""Stripe takes no timestamp that is longer ago; nor one of the future, which no entry has."""
ONCE_S: Final = 23 * 3600
"""An identifier that Stripe has had counts once, for 24 hours. An hour less, since its clock is not ours."""
_HEAD = ["account_id", "stripe_customer_id"]
_CUSTOMER = re.compile(r"[A-Za-z0-9_-]{1,255}")
_encode = msgspec.json.Encoder(order="sorted").encode


class Payload(Struct, frozen=True):
    """`value`: credit_us, a whole number; negative when something is given back."""

    stripe_customer_id: str
    value: str


class MeterEvent(Struct, frozen=True):
    """`identifier`: the entry's `use_` id. `timestamp`: when it was recorded, in epoch seconds."""

    event_name: str
    identifier: str
    payload: Payload
    timestamp: int

    def line(self) -> bytes:
        return _encode(self) + b"\n"

    def form(self) -> dict[str, str]:
        """As the endpoint takes it."""
        return {
            "event_name": self.event_name,
            "identifier": self.identifier,
            "payload[stripe_customer_id]": self.payload.stripe_customer_id,
            "payload[value]": self.payload.value,
            "timestamp": str(self.timestamp),
        }


def meter_event(entry: RecordedEntry, customer: str, event_name: str) -> MeterEvent:
    payload = Payload(customer, str(entry.facts.credit_us))
    return MeterEvent(event_name, entry.facts.id, payload, entry.recorded_ms // 1000)


class BadCustomers(ValueError):
    """The list of customers cannot be used. The message says why, in a sentence."""


def customers(lines: Iterable[str]) -> dict[str, str | None]:
    """Account → Stripe customer, None for one that is left out on purpose, of a CSV file. Raises BadCustomers."""
    rows = csv.reader(lines)
    if [name.strip().lstrip("\ufeff") for name in next(rows, [])] != _HEAD:
        raise BadCustomers(f"its first line must be {','.join(_HEAD)}.")
    found: dict[str, str | None] = {}
    for row in rows:
        if not row:
            continue
        if len(row) != len(_HEAD):
            raise BadCustomers(f"line {rows.line_num} has {len(row)} columns and not {len(_HEAD)}.")
        account, customer = (cell.strip() for cell in row)
        if account in found:
            raise BadCustomers(f"line {rows.line_num} names account {account} again.")
        if customer and not _CUSTOMER.fullmatch(customer):
            raise BadCustomers(f"line {rows.line_num} has no customer such as cus_NciAYcXfLnqBoz.")
        found[account] = customer or None
    return found


def unnamed(accounts: Iterable[str], known: Mapping[str, str | None]) -> list[str]:
    """Accounts that no line of the list names."""
    return sorted(set(accounts) - known.keys())
