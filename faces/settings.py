"""Settings of whatever stores or reads portraits and built faces."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class AssetSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GREENROOM_", extra="ignore", frozen=True)

    assets: Path = Field(
        Path(".greenroom/assets"),
        description="Folder of portraits and built faces, the same one for API, builder and workers.",
    )
