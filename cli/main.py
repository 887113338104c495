"""`greenroom`: run the system, look after it, check its bills."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from cli.faces import faces_app, need_neural, render, train_app
from schemas.logs import configure_logging
from schemas.times import from_wire

app = typer.Typer(
    name="greenroom",
    help="Self-hosted realtime avatars, event-sourced on Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
keys_app = typer.Typer(help="API keys.", no_args_is_help=True)
topics_app = typer.Typer(help="Kafka topics.", no_args_is_help=True)
parked_app = typer.Typer(help="Sessions that a consumer could not read.", no_args_is_help=True)
schemas_app = typer.Typer(help="The published schemas (for maintainers).", no_args_is_help=True)
app.command(rich_help_panel="Faces")(render)
app.add_typer(train_app, name="train", rich_help_panel="Faces")
app.add_typer(faces_app, name="faces", rich_help_panel="Faces")
app.add_typer(schemas_app, name="schemas", rich_help_panel="Operation")
app.add_typer(keys_app, name="keys", rich_help_panel="Operation")
app.add_typer(topics_app, name="topics", rich_help_panel="Operation")
app.add_typer(parked_app, name="parked", rich_help_panel="Operation")

T = TypeVar("T")
_CLI_WAIT_S = 5.0

out = Console()
err = Console(stderr=True)


class Projections(StrEnum):
    sessions = "sessions"
    usage = "usage"
    avatars = "avatars"
    webhooks = "webhooks"
    roster = "roster"
    all = "all"


class Renderers(StrEnum):
    neural = "neural"
    mock = "mock"


def fail(message: str, code: int = 1) -> typer.Exit:
    err.print(message, style="red", markup=False)
    return typer.Exit(code)


# One machine


@app.command(rich_help_panel="One machine")
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it is ready.")] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Start a process again when its code changes.")] = False,
) -> None:
    """Start Kafka, PostgreSQL, LiveKit and all processes here, and wait until they are ready."""
    from cli import stack

    if (described := stack.running()) is not None:
        err.print("A stack already runs in this folder; nothing was changed.")
        stack.describe(described)
    elif detach:
        stack.describe(stack.up_detached(reload))
    else:
        asyncio.run(stack.up(reload))


@app.command(rich_help_panel="One machine")
def down() -> None:
    """Stop this folder's stack."""
    from cli import stack

    err.print("Stopped." if stack.down() else "No stack runs in this folder.")


@app.command(rich_help_panel="One machine")
def reset(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Forget all data of this folder's stack. Downloads stay."""
    from cli import stack

    if stack.running() is not None:
        raise fail("A stack runs in this folder: `greenroom down` first.")
    if not yes:
        typer.confirm("Delete the Kafka log, the database and the keys of this folder's stack?", abort=True)
    stack.reset()


@app.command(rich_help_panel="One machine")
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where frame.png and clip.mp4 are written.")] = Path("demo-out"),
    renderer: Annotated[Renderers, typer.Option(help="mock does without torch.")] = Renderers.neural,
) -> None:
    """Act as a customer: a room, speech, one session, a webhook, a video of it, the bill and its audit."""
    from cli import demo as demonstration

    if renderer is Renderers.mock:
        os.environ["GREENROOM_WORKER_RENDERER"] = "mock"
    else:
        need_neural()
    raise typer.Exit(demonstration.main(folder, "mock" if renderer is Renderers.mock else None))


# Processes


@app.command(rich_help_panel="Processes")
def api() -> None:
    """The REST API."""
    import uvloop

    from api.server import serve
    from api.settings import ApiSettings
    from store.accounts import PepperMissing

    try:
        uvloop.run(serve(ApiSettings()))
    except PepperMissing as missing:
        raise fail(str(missing)) from None


@app.command(rich_help_panel="Processes")
def worker() -> None:
    """A worker: joins rooms and publishes faces. Needs Kafka, no database."""
    from workers.renderers import UnknownRenderer, require
    from workers.settings import WorkerSettings
    from workers.supervisor import serve

    settings = WorkerSettings()
    try:
        require(settings.worker_renderer)
    except UnknownRenderer as unknown:
        raise fail(str(unknown)) from None
    _run(serve(settings))


