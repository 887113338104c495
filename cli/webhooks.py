"""`greenroom webhooks`: what operators look at, and `listen`, for a developer's first day."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from cli.accounts import Account, account_id
from cli.console import WAIT_S, err, fail, out, run_to_the_end, with_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

    from cli.receiver import Received
    from schemas.jsons import JsonObject
    from store.database import Connection, Pool
    from store.endpoints import Endpoint
    from store.outcomes import Delivery

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
    account: Account,
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
def redeliver(account: Account, delivery: str) -> None:
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
    account: Account,
    endpoint: Annotated[str, typer.Argument(help="Its id.")],
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="In UTC.")] = None,
    after: Annotated[int | None, typer.Option(min=0, help="A position of the feed: what comes behind it.")] = None,
    session: Annotated[str | None, typer.Option(help="Of this session alone.")] = None,
) -> None:
    """Send what the account's feed has, since then or of one session, to an endpoint, 50 a second."""
    from store import replays

    if sum(each is not None for each in (since, after, session)) != 1:
        raise fail("Give one of --since, --after and --session.")
    try:
        made = run_to_the_end(_replay(account, endpoint, since, after, session))
    except replays.EndpointDisabled:
        raise fail("This endpoint is disabled: nothing is sent to it until its customer enables it.") from None
    out.print(f"{made} deliveries are sent.")


async def _replay(account: str, endpoint: str, since: datetime | None, after: int | None, session: str | None) -> int:
    from schemas.times import from_datetime
    from store import endpoints, feed, replays
    from store.database import pool
    from store.settings import DatabaseSettings

    async with pool(DatabaseSettings().database_url, 1, WAIT_S) as connections:
        async with connections.connection() as connection:
            of = await account_id(connection, account)
            found = await endpoints.find(connection, of, endpoint)
            if found is None:
                raise fail(f"{account} has no endpoint {endpoint}; see `greenroom webhooks list {account}`.")
            if session is not None:
                return await replays.replay_session(connection, found, session, 0)
            if since is not None:
                after = await feed.since(connection, of, from_datetime(since.replace(tzinfo=UTC)))
        try:
            return await _to_the_end(connections, found, after or 0)
        except feed.Beyond:
            raise fail(f"{after} is beyond the last event of the feed.") from None
        except feed.Pruned as pruned:
            raise fail(f"What comes behind {after} is no longer kept: --after {pruned.oldest - 1}.") from None


async def _to_the_end(connections: Pool, endpoint: Endpoint, after: int) -> int:
    from store import replays

    made = 0
    while True:
        done = await replays.replay(connections, endpoint, after)
        made, after = made + done.deliveries, done.through
        if not done.more:
            return made
        err.print(f"{made} up to position {after} …")


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
    from cli.running import running

    described = running() or {}
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
