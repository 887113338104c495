"""The LiveKit server: built once from its published Go module, run on this machine's own address."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import httpx

from stack import files
from stack.building import built
from stack.ports import LOOPBACK, interface_of, media_address
from stack.process import ProcessSpec, private_folder

VERSION = "1.13.5"
_MODULE = f"github.com/livekit/livekit-server/cmd/server@v{VERSION}"  # later 1.13.x do not build by `go install`


@dataclass(frozen=True)
class LiveKitKeys:
    key: str
    secret: str


def keys(folder: Path) -> LiveKitKeys:
    """The API key pair of this stack, made on first use and kept with its data."""
    path = folder / "keys.json"
    if not path.exists():
        private_folder(folder)
        files.write(path, {"key": f"API{secrets.token_hex(6)}", "secret": secrets.token_urlsafe(36)})
    return LiveKitKeys(**files.read(path))


def installed(cache: Path) -> Path | None:
    """The built server, or None before the first build."""
    target = cache / f"livekit-server-{VERSION}"
    return target if target.exists() else None


def install(cache: Path) -> Path:
    """Build the server unless the cache has it. About 100 s on two cores, once per user. Raises StackError."""
    return built(_MODULE, cache / f"livekit-server-{VERSION}")


def prepare(binary: Path, data: Path, port: int, udp_port: int, turn_port: int) -> tuple[ProcessSpec, str]:
    """Write the configuration; returns how to run the server and its ws:// URL. Raises StackError.

    One UDP port on one address, and itself as STUN and TURN server: no packet leaves the machine.
    """
    private_folder(data)
    address = media_address()
    pair = keys(data)
    config = {
        "port": port,
        "bind_addresses": [LOOPBACK, address],
        "rtc": {
            "tcp_port": 0,
            "udp_port": udp_port,
            "node_ip": address,
            "use_external_ip": False,
            "interfaces": {"includes": [interface_of(address)]},
        },
        # Its own TURN port answers STUN too. Without it clients are told of a public STUN server; with `stun_servers`
        # that do not answer, gathering never ends on a machine without network, and neither does the connection.
        "turn": {"enabled": True, "udp_port": turn_port},
        "keys": {pair.key: pair.secret},
        "logging": {"level": "warn"},
        # Agents and faces are nobody to LiveKit: without a person in it, a room is closed an hour after it was made.
        # `sync_streams`: who has to buffer the sound for its network's sake holds back the picture, too; LiveKit's own
        # default has a stream of its own for each track, of which no client knows what belongs together.
        "room": {"departure_timeout": 20, "empty_timeout": 3600, "sync_streams": True},
    }
    path = data / "livekit.yaml"  # JSON is YAML
    files.write(path, config)
    url = f"http://{address}:{port}"
    spec = ProcessSpec(
        name="livekit",
        argv=[str(binary), "--config", str(path)],
        ready=lambda: is_ready(url),
        stop_timeout_s=5.0,
    )
    return spec, f"ws://{address}:{port}"


async def is_ready(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False
