"""Entries in the columns of FOCUS 1.2: its rules, row by row, and that sums are exact."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.focus import COLUMNS, MONEY_SCALE, Charges, Price, Value, shown
from schemas.ids import SESSION, derived_id
from schemas.rates import CREDIT_US
from schemas.times import from_wire
from schemas.usage import RecordedEntry, UsageFacts

pytestmark = pytest.mark.unit

NOVEMBER = from_wire("2026-11-01T00:00:00Z")
PRICE = Price(Decimal("0.1"), "EUR")
NEVER_NULL = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingCurrency"),
    *("PricingCurrencyEffectiveCost", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
    "ServiceSubcategory",
}
MONEY = {name for name, kind in COLUMNS.items() if kind == MONEY_SCALE} | {
    *("BillingCurrency", "ContractedUnitPrice", "ListUnitPrice")
}
OF_USAGE = {
    *("ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "ListUnitPrice", "PricingCategory", "PricingQuantity"),
    *("PricingCurrencyContractedUnitPrice", "PricingCurrencyListUnitPrice", "PricingUnit", "SkuId", "SkuMeter"),
    "SkuPriceId",
}
"""Those that FOCUS demands of usage that is no correction; of an adjustment some must be null, and all are."""


def entry(
    ms: int = 5000,
    milli: int = 1000,
    kind: str = "interval",
    at: int = NOVEMBER,
    account: str = "acct_1",
    amount: int | None = None,
    created: int = NOVEMBER,
) -> RecordedEntry:
    facts = UsageFacts(
        account_id=account,
        attempt=1,
        avatar_id="av_1",
        billable_ms=ms,
        billed_as="standard",
        credit_us=ms * milli if amount is None else amount,
        event_id="evt_1",
        flags=(),
        frames=1,
        from_ms=at - ms,
        id="use_1",
        kind=kind,  # type: ignore[arg-type]
        multiplier_milli=milli,
        n=1,
        object="usage_event",
        quality="standard",
        rate_card="2026-11",
        session_id=derived_id(SESSION, created, "a"),
        to_ms=at,
    )
    return RecordedEntry(facts, "h" * 64, at)


def adjustment(amount: int, at: int = NOVEMBER, created: int = NOVEMBER) -> RecordedEntry:
    return entry(0, 1000, "adjustment", at, amount=amount, created=created)


def row(of: RecordedEntry, price: Price | None = PRICE) -> dict[str, Value]:
    return Charges("Acme", {"acct_1": "Customer"}, price).row(of)


def nulls(found: dict[str, Value]) -> set[str]:
    return {name for name, value in found.items() if value is None}


def decimal(value: Value) -> Decimal:
    assert isinstance(value, Decimal)
    return value


ALWAYS_NULL = {"ChargeClass", "InvoiceId", "ResourceName", "SkuPriceDetails"}


@given(st.integers(0, 10**7), st.integers(0, 100_000), st.integers(0, 40 * 86_400_000))
def test_usage_is_what_focus_asks_for(ms: int, milli: int, later: int) -> None:
    found = row(entry(ms, milli, at=NOVEMBER + later))
    assert list(found) == list(COLUMNS)
    assert nulls(found) == ALWAYS_NULL
    assert (found["ChargeCategory"], found["ChargeFrequency"], found["PricingCategory"]) == (
        "Usage",
        "Usage-Based",
        "Standard",
    )
    product = decimal(found["PricingQuantity"]) * decimal(found["PricingCurrencyContractedUnitPrice"])
    assert product == found["PricingCurrencyEffectiveCost"]
    money = decimal(found["PricingQuantity"]) * decimal(found["ContractedUnitPrice"])
    assert abs(money - decimal(found["ContractedCost"])) <= Decimal(10) ** -MONEY_SCALE
    begin, end = found["BillingPeriodStart"], found["BillingPeriodEnd"]
    assert isinstance(begin, datetime)
    assert isinstance(end, datetime)
    assert begin <= datetime(2026, 11, 1, tzinfo=UTC) + timedelta(milliseconds=later) < end
    assert (begin.day, end.day, end.month) == (1, 1, begin.month % 12 + 1)
    starts, ends = found["ChargePeriodStart"], found["ChargePeriodEnd"]
    assert isinstance(starts, datetime)
    assert isinstance(ends, datetime)
    assert starts < ends


@pytest.mark.parametrize(
    ("created", "charge_class"),
    [(NOVEMBER, None), (NOVEMBER - 1, "Correction")],
    ids=["of this period", "of an earlier one"],
)
def test_an_adjustment_is_a_correction_of_what_an_earlier_period_billed(created: int, charge_class: str | None) -> None:
    found = row(adjustment(-3 * CREDIT_US, at=NOVEMBER + 1, created=created))
    assert found["ChargeClass"] == charge_class
    assert (found["ChargeCategory"], found["ChargeFrequency"]) == ("Adjustment", "One-Time")
    assert nulls(found) == (ALWAYS_NULL | OF_USAGE) - ({"ChargeClass"} if charge_class else set())
    assert not nulls(found) & NEVER_NULL
    assert found["BilledCost"] == found["ContractedCost"] == found["ListCost"] == found["EffectiveCost"]
    assert (shown(found["BilledCost"]), shown(found["PricingCurrencyEffectiveCost"])) == (
        "-0.3000000000",
        "-180.000000",
    )


def test_without_a_price_only_money_is_null() -> None:
    assert nulls(row(entry(), None)) == ALWAYS_NULL | MONEY


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(-(10**9), 10**12), st.integers(0, 40 * 86_400_000)),
        max_size=50,
    ),
    st.decimals("0.000001", "1000", places=6),
)
def test_a_bill_is_rounded_once(entries: list[tuple[str, int, int]], price: Decimal) -> None:
    """Of each account and month: the costs of its rows are its credits × the price, to the last decimal place."""
    charges = Charges("Acme", {}, Price(price, "EUR"))
    costs: dict[tuple[str, Value], Decimal] = defaultdict(Decimal)
    amounts: dict[tuple[str, Value], int] = defaultdict(int)
    for account, amount, later in entries:
        found = charges.row(entry(account=account, amount=amount, at=NOVEMBER + later))
        costs[account, found["BillingPeriodStart"]] += decimal(found["BilledCost"])
        amounts[account, found["BillingPeriodStart"]] += amount
    for bill, amount in amounts.items():
        exact = Fraction(amount, CREDIT_US) * Fraction(price)
        assert costs[bill] == Decimal(round(exact * 10**MONEY_SCALE)).scaleb(-MONEY_SCALE)


def test_as_text() -> None:
    """UTC to the second, no exponent, no sign but a minus, nothing for null."""
    found = {name: shown(value) for name, value in row(entry(1234, 500, at=NOVEMBER - 1)).items()}
    assert found["ChargePeriodStart"] == "2026-10-31T23:59:58Z"
    assert found["ChargePeriodEnd"] == found["BillingPeriodEnd"] == "2026-11-01T00:00:00Z"
    assert (found["ConsumedQuantity"], found["x_BillableMs"], found["x_CreditUs"]) == ("1.234", "1234", "617000")
    assert (found["InvoiceId"], shown(Decimal(0).scaleb(-10))) == ("", "0.0000000000")
