"""`greenroom verify`: whether a clip is ours, of which session, which seconds, and whether those were billed."""

from __future__ import annotations

import importlib.util
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli.console import WAIT_S, err, fail, moment, out, run_to_the_end
from cli.shown import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faces.clips import Wanted
    from faces.mark.appearances import Appearance
    from faces.mark.keys import MarkKeyring
    from faces.verification import Looked
    from projections.verification import Candidacy, Known
    from schemas.verification import (
        Break,
        ForeignMark,
        Seconds,
        ShownSession,
        ShownSpan,
        Verdict,
        VerificationReport,
    )

NOT_OURS, CANNOT_TELL = 1, 2
_POSITION = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,3})?)")
_THUMBS = 12
_LEDGER = {
    "billed": "in the ledger",
    "partly": "partly in the ledger",
    "not_billed": "not in the ledger",
    "pending": "not in the ledger yet: the session's next reading will tell",
}


def verify(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="A video file, of any kind that FFmpeg reads.")],
    from_: Annotated[str | None, typer.Option("--from", help="Look from this second on, or m:ss, or h:mm:ss.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Look up to this second.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write all of it as JSON.")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw frames, scores and sessions over the clip's time.")
    ] = None,
    marks: Annotated[int, typer.Option(min=1, max=4, help="Marks side by side in one picture.")] = 1,
    searches: Annotated[
        int,
        typer.Option(min=0, max=64, help="Search everywhere in the 1st, 2nd, 4th, … window without one: so many."),
    ] = 8,
    created_after: Annotated[str | None, typer.Option(help="Look among sessions from this day or time on.")] = None,
    created_before: Annotated[str | None, typer.Option(help="Look among sessions before this day or time.")] = None,
) -> None:
    """Tell whether a clip carries this installation's mark, and what the log says of it.

    Exit 0: ours. 1: not ours. 2: unreadable, or it cannot be told; the message says what to do.
    """
    try:
        code = _verify(clip, from_, to, report, picture, marks, searches, created_after, created_before)
    except (typer.Exit, KeyboardInterrupt):
        raise
    except Exception:  # 1 would say that the clip is not ours
        traceback.print_exc()
        code = CANNOT_TELL
    raise typer.Exit(code)


def _verify(
    clip: Path,
    from_: str | None,
    to: str | None,
    report: Path | None,
    picture: Path | None,
    marks: int,
    searches: int,
    created_after: str | None,
    created_before: str | None,
) -> int:
    keys = _keys()
    from faces.clips import Wanted
    from projections.verification import Candidacy

    wanted = Wanted(_position("--from", from_) or 0.0, _position("--to", to), _THUMBS if picture is not None else 0)
    if wanted.to_s is not None and wanted.to_s <= wanted.from_s:
        raise fail("--to has to be behind --from.", CANNOT_TELL)
    among = Candidacy(
        None,
        moment("--created-after", created_after, CANNOT_TELL) if created_after else None,
        moment("--created-before", created_before, CANNOT_TELL) if created_before else None,
    )
    looked = _look(clip, keys, wanted, marks, searches)
    found: list[Known | None] = []
    if looked.shown:
        err.print("It carries this installation's mark. Looking for the session that it is of.")
        found = run_to_the_end(_known(looked.shown, keys, among), CANNOT_TELL)
    told = _told(looked, found, keys)
    if report is not None:
        _write(report, told.model_dump_json(by_alias=True, indent=2).encode() + b"\n")
    if picture is not None:
        from cli.verification_picture import draw

        _write(picture, draw(looked, told))
    _print(told)
    return {"ours": 0, "not_ours": NOT_OURS, "cannot_tell": CANNOT_TELL}[told.verdict]


def _keys() -> MarkKeyring:
    """Of the settings."""
    if any(importlib.util.find_spec(name) is None for name in ("av", "cv2")):
        raise fail("Looking at clips needs PyAV and OpenCV: install greenroom[verify].", CANNOT_TELL)
    from faces.mark.keys import BadMarkKeys, MarkKeyring
    from faces.settings import MarkSettings

    spec = MarkSettings().mark_keys.get_secret_value()
    if not spec:
        raise fail(
            "GREENROOM_MARK_KEYS is not set: without the keys of the mark nothing can be looked for. Take those of the"
            " workers; `greenroom up` has them in .greenroom/secrets.json.",
            CANNOT_TELL,
        )
    try:
        return MarkKeyring(spec)
    except BadMarkKeys as wrong:
        raise fail(str(wrong), CANNOT_TELL) from None


def _position(option: str, text: str | None) -> float | None:
    """`90`, `1:30`, `1:02:03.5`, in seconds."""
    if text is None:
        return None
    if (parts := _POSITION.fullmatch(text)) is None:
        raise fail(f"{option} is a second of the clip, such as 90, 1:30 or 1:02:03, not {plain(text)}.", CANNOT_TELL)
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return hours * 3600 + minutes * 60 + seconds


