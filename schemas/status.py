"""The public status, exactly as the published clients know it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

Health = Literal["operational", "degraded", "outage"]


class StatusComponent(BaseModel):
    name: str
    status: Health


class StatusResource(BaseModel):
    status: Health
    components: list[StatusComponent]
    updated_at: str
