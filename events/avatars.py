"""The fold of `avatars.v1`: what its events make of an avatar. Pure and total, the same for projection and builder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from events.codec import Event
from schemas.avatars import Positions, RuntimeType
from schemas.events import AvatarCreated, AvatarDeleted, AvatarEvent, AvatarFailed, AvatarReady, Encrypted

Status = Literal["processing", "ready", "failed", "deleted"]


@dataclass(frozen=True)
class Avatar:
    """`deleted` is for ever: whatever comes later, a late `avatar.created` included, changes nothing."""

    avatar_id: str
    status: Status
    account_id: str | None = None
    name: Encrypted | None = None
    runtime_type: RuntimeType = "avtr1"
    asset: str | None = None
    positions: Positions | None = None
    face: str | None = None
    failure_reason: str | None = None
    created_ms: int = 0


def evolve(avatar: Avatar | None, event: Event) -> Avatar | None:
    """The avatar after `event`, or None when the event changes nothing: the first verdict on a build counts."""
    data = event.data
    if not isinstance(data, AvatarEvent) or data.avatar_id != event.subject:
        return None
    if isinstance(data, AvatarDeleted):
        return _deleted(avatar, data.avatar_id)
    if isinstance(data, AvatarCreated):
        return _created(data, event.time_ms) if avatar is None else None
    if avatar is None or avatar.status != "processing":
        return None
    if isinstance(data, AvatarReady):
        return replace(avatar, status="ready", face=data.face)
    if isinstance(data, AvatarFailed):
        return replace(avatar, status="failed", failure_reason=data.reason)
    return None


def _created(data: AvatarCreated, time_ms: int) -> Avatar:
    return Avatar(
        data.avatar_id,
        "processing",
        account_id=data.account_id,
        name=data.name,
        runtime_type=data.runtime_type,
        asset=data.asset,
        positions=data.positions,
        created_ms=time_ms,
    )


def _deleted(avatar: Avatar | None, avatar_id: str) -> Avatar | None:
    """What the customer said is forgotten; the assets stay known, so that the builder can remove them."""
    if avatar is None:
        return Avatar(avatar_id, "deleted")
    if avatar.status == "deleted":
        return None
    return replace(avatar, status="deleted", name=None, positions=None, failure_reason=None)
