"""The fold of `avatars.v1`: what its events make of an avatar. Pure and total, the same for projection and builder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from events.codec import Event, decode
from events.fold import Evolved, Fold, Rejected
from events.topics import AVATARS
from schemas.avatars import Background, Positions, RuntimeType, Shape
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
    shape: Shape = "square"
    background: Background | None = None


def evolve(avatar: Avatar | None, event: Event, append_ms: int) -> Evolved[Avatar] | Rejected:
    """What `event` makes of the avatar; the first verdict on a build counts."""
    data = event.data
    if not isinstance(data, AvatarEvent) or data.avatar_id != event.subject:
        return Rejected("not_of_this_avatar")
    if isinstance(data, AvatarDeleted):
        return _deleted(avatar, event)
    if isinstance(data, AvatarCreated):
        return Rejected("already_created") if avatar is not None else _created(data, event)
    if avatar is None:
        return Rejected("unknown_avatar")
    if avatar.status != "processing":
        return Rejected("already_decided")
    if isinstance(data, AvatarReady):
        return Evolved(replace(avatar, status="ready", face=data.face), event.type)
    if isinstance(data, AvatarFailed):
        return Evolved(replace(avatar, status="failed", failure_reason=data.reason), event.type)
    return Rejected("no_rule")


def _created(data: AvatarCreated, event: Event) -> Evolved[Avatar]:
    avatar = Avatar(
        data.avatar_id,
        "processing",
        account_id=data.account_id,
        name=data.name,
        runtime_type=data.runtime_type,
        asset=data.asset,
        positions=data.positions,
        created_ms=event.time_ms,
        shape=data.shape,
        background=data.background,
    )
    return Evolved(avatar, event.type)


def _deleted(avatar: Avatar | None, event: Event) -> Evolved[Avatar] | Rejected:
    """What the customer said is forgotten; the assets stay known, so that the builder can remove them."""
    if avatar is None:
        return Evolved(Avatar(event.subject, "deleted"), event.type)
    if avatar.status == "deleted":
        return Rejected("already_deleted")
    return Evolved(replace(avatar, status="deleted", name=None, positions=None, failure_reason=None), event.type)


FOLD = Fold(AVATARS, decode, evolve)