@app.command(rich_help_panel="Processes")
def project(which: Annotated[Projections, typer.Argument(help="`all` runs them in one process.")]) -> None:
    """What is derived from the log (sessions, usage, avatars) and what reacts to it (webhooks, roster)."""
    from projections import names
    from reactors.processes import project as run_projections
    from reactors.settings import ProjectSettings

    _run(run_projections(ProjectSettings(), names.ALL if which is Projections.all else (which.value,)))


@app.command(rich_help_panel="Processes")
def deliver() -> None:
    """Send webhooks, signed, with retries."""
    from reactors.processes import deliver as run_deliverer
    from store.settings import WebhookSettings

    _run(run_deliverer(WebhookSettings()))


@app.command(rich_help_panel="Processes")
def build() -> None:
    """Build avatars from uploaded portraits. Needs the `neural` extra, Kafka and the asset folder, no database."""
    need_neural()
    from workers.build import serve
    from workers.settings import BuildSettings

    _run(serve(BuildSettings()))


# Operation


@app.command(rich_help_panel="Operation")
def migrate() -> None:
    """Bring the database schema up to date."""
    from store.database import migrate as run_migrations
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
        async with pool(settings.database_url, 1, _CLI_WAIT_S) as connections:
            return await run_prune(connections, settings)

    for table, count in _run(run()).items():
        out.print(f"{table}: {count} rows deleted")


@topics_app.command("apply")
def apply_topics(replication: Annotated[int, typer.Option(help="Copies of each partition.")] = 1) -> None:
    """Create missing topics and correct the settings of the others."""
    from events import topics
    from events.settings import LogSettings

    settings = LogSettings()
    try:
        made = _run(topics.apply(settings.kafka_bootstrap, settings.topic_prefix, replication))
    except topics.TopicError as wrong:
        raise fail(str(wrong)) from None
    out.print(f"{len(made)} topics created, {len(topics.ALL) - len(made)} already there.")


@keys_app.command("create")
def create_key(
    account: Annotated[str, typer.Option(help="Name of the account; made when there is none.")] = "default",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    plan: Annotated[str, typer.Option(help="Plan of a new account.")] = "self_hosted",
) -> None:
    """Make an API key. The secret is shown once."""
    from events.sealing import Keyring
    from store import accounts
    from store.settings import KeySettings

    settings = KeySettings()
    keyring = Keyring(settings.master_keys.get_secret_value())
    try:
        accounts.check_pepper(settings.key_pepper.get_secret_value())
    except accounts.PepperMissing as missing:
        raise fail(str(missing)) from None

    async def make(connection: Any) -> tuple[str, str]:
        found = await accounts.find_account(connection, account)
        found = found or await accounts.create_account(connection, account, plan, keyring)
        return await accounts.create_key(connection, found, name, settings.key_pepper.get_secret_value())

    key_id, secret = _with_database(make)
    err.print(f"Key {key_id} of account {account}. Keep the secret; it is not shown again.")
    out.print(secret, markup=False, highlight=False)


@keys_app.command("list")
def list_keys() -> None:
    """List the keys."""
    from store import accounts

    # ids are copied from here: never cut
    whole = (Column(name, no_wrap=True, min_width=31) for name in ("id", "account"))
    table = Table(*whole, "name", "key", "created", "revoked")
    for key_id, account, name, shown, created, revoked in _with_database(accounts.list_keys):
        table.add_row(
            key_id, account, name, shown, f"{created:%Y-%m-%d %H:%M}", f"{revoked:%Y-%m-%d %H:%M}" if revoked else ""
        )
    out.print(table)


@keys_app.command("revoke")
def revoke_key(key_id: str) -> None:
    """Revoke a key: at once for creates, within a second for reads."""
    from store import accounts

    if not _with_database(lambda connection: accounts.revoke_key(connection, key_id)):
        raise fail(f"There is no key {key_id} that could be revoked; see `greenroom keys list`.")
    out.print(f"{key_id} is revoked.")


@parked_app.command("list")
def list_parked() -> None:
    """Sessions whose events a consumer could not read yet."""

    async def load(connection: Any) -> list[tuple[Any, ...]]:
        cursor = await connection.execute(
            'SELECT consumer, session_id, partition, "offset", reason FROM parked ORDER BY 1, 2'
        )
        rows: list[tuple[Any, ...]] = await cursor.fetchall()
        return rows

    table = Table("consumer", "session", "partition", "offset", "reason")
    for row in _with_database(load):
        table.add_row(*(str(value) for value in row))
    out.print(table)


