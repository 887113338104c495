"""The ledger's entries in the columns of FOCUS 1.2, the FinOps Open Cost and Usage Specification.

Rules of the columns: https://focus.finops.org/focus-specification/v1-2/. What we put where, and why:
docs/how-to/export-usage.md. Everything is exact: integers up to here, then decimals, never a float.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple

from schemas.ids import time_of
from schemas.rates import CREDIT_US
from schemas.usage import RecordedEntry

VERSION = "1.2"
MONEY_SCALE = 10
"""Decimal places of a cost."""
UNIT_PRICE_SCALE = 18
_MILLI_SCALE = 3
_MICRO_SCALE = 6
_UNIT = "Seconds"
_PRICING_CURRENCY = "Standard Seconds"
"""A virtual currency: a sixtieth of a credit, which no decimal is. So each entry's amount has six decimal places."""
_SERVICE = ("Media", "Avatar Sessions", "Media Streaming")

Kind = Literal["text", "time", "integer"] | int
"""Of a column; an int is a decimal of so many places. A time is in whole seconds."""
Value = str | int | Decimal | datetime | None

COLUMNS: dict[str, Kind] = {
    "BilledCost": MONEY_SCALE,
    "BillingAccountId": "text",
    "BillingAccountName": "text",
    "BillingCurrency": "text",
    "BillingPeriodEnd": "time",
    "BillingPeriodStart": "time",
    "ChargeCategory": "text",
    "ChargeClass": "text",
    "ChargeDescription": "text",
    "ChargeFrequency": "text",
    "ChargePeriodEnd": "time",
    "ChargePeriodStart": "time",
    "ConsumedQuantity": _MILLI_SCALE,
    "ConsumedUnit": "text",
    "ContractedCost": MONEY_SCALE,
    "ContractedUnitPrice": UNIT_PRICE_SCALE,
    "EffectiveCost": MONEY_SCALE,
    "InvoiceId": "text",
    "InvoiceIssuerName": "text",
    "ListCost": MONEY_SCALE,
    "ListUnitPrice": UNIT_PRICE_SCALE,
    "PricingCategory": "text",
    "PricingCurrency": "text",
    "PricingCurrencyContractedUnitPrice": _MILLI_SCALE,
    "PricingCurrencyEffectiveCost": _MICRO_SCALE,
    "PricingCurrencyListUnitPrice": _MILLI_SCALE,
    "PricingQuantity": _MILLI_SCALE,
    "PricingUnit": "text",
    "ProviderName": "text",
    "PublisherName": "text",
    "ResourceId": "text",
    "ResourceName": "text",
    "ResourceType": "text",
    "ServiceCategory": "text",
    "ServiceName": "text",
    "ServiceSubcategory": "text",
    "SkuId": "text",
    "SkuMeter": "text",
    "SkuPriceDetails": "text",
    "SkuPriceId": "text",
    "x_AvatarId": "text",
    "x_BillableMs": "integer",
    "x_CreditUs": "integer",
    "x_Hash": "text",
    "x_Quality": "text",
    "x_RateCard": "text",
    "x_UsageEventId": "text",
}
"""FOCUS' own first, by name, then ours."""


class Price(NamedTuple):
    """Money of one credit. `currency`: of ISO 4217."""

    per_credit: Decimal
    currency: str


