"""What a clip shows: whether it carries this installation's mark, of which sessions, and which of their seconds."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["ours", "not_ours", "cannot_tell"]
InLedger = Literal["billed", "partly", "not_billed", "pending"]
BreakKind = Literal["cut", "gap"]


class Seconds(BaseModel):
    """Of the clip."""

    model_config = ConfigDict(populate_by_name=True)

    from_: float = Field(alias="from")
    to: float


class ClipFacts(Seconds):
    """What of the clip was looked at. `unread`: seconds that could not be decoded."""

    container: str
    codec: str
    width: int
    height: int
    frames: int
    unread: list[Seconds]


class ShownSpan(Seconds):
    """Of the clip, and what it shows there: the session's seconds since its first frame. `billed_seconds` of them are
    in the ledger; `pending`: the session's next readings will tell."""

    session_from: float
    session_to: float
    began_at: str
    ended_at: str
    ledger: InLedger
    billed_seconds: float


class ShownSession(BaseModel):
    """`score`: of its best window, in standard deviations of chance. No `spans`: which seconds it shows could not be
    read."""

    id: str
    account_id: str
    avatar_id: str
    quality: str
    score: float
    spans: list[ShownSpan]


class Break(Seconds):
    """A `cut` of the clip, where the shown seconds jump by `skipped_seconds` (null: to another session), or a `gap`,
    which shows no session of yours."""

    kind: BreakKind
    skipped_seconds: float | None


class VerificationResource(BaseModel):
    """`reason`: why it cannot be told, and what to do."""

    object: Literal["verification"] = "verification"
    verdict: Verdict
    reason: str | None
    clip: ClipFacts
    sessions: list[ShownSession]
    breaks: list[Break]


class ForeignMark(BaseModel):
    """Our key's mark, of something that the log does not have: a file of `greenroom render`, a session of another log
    with the same key, or too little of the tag. `tag`: ten hexadecimal digits, where it could be read. `file_id`: what
    the clip says to be, where that is true."""

    key_id: str
    tag: str | None
    file_id: str | None
    score: float


class WindowScore(Seconds):
    """`searched`: the mark was looked for everywhere in the picture, not only where it would lie in a whole frame."""

    score: float
    searched: bool


class VerificationReport(VerificationResource):
    """What the operator gets: with marks of no session, and each window's score beside the one that counts as ours."""

    unknown: list[ForeignMark]
    windows: list[WindowScore]
    threshold: float