@schemas_app.command("write")
def write_schemas() -> None:
    """Write the generated JSON Schemas and the AsyncAPI document."""
    from schemas.documents import documents

    for path, content in documents():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


@app.command(rich_help_panel="Bills")
def audit(
    account: Annotated[str | None, typer.Option(help="Only this account's entries.")] = None,
    session: Annotated[str | None, typer.Option(help="Only this session's entries.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Recorded at or after this time.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Recorded before this time.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the verdict here, as JSON.")] = None,
) -> None:
    """Recompute every usage event from the log and compare it with the ledger.

    Exit 0: equal. 1: differs, each difference is named. 2: could not be read.
    """
    from projections import audit as auditing
    from store.database import pool
    from store.settings import StoreSettings

    try:
        scope = auditing.Scope(
            account, session, from_wire(since) if since else None, from_wire(until) if until else None
        )
    except ValueError as wrong:
        raise fail(f"--from and --to are ISO 8601 times: {wrong}", 2) from None

    async def run() -> auditing.Verdict:
        settings = StoreSettings()
        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("audit", total=None)
            async with pool(settings.database_url, 1, _CLI_WAIT_S) as connections:
                return await auditing.audit(
                    settings, connections, scope, lambda done, total: bar.update(task, completed=done, total=total)
                )

    try:
        verdict = _run(run(), code=2)
    except auditing.CannotRead as failed:
        raise fail(f"No verdict: {failed}", 2) from None
    if report is not None:
        report.write_bytes(orjson.dumps({"equal": verdict.equal, **asdict(verdict)}, option=orjson.OPT_INDENT_2))
    out.print(
        f"{verdict.events} events, {verdict.rejected} rejected, {verdict.malformed} malformed; "
        f"{verdict.sessions} sessions, {verdict.entries} entries, "
        f"{verdict.billable_ms / 1000:.3f} s, {verdict.credit_us / 60_000_000:.6f} credits"
    )
    for difference in verdict.differences:
        out.print(
            f"{difference.kind}: session {difference.session_id}, partition {difference.partition}, "
            f"offset {difference.offset}: {difference.detail}",
            markup=False,
        )
    if not verdict.equal:
        raise fail(f"The ledger differs from the log in {verdict.found} places.", 1)
    out.print("The ledger equals the log.", style="green")


def _with_database(work: Any) -> Any:
    """Call `work(connection)` on the database of the settings."""
    from store.database import pool
    from store.settings import DatabaseSettings

    async def run() -> Any:
        async with (
            pool(DatabaseSettings().database_url, 1, _CLI_WAIT_S) as connections,
            connections.connection() as connection,
        ):
            return await work(connection)

    return _run(run())


def _run(work: Coroutine[Any, Any, T], code: int = 1) -> T:
    """Run, and say in a sentence when Kafka or Postgres cannot be reached or lost events; that exits with `code`."""
    from aiokafka.errors import KafkaError

    from events.consumer import LogGap, Stuck
    from store.database import DatabaseUnreachable

    try:
        return asyncio.run(work)
    except (LogGap, Stuck) as failed:
        raise fail(str(failed), code) from None
    except KafkaError as failed:
        raise fail(
            f"Kafka cannot be reached: is GREENROOM_KAFKA_BOOTSTRAP right? ({type(failed).__name__})", code
        ) from None
    except DatabaseUnreachable:
        raise fail("The database cannot be reached: is GREENROOM_DATABASE_URL right?", code) from None
    except TimeoutError:
        raise fail("Kafka did not answer in time: is GREENROOM_KAFKA_BOOTSTRAP right?", code) from None
    except OSError as failed:  # a full disk, a taken port, a folder that may not be read
        raise fail(f"{failed.strerror or failed}: {failed.filename or 'see the log'}", code) from None


def run() -> None:
    """The console script. Errors of the stack are sentences, not traces."""
    from stack.process import StackError

    configure_logging()
    try:
        app()
    except StackError as failed:
        err.print(str(failed), style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    run()
