"""Accounts, plans and what is left of them, on the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class PlanResource(BaseModel):
    """Exactly what published clients know of a plan. Credits: one is a minute of `standard`."""

    key: str
    name: str
    monthly_price_cents: int
    included_credits: int
    extra_credit_unit_micros: int | None
    max_concurrency: int
    custom_avatar_slots: int
    extra_avatar_slot_cents: int | None
    session_time_limit_seconds: int


class KeyResource(BaseModel):
    """The key that was asked with. `scopes`: `*`, or such as `sessions:read`; write contains read."""

    id: str
    name: str
    scopes: list[str]
    creates_per_minute: int
    max_concurrency: int | None
    created_at: str


class AccountResource(BaseModel):
    id: str
    object: Literal["account"] = "account"
    name: str
    plan: str
    idle_timeout_seconds: int
    created_at: str
    key: KeyResource


class Held(BaseModel):
    """`limit` is the plan's."""

    limit: int
    used: int


class QuotaResource(BaseModel):
    """What the plan allows and how much of it is taken."""

    object: Literal["quota"] = "quota"
    plan: str
    concurrent_sessions: Held
    custom_avatars: Held
    session_time_limit_seconds: int
    creates_per_minute: int


class QualityCapacity(BaseModel):
    slots: int
    free: int


class CapacityResource(BaseModel):
    """What the workers can take, for all accounts together. A slot may be of several qualities.

    `waiting`: creates that wait for a slot in the process that answers. `estimated_wait_ms`: 0 while a slot is free;
    null when nothing has ended lately, from which it could be told.
    """

    object: Literal["capacity"] = "capacity"
    slots: int
    free: int
    by_quality: dict[str, QualityCapacity]
    waiting: int
    estimated_wait_ms: int | None
