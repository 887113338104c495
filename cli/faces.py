"""`greenroom render`, and for maintainers `greenroom train` and `greenroom faces`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli.console import err, fail
from schemas import moods
from schemas.avatars import Background, Shape, asked_for
from schemas.labels import USUAL_CORNER, Corner, Label

if TYPE_CHECKING:
    from faces.face import Face
    from faces.mark.keys import MarkKey

train_app = typer.Typer(help="Train the models (for maintainers).", no_args_is_help=True)
faces_app = typer.Typer(help="The stock faces (for maintainers).", no_args_is_help=True)


class Formats(StrEnum):
    lite = "lite"
    standard = "standard"
    pro = "pro"


def need_neural() -> None:
    from workers.renderers import neural_missing

    if (missing := neural_missing()) is not None:
        raise fail(missing)


def need_nets() -> None:
    from faces.nets import missing

    if (reason := missing()) is not None:
        raise fail(reason)


def render(
    audio: Annotated[Path, typer.Option(help="A sound file: wav, flac, mp3, …", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="The video to write, mp4.")],
    avatar: Annotated[str, typer.Option(help="A stock avatar, a portrait (PNG, JPEG), or a built face.")] = "av_demo",
    quality: Annotated[Formats, typer.Option(help="256, 512 or 720 pixels square, or 288, 576 or 720 wide.")] = (
        Formats.standard
    ),
    shape: Annotated[Shape, typer.Option(help="Of a portrait: portrait is 9:16 and needs a tall picture.")] = "square",
    background: Annotated[
        str | None, typer.Option(help="Behind a portrait: blur, green, a colour such as #20304a, or a PNG or JPEG.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Words drawn on each frame, such as AI-generated.")] = None,
    label_corner: Annotated[Corner, typer.Option(help="Where the label lies.")] = USUAL_CORNER,
    mood: Annotated[str, typer.Option(help=f"How it looks: {', '.join(moods.MOODS)}.")] = "neutral",
    session: Annotated[str, typer.Option(help="Nod, blink and look about as in the session of this id.")] = "",
) -> None:
    """Have a face speak a recording, and save it as a video. The file says that it is synthetic.

    With GREENROOM_MARK_KEYS its frames are marked, too: `greenroom verify` finds the mark in what becomes of them.
    """
    need_neural()
    if (look := moods.parse(mood)) is None:
        raise fail(moods.unknown(mood))
    from av.error import FFmpegError

    from faces import film, sound
    from faces.life import seed_of
    from faces.neural import NeuralRenderer
    from workers.renderers import format_of

    drawn, key = _label(label, label_corner), _mark_key()
    try:
        pcm = sound.read(audio)
    except sound.UnreadableSound as wrong:
        raise fail(str(wrong)) from None
    if not len(pcm):
        raise fail(f"{audio.name} holds no sound.")
    face = _face(avatar, shape, background)
    width = format_of(quality.value, "square" if face.below is None else "portrait").width
    with Progress(TextColumn("rendering"), BarColumn(), TimeRemainingColumn(), console=err, transient=True) as bar:
        task = bar.add_task("rendering")
        try:
            file_id = film.render(
                NeuralRenderer(), face, width, pcm, out,
                lambda done, total: bar.update(task, completed=done, total=total), drawn,
                seed_of(session), look, key,
            )  # fmt: skip
        except (FFmpegError, OSError) as failed:
            raise fail(f"{out} cannot be written: {failed}") from None
    unmarked = "" if key is not None else " It has no mark: GREENROOM_MARK_KEYS is not set."
    err.print(f"Wrote {out}, {file_id}.{unmarked}")


def _mark_key() -> MarkKey | None:
    from faces.mark.keys import BadMarkKeys, MarkKeyring
    from faces.settings import MarkSettings

    spec = MarkSettings().mark_keys.get_secret_value()
    try:
        return MarkKeyring(spec).current if spec else None
    except BadMarkKeys as wrong:
        raise fail(str(wrong)) from None


def _label(text: str | None, corner: Corner) -> Label | None:
    from faces.label import clean, problem

    if text is None:
        return None
    if (wrong := problem(clean(text))) is not None:
        raise fail(wrong)
    return Label(clean(text), corner)


def _face(avatar: str, shape: Shape, background: str | None) -> Face:
    from faces import face as faces
    from faces.backdrop import behind
    from faces.fit import Unfit, fit, opened
    from faces.nets import Missing
    from faces.portrait import BadImage, decode
    from schemas.avatars import STOCK

    if avatar in STOCK:
        if (shape, background) != ("square", None):
            raise fail("A shape and a background are of portraits; stock avatars are as they are drawn.")
        return faces.stock(avatar)
    try:
        data = Path(avatar).read_bytes()
    except OSError:
        raise fail(f"There is no stock avatar and no file {avatar}; stock avatars are {', '.join(STOCK)}.") from None
    try:
        if data[:2] == b"PK":
            if (shape, background) != ("square", None):
                raise fail("A built face has its shape and its background already.")
            return opened(data)
        face = fit(decode(data), shape=shape)
        if background is None:
            return face
        if (asked := asked_for(background)) is not None:
            return behind(face, asked)
        return behind(face, Background("image"), decode(_read(background)))
    except (faces.UnreadableFace, BadImage, Unfit, Missing) as wrong:
        raise fail(f"{avatar} cannot be used: {wrong}") from None


def _read(picture: str) -> bytes:
    try:
        return Path(picture).read_bytes()
    except OSError:
        raise fail(
            f"There is no file {picture}; a background is blur, green, a colour such as #20304a, or a PNG or JPEG."
        ) from None


@train_app.command("visemes")
def train_visemes() -> None:
    """Make the speech, train the audio net, write weights, model card and learning curves. 15 minutes."""
    need_neural()
    from faces.training.speech import Missing
    from faces.training.visemes import CARD, CURVES, Recipe, make

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as bar:
        tasks = {name: bar.add_task(name, total=None) for name in ("speaking", "training")}
        try:
            done = make(Recipe(), lambda what, now, of: bar.update(tasks[what], completed=now, total=of))
        except Missing as missing:
            raise fail(str(missing)) from None
    for name, scores in done.curves.held.items():
        err.print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in scores[-1].items()))
    err.print(f"{done.seconds / 60:.1f} minutes; wrote the weights, {CARD.name} and {CURVES.name}.")


@train_app.command("judge-speech")
def judge_speech() -> None:
    """Make the speech that the tests show to a face, with its truth."""
    need_neural()
    from faces.training.judge_speech import write
    from faces.training.speech import Missing

    try:
        write(Path("tests/assets"))
    except Missing as missing:
        raise fail(str(missing)) from None


@faces_app.command("draw")
def draw_faces() -> None:
    """Draw the stock faces anew."""
    need_neural()
    need_nets()
    from faces.stock.make import write

    err.print(f"Drew {', '.join(write())}.")
