"""`greenroom`: run the system, look after it, check its bills."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.accounts import accounts_app, plans_app
from cli.adjust import adjust
from cli.archive import export, restore
from cli.avatars import avatars_app
from cli.bills import audit
from cli.console import WAIT_S, err, fail, leaving_threads, out, run_to_the_end
from cli.credits import credits_app
from cli.dead_letters import dead_letters_app
from cli.erase import erase
from cli.faces import faces_app, need_nets, need_neural, render, train_app
from cli.inspect import inspect
from cli.keys import keys_app
from cli.parked import parked_app
from cli.proofs import days, prove
from cli.rates import rates_app
from cli.replay import replay
from cli.sessions import sessions_app
from cli.top import top
from cli.usage import usage_app
from cli.verification import verify
from cli.webhooks import webhooks_app
from cli.workers import workers_app
from faces.confined import keep_to_itself
from projections.names import Name
from schemas.logs import configure_logging

app = typer.Typer(
    name="greenroom",
    help="Self-hosted realtime avatars, event-sourced on Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
topics_app = typer.Typer(help="Kafka topics.", no_args_is_help=True)
schemas_app = typer.Typer(help="The published schemas (for maintainers).", no_args_is_help=True)


class Renderers(StrEnum):
    neural = "neural"
    mock = "mock"


# One machine


@app.command(rich_help_panel="One machine")
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it is ready.")] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Start a process again when its code changes.")] = False,
) -> None:
    """Start Kafka, PostgreSQL, LiveKit and all processes here, and wait until they are ready."""
    from cli import stack
    from cli.running import running

    if (described := running()) is not None:
        stack.tell_running(described)
    elif detach:
        stack.describe(stack.up_detached(reload)[0])
    else:
        asyncio.run(stack.up(reload))


@app.command(rich_help_panel="One machine")
def down() -> None:
    """Stop this folder's stack."""
    from cli import stack

    err.print("Stopped." if stack.down() else "No stack runs in this folder.")


@app.command(rich_help_panel="One machine")
def env() -> None:
    """Print this folder's stack as variables of a shell, secrets included: eval "$(greenroom env)"."""
    from cli import shell
    from cli.running import running

    if (described := running()) is None:
        raise fail("No stack runs in this folder: `greenroom up --detach` first.")
    typer.echo(shell.exports(described))


@app.command(rich_help_panel="One machine")
def reset(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Forget all data of this folder's stack. Downloads stay."""
    from cli import stack
    from cli.running import running

    if running() is not None:
        raise fail("A stack runs in this folder: `greenroom down` first.")
    if not yes:
        typer.confirm("Delete the Kafka log, the database and the keys of this folder's stack?", abort=True)
    stack.reset()


@app.command(rich_help_panel="One machine")
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where frame.png and clip.mp4 are written.")] = Path("demo-out"),
    renderer: Annotated[Renderers, typer.Option(help="mock does without torch.")] = Renderers.neural,
    console: Annotated[
        bool, typer.Option("--console", help="Leave the stack up, with the session to look at in the console.")
    ] = False,
) -> None:
    """Act as a customer: a room, speech, one session, a webhook, a video of it, the bill and its audit."""
    from cli import demo as demonstration

    if renderer is Renderers.mock:
        os.environ["GREENROOM_WORKER_RENDERER"] = "mock"
    else:
        need_neural()
    raise typer.Exit(demonstration.main(folder, "mock" if renderer is Renderers.mock else None, console))


# Processes


@app.command(rich_help_panel="Processes")
def api() -> None:
    """The REST API."""
    import uvloop

    from api.server import serve
    from api.settings import ApiSettings
    from faces.mark.keys import BadMarkKeys, MarkKeyring
    from store.accounts import PepperMissing

    settings = ApiSettings()
    try:
        if spec := settings.mark_keys.get_secret_value():
            MarkKeyring(spec)  # else each clip would find it out
        run_to_the_end(serve(settings), run=uvloop.run)
    except (PepperMissing, BadMarkKeys) as wrong:
        raise fail(str(wrong)) from None


@app.command(rich_help_panel="Processes")
def worker() -> None:
    """A worker: joins rooms and publishes faces. Needs Kafka, no database."""
    from faces.mark.keys import BadMarkKeys
    from workers.renderers import UnknownRenderer, require
    from workers.settings import WorkerSettings
    from workers.supervisor import serve

    settings = WorkerSettings()
    try:
        require(settings.worker_renderer)
        settings.mark_key()
    except (UnknownRenderer, BadMarkKeys) as wrong:
        raise fail(str(wrong)) from None
    run_to_the_end(serve(settings))


@app.command(rich_help_panel="Processes")
def project(which: Annotated[Literal[Name, "all"], typer.Argument(help="`all` runs them in one process.")]) -> None:
    """What is derived from the log (sessions, usage, avatars) and what reacts to it (webhooks, roster)."""
    import uvloop

    from events.signing import NoSigningKey
    from projections import names
    from reactors.processes import project as run_projections
    from reactors.settings import ProjectSettings

    wanted = names.ALL if which == "all" else (which,)
    try:
        run_to_the_end(run_projections(ProjectSettings(), wanted), run=uvloop.run)
    except NoSigningKey as wrong:
        raise fail(str(wrong)) from None


