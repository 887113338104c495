"""Settings of `greenroom api`."""

from __future__ import annotations

from pydantic import Field, SecretStr

from events.settings import InternalSettings, RoomSettings
from faces.settings import AssetSettings, MarkSettings
from store.settings import KeySettings, StoreSettings, WebhookSettings


class ApiSettings(
    StoreSettings, KeySettings, WebhookSettings, AssetSettings, MarkSettings, RoomSettings, InternalSettings
):
    api_host: str = Field("127.0.0.1", description="Address that the public API listens on.")
    api_port: int = Field(8080, description="Port of the public API.")
    internal_port: int = Field(0, ge=0, le=65535, description="Port of the API's /healthz, /readyz, /metrics. 0: none.")
    api_connections: int = Field(
        4096,
        ge=16,
        description="Connections of clients at once. Beyond, those that ask for nothing are closed first. Streams and"
        " long polls take three quarters of them at the most.",
    )
    api_head_s: float = Field(10.0, gt=0, description="Seconds for the head of a request to arrive.")
    api_body_s: float = Field(60.0, gt=0, description="Seconds for the body of a request to arrive.")
    api_pool: int = Field(16, description="Connections to Postgres per API process.")
    avatar_consent_required: bool = Field(
        True,
        description="Portraits are taken only with the field `consent`: whoever uploads says that the person shown has"
        " agreed. `greenroom up` sets it to false, since the published clients do not know the field.",
    )
    capacity_wait_seconds: float = Field(2.0, ge=0, le=3, description="How long a create waits for a free slot.")
    capacity_waiters: int = Field(256, description="Creates of one process that may wait for a slot at once.")
    console_livekit_url: str = Field(
        "",
        description="LiveKit in which the console may make rooms and look into those of sessions, as workers reach it;"
        " empty: it does neither, and takes tokens that are pasted.",
    )
    console_livekit_public_url: str = Field("", description="The same as browsers reach it; empty: by the same URL.")
    console_livekit_key: str = Field("", description="Key of that LiveKit.")
    console_livekit_secret: SecretStr = Field(SecretStr(""), description="Secret of that key.")
