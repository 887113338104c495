"""What every request needs of its process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from api.decoders import Decoders
from api.hosts import LiveKitHosts
from api.lanes import Lanes
from api.news import News
from api.prices import Prices
from api.rates import Attempts
from api.remembered import Remembered
from api.settings import ApiSettings
from api.turns import Turns
from api.verifiers import Verifiers
from events.producer import EventProducer
from events.sealing import Keyring
from faces.assets import Assets
from schemas.background import Background
from schemas.status import StatusResource
from store.data_keys import DataKeys
from store.database import Pool
from store.plans import Plan
from store.resolving import WebhookHosts


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
    turns: Turns
    """Of creates that wait for a slot."""
    prices: Prices
    """The rate card in force."""
    lanes: Lanes
    """Of creates on their way to the database."""
    news: News
    """Who waits for news of what."""
    verifiers: Verifiers
    """Of clips."""
    decoders: Decoders = field(default_factory=Decoders)
    disk: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "assets"))
    """All that is written to the assets, one after the other."""
    attempts: Attempts = field(default_factory=Attempts)
    """Creates that keys have asked this process for."""
    rooms: Attempts = field(default_factory=partial(Attempts, per_create=1))
    speeches: Attempts = field(default_factory=partial(Attempts, per_create=1))
    """Of the console."""
    verifications: Attempts = field(default_factory=partial(Attempts, per_create=1))
    status: Remembered[StatusResource] = field(default_factory=Remembered)
    plans: Remembered[list[Plan]] = field(default_factory=Remembered)
    """Anybody may ask for these."""
    replaying: set[str] = field(default_factory=set)
    """Accounts whose replay is being put together."""
    leaving: Background = field(default_factory=Background)
    """What requests leave to be undone."""
    acknowledged: list[tuple[str, bool]] = field(default_factory=list)
    """(session, whether it has an idempotency key) of creates in the log; marked in the background, many at once."""


async def context(request: Request) -> Context:
    """Async, so that FastAPI does not run it in a thread."""
    found: Context = request.app.state.context
    return found


Ctx = Annotated[Context, Depends(context)]