@app.command(rich_help_panel="Processes")
def deliver() -> None:
    """Send webhooks, signed, with retries."""
    import uvloop

    from reactors.processes import deliver as run_deliverer
    from reactors.settings import DeliverSettings

    run_to_the_end(run_deliverer(DeliverSettings()), run=uvloop.run)


@app.command(rich_help_panel="Processes")
def live() -> None:
    """Live windows: what happens each minute, by account, worker and quality. Needs the `live` extra."""
    from reactors.live import serve
    from reactors.settings import LiveSettings

    if importlib.util.find_spec("faust") is None:
        raise fail("Live windows need faust-streaming: install greenroom[live].")
    with leaving_threads():
        run_to_the_end(serve(LiveSettings()))


@app.command(rich_help_panel="Processes")
def build() -> None:
    """Build avatars from uploaded portraits. Needs the `neural` extra, Kafka and the asset folder, no database."""
    need_neural()
    need_nets()
    from workers.build import serve
    from workers.settings import BuildSettings

    run_to_the_end(serve(BuildSettings()))


# Operation


@app.command(rich_help_panel="Operation")
def migrate() -> None:
    """Bring the database schema up to date."""
    from store.migrate import migrate as run_migrations
    from store.settings import DatabaseSettings

    run_migrations(DatabaseSettings().database_url)


@app.command(rich_help_panel="Operation")
def prune() -> None:
    """Delete what nobody needs any more, older than the GREENROOM_KEEP_… settings; the roster does it every hour."""
    from reactors.prune import prune as run_prune
    from reactors.settings import RetentionSettings
    from store.database import pool

    async def run() -> dict[str, int]:
        settings = RetentionSettings()
        async with pool(settings.database_url, 1, WAIT_S) as connections:
            return await run_prune(connections, settings)

    for table, count in run_to_the_end(run()).items():
        out.print(f"{table}: {count} rows deleted")


@topics_app.command("apply")
def apply_topics(replication: Annotated[int, typer.Option(help="Copies of each partition.")] = 1) -> None:
    """Create missing topics and correct the settings of the others."""
    from events import topics
    from events.settings import LogSettings

    settings = LogSettings()
    try:
        made = run_to_the_end(topics.apply(settings.kafka_bootstrap, settings.topic_prefix, replication))
    except topics.TopicError as wrong:
        raise fail(str(wrong)) from None
    out.print(f"{len(made)} topics created, {len(topics.ALL) - len(made)} already there.")


@schemas_app.command("write")
def write_schemas() -> None:
    """Write the generated JSON Schemas, the AsyncAPI document and the OpenAPI document."""
    from api.app import published_document
    from schemas.documents import OPENAPI, documents, readable

    for path, content in (*documents(), (OPENAPI, readable(published_document()))):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


app.add_typer(schemas_app, name="schemas", rich_help_panel="Operation")
app.add_typer(accounts_app, name="accounts", rich_help_panel="Operation")
app.add_typer(keys_app, name="keys", rich_help_panel="Operation")
app.add_typer(avatars_app, name="avatars", rich_help_panel="Operation")
app.add_typer(plans_app, name="plans", rich_help_panel="Operation")
app.add_typer(credits_app, name="credits", rich_help_panel="Operation")
app.add_typer(webhooks_app, name="webhooks", rich_help_panel="Operation")
app.add_typer(topics_app, name="topics", rich_help_panel="Operation")
app.add_typer(dead_letters_app, name="dead-letters", rich_help_panel="Operation")
app.add_typer(parked_app, name="parked", rich_help_panel="Operation")
app.command(rich_help_panel="Operation")(top)
app.add_typer(sessions_app, name="sessions", rich_help_panel="Operation")
app.add_typer(workers_app, name="workers", rich_help_panel="Operation")
app.command(rich_help_panel="Bills")(audit)
app.command(rich_help_panel="Bills")(adjust)
app.command(rich_help_panel="Bills")(prove)
app.command(rich_help_panel="Bills")(days)
app.add_typer(rates_app, name="rates", rich_help_panel="Bills")
app.add_typer(usage_app, name="usage", rich_help_panel="Bills")
app.command(rich_help_panel="Bills")(inspect)
app.command(rich_help_panel="Operation")(erase)
app.command(rich_help_panel="Operation")(replay)
app.command(rich_help_panel="Operation")(export)
app.command(rich_help_panel="Operation")(restore)
app.command(rich_help_panel="Faces")(render)
app.command(rich_help_panel="Faces")(verify)
app.add_typer(train_app, name="train", rich_help_panel="Faces")
app.add_typer(faces_app, name="faces", rich_help_panel="Faces")


def run() -> None:
    """The console script. Errors of the stack are sentences, not traces."""
    from stack.process import StackError

    keep_to_itself()
    configure_logging()
    try:
        app()
    except StackError as failed:
        err.print(str(failed), style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    run()
