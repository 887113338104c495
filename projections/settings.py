"""Settings of everything that talks to Postgres beside the log."""

from __future__ import annotations

from pydantic import Field, SecretStr

from events.settings import LogSettings


class StoreSettings(LogSettings):
    database_url: str = Field("postgresql://postgres@/greenroom", description="PostgreSQL, as a libpq URL.")
    master_keys: SecretStr = Field(
        SecretStr(""),
        description="Master keys, `name:base64` of 32 bytes each, comma-separated; the first encrypts, all decrypt.",
    )
    key_pepper: SecretStr = Field(
        SecretStr(""), description="Secret under which API keys and request bodies are hashed."
    )


class WebhookSettings(StoreSettings):
    webhook_allow_insecure: bool = Field(False, description="Allow http:// endpoints. For a local stack only.")
    webhook_permitted_networks: str = Field(
        "",
        description="Comma-separated networks (CIDR) of your own that endpoints may be in although they are private.",
    )
