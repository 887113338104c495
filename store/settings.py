"""Settings of everything that talks to Postgres."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from events.settings import LogSettings
from schemas.addresses import NetworkList


class DatabaseSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GREENROOM_", extra="ignore", frozen=True)

    database_url: str = Field("postgresql://postgres@/greenroom", description="PostgreSQL, as a libpq URL.")


class KeyringSettings(DatabaseSettings):
    """Whoever reads what is encrypted."""

    master_keys: SecretStr = Field(
        SecretStr(""),
        description="Master keys, `name:base64` of 32 bytes each, comma-separated; the first encrypts, all decrypt.",
    )


class KeySettings(KeyringSettings):
    """Whoever makes or checks API keys."""

    key_pepper: SecretStr = Field(
        SecretStr(""), description="Secret under which API keys and request bodies are hashed."
    )


class StoreSettings(LogSettings, DatabaseSettings):
    """The log, and what is derived from it."""


class WebhookSettings(KeyringSettings):
    """Where webhooks may lead."""

    webhook_allow_insecure: bool = Field(False, description="Allow http:// endpoints. For a local stack only.")
    webhook_permitted_networks: NetworkList = Field(
        "",
        description="Comma-separated networks (CIDR) of your own that endpoints may be in although they are private.",
    )
    nameservers: str = Field(
        "",
        description="Comma-separated `address` or `address:port` of the name servers that are asked for hosts which"
        " customers name; empty: the machine's own.",
    )
