"""Ports and addresses of this machine."""

from __future__ import annotations

import socket

import psutil


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
    Connecting a UDP socket sends nothing: it only asks the kernel which address it would send from.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def interface_of(address: str) -> str:
    """Name of the interface that has `address`. Raises LookupError."""
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in entries):
            return str(name)
    raise LookupError(f"no interface has {address}")