def _look(clip: Path, keys: MarkKeyring, wanted: Wanted, marks: int, searches: int) -> Looked:
    from faces.clips import UnreadableClip
    from faces.mark.detect import Detector
    from faces.verification import look

    columns = (TextColumn("looking"), BarColumn(), TextColumn("{task.fields[at]}"), TimeRemainingColumn())
    try:
        with clip.open("rb") as file, Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("looking", total=None, at="")

            def tell(at_s: float, seconds: float | None) -> None:
                ends = min((each for each in (wanted.to_s, seconds) if each is not None), default=None)
                total = None if ends is None else max(0.1, ends - wanted.from_s)
                bar.update(task, completed=at_s - wanted.from_s, total=total, at=_clock(at_s))

            return look(file, Detector(keys, searches, marks), wanted, tell=tell)
    except OSError as failed:
        raise fail(f"{plain(str(clip))} cannot be opened: {failed.strerror}.", CANNOT_TELL) from None
    except UnreadableClip as bad:
        raise fail(f"{plain(clip.name)}: {bad}", CANNOT_TELL) from None


async def _known(shown: Sequence[Appearance], keys: MarkKeyring, among: Candidacy) -> list[Known | None]:
    from projections.verification import known
    from store.database import pool
    from store.settings import DatabaseSettings

    async with pool(DatabaseSettings().database_url, 1, WAIT_S) as connections, connections.connection() as connection:
        return await known(connection, shown, keys, among)


def _told(looked: Looked, found: Sequence[Known | None], keys: MarkKeyring) -> VerificationReport:
    from faces.mark.detect import OURS
    from faces.verification import cannot_tell
    from projections.verification import verified
    from schemas.verification import VerificationReport, WindowScore

    reason = None if looked.shown else cannot_tell(looked)
    verdict: Verdict = "ours" if looked.shown else "not_ours" if reason is None else "cannot_tell"
    told = verified(looked, [each for each in found if each is not None], verdict, reason)
    unknown = [_foreign(shown, looked, keys) for shown, each in zip(looked.shown, found, strict=True) if each is None]
    windows = [
        WindowScore(
            from_=round(each.from_s, 1), to=round(each.to_s, 1), score=round(each.best, 2), searched=each.searched
        )
        for each in looked.seen
    ]
    fields = {name: getattr(told, name) for name in type(told).model_fields}
    return VerificationReport(**fields, unknown=unknown, windows=windows, threshold=OURS)


def _foreign(shown: Appearance, looked: Looked, keys: MarkKeyring) -> ForeignMark:
    from schemas.verification import ForeignMark

    key, file_id = keys.get(shown.key_id), looked.opened.file_id if looked.opened else None
    tag = None if shown.tag is None else f"{shown.tag:010x}"
    if key is None or file_id is None or key.tag(file_id) != shown.tag:
        file_id = None
    return ForeignMark(key_id=shown.key_id, tag=tag, file_id=file_id, score=round(shown.score, 1))


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as failed:
        raise fail(f"{plain(str(path))} could not be written: {failed.strerror}.", CANNOT_TELL) from None


# What is printed


def _print(told: VerificationReport) -> None:
    for line in lines(told):
        out.print(plain(line), markup=False, highlight=False, soft_wrap=True)


def lines(told: VerificationReport) -> list[str]:
    """The verdict first, alone on its line."""
    said = [told.verdict.replace("_", " ")]
    if told.reason is not None:
        said.append(told.reason)
    for each in told.sessions:
        said += _session(each)
    said += [_unknown(each) for each in told.unknown]
    said += [_break(each) for each in told.breaks]
    said += [f"unread {_stretch(each)}: could not be decoded" for each in told.clip.unread]
    if told.verdict == "not_ours":
        best = max((each.score for each in told.windows), default=0.0)
        searched = sum(each.searched for each in told.windows)
        said.append(
            f"{len(told.windows)} windows looked at, {searched} of them everywhere; the best score is {best:.1f} of"
            f" {told.threshold:.0f}."
        )
    return said


def _session(shown: ShownSession) -> list[str]:
    facts = f"account {shown.account_id}  avatar {shown.avatar_id}  {shown.quality}  score {shown.score}"
    spans = [f"  {_span(span)}" for span in shown.spans]
    return [
        f"{shown.id}  {facts}",
        *(spans or ["  which of its seconds it shows cannot be read; a longer part may tell"]),
    ]


def _unknown(mark: ForeignMark) -> str:
    if mark.file_id is not None:
        return f"{mark.file_id}, a file of `greenroom render`, score {mark.score}"
    may = "A longer part may tell." if mark.tag is None else "It may be a file of `greenroom render`."
    named = f"a mark of key {mark.key_id}, tag {mark.tag or 'unreadable'}, score {mark.score}"
    return f"{named}: none of the sessions that were looked at has it. {may}"


def _break(found: Break) -> str:
    if found.kind == "gap":
        return f"gap {_stretch(found)}: none of the sessions that were looked at"
    if found.skipped_seconds is None:
        return f"cut at {_stretch(found)}: to another session"
    return f"cut at {_stretch(found)}: the session's seconds jump by {found.skipped_seconds:+.1f}"


def _stretch(part: Seconds) -> str:
    return f"{_clock(part.from_)}–{_clock(part.to)}"


def _span(span: ShownSpan) -> str:
    shown = f"{_stretch(span)} shows its seconds {span.session_from:.1f}–{span.session_to:.1f}"
    length = span.session_to - span.session_from
    billed = f" ({span.billed_seconds:.1f} of {length:.1f} s)" if span.ledger in ("billed", "partly") else ""
    return f"{shown}, {span.began_at} to {span.ended_at}, {_LEDGER[span.ledger]}{billed}"


def _clock(seconds: float) -> str:
    whole, tenths = divmod(round(seconds * 10), 10)
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{whole:02d}.{tenths}"
