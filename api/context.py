"""What every request needs of its process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fastapi import Request

from api.hosts import LiveKitHosts
from api.settings import ApiSettings
from events.producer import EventProducer
from events.sealing import Keyring
from faces.assets import Assets
from projections.accounts import DataKeys
from projections.database import Pool
from projections.resolving import WebhookHosts


@dataclass
class Context:
    settings: ApiSettings
    pool: Pool
    producer: EventProducer
    keyring: Keyring
    data_keys: DataKeys
    assets: Assets
    webhook_hosts: WebhookHosts
    livekit_hosts: LiveKitHosts
    decoders: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Pictures that are decoded at once: each may take 200 MB."""
    slot_free: asyncio.Event = field(default_factory=asyncio.Event)
    waiters: int = 0
    acknowledged: list[tuple[str, bool]] = field(default_factory=list)
    """(session, whether it has an idempotency key) of creates in the log; marked in the background, many at once."""


async def context(request: Request) -> Context:
    """Async, so that FastAPI does not run it in a thread."""
    found: Context = request.app.state.context
    return found
