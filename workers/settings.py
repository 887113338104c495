"""Settings of `greenroom worker`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from events.settings import InternalSettings, JoinSettings, LogSettings, RoomSettings
from faces.mark.keys import MarkKey, MarkKeyring
from faces.settings import AssetSettings, MarkSettings


class BuildSettings(LogSettings, AssetSettings, InternalSettings):
    """Settings of `greenroom build`."""

    build_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of /healthz, /readyz, /metrics of `greenroom build`. 0: none."
    )


class WorkerSettings(JoinSettings, AssetSettings, MarkSettings, RoomSettings, InternalSettings):
    worker_metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of /healthz, /readyz, /metrics of a worker. 0: none. Two on one machine need two.",
    )
    worker_slots: int = Field(2, ge=1, le=64, description="Sessions that this worker holds at once.")
    worker_renderer: str = Field(
        "neural",
        description="Draws `lite`, `standard`, `pro`: `neural`, where torch is installed, or the name of another"
        " package's; `mock`: offer `mock` alone.",
    )
    worker_render_threads: int = Field(
        0, ge=0, le=256, description="CPU threads of the renderer process; 0: half of the cores."
    )
    worker_connect_timeout_s: float = Field(10.0, gt=0, le=60, description="How long joining a room may take.")
    worker_start_timeout_s: float = Field(
        15.0, gt=0, le=40, description="From the command to the first frame. The roster gives a session up after 45 s."
    )
    worker_drain_grace_s: float = Field(
        8.0,
        ge=0,
        le=3600,
        description="What running sessions get after SIGTERM: to be moved to another worker, or to come to an end.",
    )
    worker_state: Path = Field(
        Path(".greenroom/workers"),
        description="Folder where a worker has a lock file while it lives: the next one on this machine sees that it is"
        " dead, and tells. It has to outlive a restart of the container. Workers of a machine share it.",
    )
    worker_heartbeat_s: float = Field(
        5.0, ge=0.1, le=60, description="Interval of session.heartbeat: as much may stay unbilled after a crash."
    )
    worker_agent_absence_s: float = Field(10.0, gt=0, le=3600, description="An agent away for longer has left.")
    worker_mark_frames: bool = Field(
        True, description="Mark every published frame, so that `greenroom verify` can tell a clip of it."
    )

    def mark_key(self) -> MarkKey | None:
        """None: frames are not marked. Raises BadMarkKeys."""
        spec = self.mark_keys.get_secret_value()
        return MarkKeyring(spec).current if spec and self.worker_mark_frames else None
