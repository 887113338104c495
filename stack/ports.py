"""Ports and addresses of this machine."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import psutil

from stack.process import StackError

LOOPBACK = "127.0.0.1"
_KINDS = ("bridge", "dummy")
"""Of interfaces that lead nowhere. Not every kernel has both."""
_MAKE_INTERFACE = (
    "ip link add greenroom0 type {kind}",
    "ip address add 192.0.2.1/32 dev greenroom0",
    "ip link set greenroom0 up",
)


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """Ports that nobody listens on right now. All are held open until the last is found, so none repeats."""
    sockets = [socket.socket(socket.AF_INET, kind) for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


def own_address() -> str:
    """This machine's own interface address, or loopback when it has none.

    WebRTC clients ignore loopback candidates, so media uses this address; its traffic never leaves the machine.
    Connecting a UDP socket sends nothing: it only asks the kernel which address it would send from. Without a route
    to anywhere, any interface that is up will do.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return next(_addresses(), LOOPBACK)


def _addresses() -> Iterator[str]:
    states = psutil.net_if_stats()
    for name, entries in sorted(psutil.net_if_addrs().items()):
        if name in states and states[name].isup:
            for entry in entries:
                if entry.family == socket.AF_INET and not entry.address.startswith("127."):
                    yield str(entry.address)


def media_address() -> str:
    """`own_address`. A machine that has loopback alone gets an interface for it, if we are root. Raises StackError.

    Of a network that is unplugged nothing but loopback may be left; no packet leaves through the new interface either.
    """
    if own_address() == LOOPBACK and not any(_make_interface(kind) or own_address() != LOOPBACK for kind in _KINDS):
        commands = " && ".join(_MAKE_INTERFACE).format(kind=_KINDS[0])
        raise StackError(
            "This machine has no network interface besides loopback, which WebRTC does not use. Connect it to any"
            f" network, or give it an interface, as root: {commands}"
        )
    return own_address()


def _make_interface(kind: str) -> bool:
    try:
        for command in _MAKE_INTERFACE:
            subprocess.run(command.format(kind=kind).split(), check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def interface_of(address: str) -> str:
    """Name of the interface that has `address`. Raises LookupError."""
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in entries):
            return str(name)
    raise LookupError(f"no interface has {address}")
