"""Settings of everything that talks to the log. Every variable starts with GREENROOM_.

A class holds what its processes need and nothing else: `greenroom up` gives a process the variables of its class.
"""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.addresses import NetworkList


class LogSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GREENROOM_", extra="ignore", frozen=True)

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Kafka's bootstrap servers, comma-separated.")
    topic_prefix: str = Field("", description="Put before every topic name; lets several systems share one cluster.")


class InternalSettings(BaseSettings):
    """Where a process has /healthz, /readyz and /metrics. Each kind has a port of its own: `<kind>_metrics_port`."""

    model_config = SettingsConfigDict(env_prefix="GREENROOM_", extra="ignore", frozen=True)

    metrics_host: str = Field(
        "127.0.0.1",
        description="Address of the internal ports. They ask for no key: another address only in a network of your"
        " own, such as that of Compose.",
    )


class JoinSettings(LogSettings):
    """Workers, and the roster that lets them in."""

    join_secret: SecretStr = Field(
        SecretStr(""),
        description="Shared by workers and roster: signs worker state records. Without it no worker registers.",
    )


class RoomSettings(BaseSettings):
    """Whoever looks where `transport.url` leads: the API at a create, the worker before it connects."""

    model_config = SettingsConfigDict(env_prefix="GREENROOM_", extra="ignore", frozen=True)

    livekit_permitted_networks: NetworkList = Field(
        "",
        description="Comma-separated networks (CIDR) of your own that transport.url may lead to although they are"
        " private. The same for API and workers.",
    )
