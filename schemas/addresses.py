"""Where a customer's URL may lead: not into the operator's network, unless a setting permits that part of it."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Lists of our own: what ipaddress.is_global says differs between releases of Python.
_INSIDE_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # the host of a virtual machine in Azure
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; metadata of some clouds
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
    )
]
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is given to the public: loopback, private, site-local, NAT64 and IPv4-compatible lie outside."""
_INSIDE_V6 = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments; Teredo, which carries any IPv4 address
        "2001:db8::/32",
        "2002::/16",  # 6to4, which carries any IPv4 address
        "3fff::/20",
    )
]

_NO_PART_OF_URLS = re.compile(r"[\x00-\x20\x7f]")
_BRACKETED = re.compile(r"\[[0-9A-Fa-f:.]+\](:[0-9]*)?")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class InvalidUrl(ValueError):
    """No URL that could be called; the message says what is wrong, without a subject."""


class UnsafeAddress(Exception):
    """The host's address is not a public one."""

    def __str__(self) -> str:
        return str(self.__doc__).rstrip(".")


def read_networks(text: str) -> list[Network]:
    """From a comma-separated list. Raises ValueError."""
    found: list[Network] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            raise ValueError(f"{part!r} is no network; write it as 10.0.0.0/8") from None
    return found


def _readable(text: str) -> str:
    read_networks(text)
    return text


NetworkList = Annotated[str, AfterValidator(_readable)]
"""Of settings: checked when they are read, not at the first use."""


class AddressPolicy:
    """Which addresses may be connected to: public ones, and those of the permitted networks."""

    def __init__(self, permitted: str = "") -> None:
        self._permitted = read_networks(permitted)

    def check(self, text: str) -> None:
        """Raises UnsafeAddress. An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) is that IPv4 address."""
        address: Address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if not any(address in network for network in self._permitted) and not _public(address):
            raise UnsafeAddress


def _public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _INSIDE_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _INSIDE_V6)


@lru_cache(1024)
def host_of(url: str) -> str:
    """The host that a URL names, in lower case, an IPv6 address without brackets. Raises InvalidUrl.

    Parsers differ in what they make of odd hosts (`127.1`, `0x7f.1`, `%31`, a backslash, other alphabets), and whoever
    connects may not be who checked. So only hosts pass that every parser reads alike. Kept, because a customer's
    creates name the same one again and again.
    """
    if _NO_PART_OF_URLS.search(url):
        raise InvalidUrl("must not contain spaces or control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidUrl("cannot be read as a URL") from None
    if "@" in parts.netloc:
        raise InvalidUrl("must not contain credentials")
    try:
        usable = parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidUrl("has a port that is none")
    host = parts.hostname
    if not host:
        raise InvalidUrl("has no host")
    if not (is_address(host) and _BRACKETED.fullmatch(parts.netloc) if "[" in parts.netloc else _is_host(host)):
        raise InvalidUrl("has no usable host: addresses are four decimals, international names have their xn-- form")
    return host


def is_address(host: str) -> bool:
    """A literal address, IPv4 as four decimals. One with a zone (`fe80::1%eth0`) is none: it means nothing outside."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def _is_host(host: str) -> bool:
    if is_address(host):
        return True
    labels = host.removesuffix(".").split(".")
    readable = len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
    return readable and not _NUMBER.fullmatch(labels[-1])
