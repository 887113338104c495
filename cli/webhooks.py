"""`greenroom webhooks`: what operators look at, and `listen`, for a developer's first day."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from cli.accounts import account_id
from cli.console import err, fail, out, with_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

    from cli.receiver import Received
    from schemas.jsons import JsonObject
    from store.database import Connection
    from store.endpoints import Endpoint
    from store.outcomes import Delivery
    from store.replays import Replayed

webhooks_app = typer.Typer(help="Webhooks: endpoints, deliveries, and a receiver to try them.", no_args_is_help=True)

_ID = 31


@webhooks_app.command("list")
def list_endpoints(account: Annotated[str | None, typer.Argument(help="Its id or name; default: all.")] = None) -> None:
    """List the endpoints, with those that fail."""
    from store import endpoints

    async def look(connection: Connection) -> Sequence[Endpoint]:
        return await endpoints.every(connection, None if account is None else await account_id(connection, account))

    whole = (Column(name, no_wrap=True, min_width=_ID) for name in ("id", "account"))
    table = Table(*whole, "url", "events", "state")
    for each in with_database(look):
        table.add_row(each.id, each.account_id, each.url, " ".join(each.events), _state(each))
    out.print(table)


def _state(endpoint: Endpoint) -> str:
    if not endpoint.enabled:
        return f"disabled: {endpoint.disabled_reason or 'by its customer'}"
    return f"failing since {endpoint.failing_since:%Y-%m-%d %H:%M}" if endpoint.failing_since else "ok"


@webhooks_app.command("deliveries")
def list_deliveries(
    account: Annotated[str, typer.Argument(help="Its id or name.")],
    status: Annotated[Literal["pending", "delivered", "given_up"] | None, typer.Option()] = None,
    endpoint: Annotated[str | None, typer.Option(help="Its id.")] = None,
    session: Annotated[str | None, typer.Option(help="Its id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List an account's deliveries, the newest event first."""
    from store import outcomes

    async def look(connection: Connection) -> list[Delivery]:
        found: list[Delivery] = []
        only = outcomes.DeliveryFilter(endpoint, session, None, status)
        before: str | None = None
        of = await account_id(connection, account)
        while len(found) < limit:
            more, before = await outcomes.page(connection, of, only, before, limit - len(found))
            found += more
            if before is None:
                break
        return found

    table = Table(Column("id", no_wrap=True, min_width=_ID), "type", "status", "attempts", "session", "next, or end")
    for each in with_database(look):
        state = each.state if each.reason is None else f"{each.state}: {each.reason}"
        at = each.next_at if each.finished_at is None else each.finished_at
        table.add_row(each.id, each.type, state, str(each.attempts), each.session_id, f"{at:%Y-%m-%d %H:%M:%S}")
    out.print(table)


@webhooks_app.command("redeliver")
def redeliver(account: Annotated[str, typer.Argument(help="Its id or name.")], delivery: str) -> None:
    """Send one again, now, under the id that it has."""
    from store import replays

    async def again(connection: Connection) -> bool:
        return await replays.redeliver(connection, await account_id(connection, account), delivery)

    try:
        known = with_database(again)
    except replays.EndpointDisabled:
        raise fail("Its endpoint is disabled: nothing is sent to it until its customer enables it.") from None
    if not known:
        raise fail(f"{account} has no delivery {delivery}; see `greenroom webhooks deliveries {account}`.")
    out.print(f"{delivery} is sent again.")


@webhooks_app.command("replay")
def replay(
    account: Annotated[str, typer.Argument(help="Its id or name.")],
    endpoint: Annotated[str, typer.Argument(help="Its id.")],
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="In UTC.")] = None,
    session: Annotated[str | None, typer.Option(help="Of this session alone.")] = None,
    after_seq: Annotated[int, typer.Option(min=0, help="With --session.")] = 0,
) -> None:
    """Send what the account's feed has since then, or of one session, to an endpoint."""
    from schemas.times import from_datetime
    from store import endpoints, feed, replays

    if (since is None) == (session is None):
        raise fail("Give --since or --session.")

    async def again(connection: Connection) -> int:
        of = await account_id(connection, account)
        found = await endpoints.find(connection, of, endpoint)
        if found is None:
            raise fail(f"{account} has no endpoint {endpoint}; see `greenroom webhooks list {account}`.")
        if since is None:
            return (await replays.replay_session(connection, found, session or "", after_seq)).deliveries
        done = replays.Replayed(0, await feed.since(connection, of, from_datetime(since.replace(tzinfo=UTC))), True)
        return await _to_the_end(connection, found, done)

    try:
        out.print(f"{with_database(again)} deliveries are sent, 50 a second.")
    except replays.EndpointDisabled:
        raise fail("This endpoint is disabled: nothing is sent to it until its customer enables it.") from None


async def _to_the_end(connection: Connection, endpoint: Endpoint, done: Replayed) -> int:
    from store import replays

    made = 0
    while done.more:
        done = await replays.replay(connection, endpoint, done.through)
        made += done.deliveries
        err.print(f"… {made}")
    return made


@webhooks_app.command("listen")
def listen(
    key: Annotated[str | None, typer.Option(envvar="GREENROOM_API_KEY", help="Default: this folder's stack's.")] = None,
    api: Annotated[str | None, typer.Option(envvar="GREENROOM_API_URL", help="Default: this folder's stack.")] = None,
    events: Annotated[
        list[str] | None, typer.Option("--event", help="A type, or session.*; repeatable. Default: *.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
) -> None:
    """Make an endpoint on this machine, verify and print what comes, and remove it at the end (Ctrl-C)."""
    from cli import stack

    described = stack.running() or {}
    url, secret = api or described.get("api_url"), key or described.get("api_key")
    if url is None or secret is None:
        raise fail("No stack runs in this folder: give --api and --key, or `greenroom up` first.")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_listen(str(url), str(secret), events or ["*"], port))


async def _listen(url: str, key: str, events: list[str], port: int) -> None:
    import httpx

    from cli.receiver import Receiver
    from stack.ports import free_ports

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        Receiver(port or free_ports(1)[0], _print) as receiver,
        httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=10) as client,
    ):
        made = await _asked(client, "POST", "/v1/webhook_endpoints", {"url": receiver.url, "events": events})
        receiver.secret = str(made["secret"])
        err.print(f"{made['id']} listens at {receiver.url} for {' '.join(events)}. Ctrl-C removes it.")
        try:
            await stop.wait()
        finally:
            await _asked(client, "DELETE", f"/v1/webhook_endpoints/{made['id']}")


def _print(seen: Received) -> None:
    data = seen.body["data"]
    parts = (seen.body["timestamp"], seen.type, data.get("id", ""), data.get("status", ""), seen.id)
    out.print("  ".join(str(part) for part in parts if part), markup=False, highlight=False, soft_wrap=True)


async def _asked(client: httpx.AsyncClient, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
    """Its answer. Raises typer.Exit with what the API says."""
    import httpx

    try:
        answer = await client.request(method, path, json=body)
    except httpx.TransportError as failed:
        raise fail(f"The API at {client.base_url} cannot be reached ({type(failed).__name__}).") from None
    content: JsonObject = answer.json() if answer.content else {}
    if answer.is_error:
        raise fail(f"The API answers: {content['error']['message']}")
    return content
