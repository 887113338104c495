"""Settings of whatever stores or reads portraits and built faces, marks frames or looks for the mark."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class AssetSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GREENROOM_", extra="ignore", frozen=True)

    assets: Path = Field(
        Path(".greenroom/assets"),
        description="Folder of portraits and built faces, the same one for API, builder and workers.",
    )


class MarkSettings(BaseSettings):
    """Whoever marks frames, and whoever looks for the mark."""

    model_config = SettingsConfigDict(env_prefix="GREENROOM_", extra="ignore", frozen=True)

    mark_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys of the mark in published frames, `name:base64` of 32 bytes each, comma-separated; the first"
        " marks, all verify. Without one no frame is marked.",
    )