class Charges:
    """Makes rows of entries. Holds a number for each account and month, whatever the number of entries."""

    def __init__(self, provider: str, names: Mapping[str, str], price: Price | None) -> None:
        """`names`: of accounts, by id. Without a price all that is money is null."""
        self._provider = provider
        self._names = names
        self._price = price
        self._ratio = price.per_credit.as_integer_ratio() if price is not None else (0, 1)
        self._charged: dict[tuple[str, datetime], int] = {}

    def row(self, entry: RecordedEntry) -> dict[str, Value]:
        """By column, all of them."""
        facts = entry.facts
        begin, end = _month(entry.recorded_ms // 86_400_000)
        cost = self._cost((facts.account_id, begin), facts.credit_us)
        interval = facts.kind == "interval"
        specific = self._of_interval(entry) if interval else _of_adjustment(entry, begin)
        return {
            **dict.fromkeys(COLUMNS),
            "BilledCost": cost,
            "BillingAccountId": facts.account_id,
            "BillingAccountName": self._names.get(facts.account_id),
            "BillingCurrency": self._price.currency if self._price is not None else None,
            "BillingPeriodEnd": end,
            "BillingPeriodStart": begin,
            "ChargePeriodEnd": _at(max(-(-facts.to_ms // 1000), facts.from_ms // 1000 + 1)),
            "ChargePeriodStart": _at(facts.from_ms // 1000),
            "ContractedCost": cost,
            "EffectiveCost": cost,
            "InvoiceIssuerName": self._provider,
            "ListCost": cost,
            "PricingCurrency": _PRICING_CURRENCY,
            "PricingCurrencyEffectiveCost": Decimal(facts.credit_us).scaleb(-_MICRO_SCALE),
            "ProviderName": self._provider,
            "PublisherName": self._provider,
            "ResourceId": facts.session_id,
            "ResourceType": "Session",
            **dict(zip(("ServiceCategory", "ServiceName", "ServiceSubcategory"), _SERVICE, strict=True)),
            "x_AvatarId": facts.avatar_id,
            "x_BillableMs": facts.billable_ms,
            "x_CreditUs": facts.credit_us,
            "x_Hash": entry.hash,
            "x_Quality": facts.quality,
            "x_RateCard": facts.rate_card,
            "x_UsageEventId": facts.id,
            **specific,
        }

    def _of_interval(self, entry: RecordedEntry) -> dict[str, Value]:
        facts = entry.facts
        seconds = Decimal(facts.billable_ms).scaleb(-_MILLI_SCALE)
        standard = Decimal(facts.multiplier_milli).scaleb(-_MILLI_SCALE)
        unit_price = self._money(1000 * facts.multiplier_milli, UNIT_PRICE_SCALE)  # of 1000 ms
        return {
            "ChargeCategory": "Usage",
            "ChargeDescription": f"Avatar session, {facts.quality}: a second is {standard} standard seconds",
            "ChargeFrequency": "Usage-Based",
            "ConsumedQuantity": seconds,
            "ConsumedUnit": _UNIT,
            "ContractedUnitPrice": unit_price,
            "ListUnitPrice": unit_price,
            "PricingCategory": "Standard",
            "PricingCurrencyContractedUnitPrice": standard,
            "PricingCurrencyListUnitPrice": standard,
            "PricingQuantity": seconds,
            "PricingUnit": _UNIT,
            "SkuId": facts.billed_as,
            "SkuMeter": "Session Time",
            "SkuPriceId": facts.billed_as,
        }

    def _cost(self, bill: tuple[str, datetime], credit_us: int) -> Decimal | None:
        """What a row adds to its bill: those of an account and month are its credits × the price, rounded once."""
        if self._price is None:
            return None
        before = self._charged.get(bill, 0)
        self._charged[bill] = after = before + credit_us
        return Decimal(self._units(after, MONEY_SCALE) - self._units(before, MONEY_SCALE)).scaleb(-MONEY_SCALE)

    def _money(self, credit_us: int, scale: int) -> Decimal | None:
        return None if self._price is None else Decimal(self._units(credit_us, scale)).scaleb(-scale)

    def _units(self, credit_us: int, scale: int) -> int:
        """What so much costs, in units of the last decimal place: rounded half to even."""
        numerator, denominator = self._ratio
        over, under = credit_us * numerator * int(10**scale), denominator * CREDIT_US
        whole, left = divmod(over, under)
        up = 2 * left > under or (2 * left == under and whole % 2 == 1)
        return whole + int(up)


def _of_adjustment(entry: RecordedEntry, billing_period_start: datetime) -> dict[str, Value]:
    """An amount without a quantity. FOCUS calls it a correction only when it is of what an earlier period billed."""
    facts = entry.facts
    earlier = _at(time_of(facts.session_id) // 1000) < billing_period_start
    return {
        "ChargeCategory": "Adjustment",
        "ChargeClass": "Correction" if earlier else None,
        "ChargeDescription": f"Adjustment of session {facts.session_id}",
        "ChargeFrequency": "One-Time",
    }


def shown(value: Value) -> str:
    """As text. Nothing for null."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


@lru_cache(1024)
def _time(value: datetime) -> str:
    """Kept, since rows that follow each other share months and seconds."""
    return f"{value:%Y-%m-%dT%H:%M:%SZ}"


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@lru_cache(1024)
def _month(day: int) -> tuple[datetime, datetime]:
    """The month of a day since 1970, in UTC: its begin, and that of the next one."""
    moment = _at(86_400 * day)
    begin = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    return begin, datetime(begin.year + begin.month // 12, begin.month % 12 + 1, 1, tzinfo=UTC)
