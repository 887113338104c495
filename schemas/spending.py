"""Limits on spending, and credits, on the wire. Amounts are credits: one is a minute of `standard`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from schemas.pages import Page
from schemas.requests import Strict

_Credits = Annotated[float, Field(ge=0, le=1_000_000_000, strict=True, allow_inf_nan=False)]


class PutLimits(Strict):
    """All of it: what is left out is no limit any more. Of a UTC month."""

    hard_cap_credits: Annotated[
        _Credits | None, Field(description="There, creates are refused and what runs is ended. null: no cap.")
    ] = None
    threshold_credits: Annotated[
        tuple[_Credits, ...],
        Field(max_length=10, strict=False, description="Each is told of once a month: `usage.threshold_reached`."),
    ] = ()


class SpendingLimits(BaseModel):
    """`reached_credits`: thresholds that have been told of this month."""

    hard_cap_credits: float | None
    threshold_credits: list[float]
    used_credits: float
    reached_credits: list[float]


class LimitsResource(BaseModel):
    """`keys`: those that have limits of their own, by id."""

    object: Literal["limits"] = "limits"
    period_start: str
    period_end: str
    account: SpendingLimits
    keys: dict[str, SpendingLimits]


class ThresholdReached(BaseModel):
    """The `data` of `usage.threshold_reached`. `key_id` null: the account's."""

    object: Literal["usage_threshold"]
    account_id: str
    key_id: str | None
    period_start: str
    threshold_credits: float
    used_credits: float


class GrantResource(BaseModel):
    id: str
    object: Literal["credit_grant"] = "credit_grant"
    granted_credits: float
    left_credits: float
    expires_at: str | None
    note: str
    created_at: str


class CreditsResource(BaseModel):
    """`gated`: without credits nothing begins. `grants`: those with something left, in the order in which they pay."""

    object: Literal["credits"] = "credits"
    gated: bool
    balance_credits: float
    grants: list[GrantResource]


class CreditEntry(BaseModel):
    """A change of the balance."""

    id: str
    object: Literal["credit_entry"] = "credit_entry"
    at: str
    kind: Literal["grant", "spend", "expire", "refund"]
    grant_id: str | None
    amount_credits: float
    balance_credits: float
    note: str


class CreditEntryList(Page[CreditEntry]):
    """The latest first."""
