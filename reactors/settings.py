"""Settings of `greenroom project`, `greenroom deliver`, `greenroom prune` and `greenroom usage`."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, SecretStr

from events.settings import InternalSettings, JoinSettings
from store.settings import DatabaseSettings, KeyringSettings, StoreSettings, WebhookSettings


class RetentionSettings(DatabaseSettings):
    """`keep_…`: what `greenroom prune`, and the roster once an hour, deletes when it is older."""

    keep_idempotency_keys_hours: float = Field(
        24, gt=0, description="Idempotency keys with their stored answers; clients are told 24 hours."
    )
    keep_deliveries_days: float = Field(30, gt=0, description="Finished webhook deliveries, with their attempts.")
    keep_events_days: float = Field(30, gt=0, description="Events of the accounts' feeds.")
    keep_fold_states_days: float = Field(
        7, gt=0, description="What the roster knows of ended sessions, to judge late events by."
    )
    keep_abandoned_days: float = Field(
        7, gt=0, description="Which creates were abandoned; a late one may come for minutes."
    )
    keep_workers_days: float = Field(7, gt=0, description="Rows of workers that are gone.")


class LiveSettings(StoreSettings, InternalSettings):
    """Settings of `greenroom live`."""

    live_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of /healthz, /readyz, /metrics of `greenroom live`. 0: none."
    )
    keep_live_hours: float = Field(3, gt=0, le=72, description="Minutes of live windows, and how far back it begins.")
    live_accounts: int = Field(
        500, ge=1, le=100_000, description="Accounts that a minute counts apart; those beyond are summed as `other`."
    )


class ProjectSettings(JoinSettings, StoreSettings, KeyringSettings, RetentionSettings, InternalSettings):
    """Settings of `greenroom project`."""

    signing_key: SecretStr = Field(
        SecretStr(""),
        description="`name:base64` of 32 bytes: the Ed25519 key that `usage` signs days with. Empty: none is sealed.",
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of /healthz, /readyz, /metrics of `greenroom project`. 0: none."
    )


class DeliverSettings(WebhookSettings, InternalSettings):
    """Settings of `greenroom deliver`."""

    deliver_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of /healthz, /readyz, /metrics of `greenroom deliver`. 0: none."
    )


class FinanceSettings(StoreSettings):
    """Settings of `greenroom usage`."""

    price_per_credit: Decimal | None = Field(
        None, gt=0, description="Money of one credit, such as 0.12. Without it no export has any money in it."
    )
    currency: str | None = Field(None, pattern="^[A-Z]{3}$", description="Of the price: an ISO 4217 code such as USD.")
    provider_name: str = Field("Greenroom", min_length=1, description="Who provides and invoices, in exports.")
    stripe_url: str = Field("https://api.stripe.com", description="Where `greenroom usage stripe --send` sends to.")
    stripe_api_key: SecretStr = Field(
        SecretStr(""), description="A key of Stripe that may write meter events; a restricted one is enough."
    )
