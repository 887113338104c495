"""Which addresses and which URLs may be called: pure."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.addresses import AddressPolicy, InvalidUrl, UnsafeAddress, host_of
from store.settings import WebhookSettings
from workers.settings import WorkerSettings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/96",
        "::1/128",
        "::ffff:127.0.0.1/128",
        "::ffff:10.0.0.0/104",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/32",
        "2001:db8::/32",
        "2002::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ],
)
def test_networks_inside_are_refused_from_their_first_address_to_their_last(network: str) -> None:
    within = ipaddress.ip_network(network)
    for address in (within[0], within[-1], within[within.num_addresses // 2]):
        with pytest.raises(UnsafeAddress):
            AddressPolicy().check(str(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "172.32.0.1", "100.128.0.1", "::ffff:93.184.216.34", "2606:2800:220:1::1", "2a00::1"]
)
def test_public_addresses_are_fine(address: str) -> None:
    AddressPolicy().check(address)


@given(st.ip_addresses())
def test_nothing_passes_that_python_knows_not_to_be_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    try:
        AddressPolicy().check(str(address))
    except UnsafeAddress:
        return
    assert address.is_global
    assert not address.is_multicast


def test_own_networks_can_be_permitted() -> None:
    policy = AddressPolicy("127.0.0.0/8, 10.0.0.0/8,fd00::/8")
    for address in ("127.0.0.1", "::ffff:10.0.0.1", "fd00::7"):
        policy.check(address)
    for address in ("192.168.0.1", "::1", "64:ff9b::a00:1", "::10.0.0.1"):
        with pytest.raises(UnsafeAddress):
            policy.check(address)


def test_a_setting_that_is_no_network_is_told_when_it_is_read() -> None:
    for settings in (
        lambda: WebhookSettings(webhook_permitted_networks="10.0.0.0/33"),
        lambda: WorkerSettings(livekit_permitted_networks="mine"),
    ):
        with pytest.raises(ValidationError, match="is no network; write it as"):
            settings()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("wss://My-App.livekit.cloud", "my-app.livekit.cloud"),
        ("https://example.com:8443/é?x=@y#z@w", "example.com"),
        ("https://a_b.example./", "a_b.example."),
        ("ws://192.0.2.1:7880/rtc", "192.0.2.1"),
        ("ws://[::1]:7880", "::1"),
        ("ws://xn--strae-oqa.example", "xn--strae-oqa.example"),
        ("ws://livekit:", "livekit"),
    ],
)
def test_the_host_of_a_url(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https:///example.com",
        "x",
        "",
        "https://[/",
        "https://[::1].example.com/",
        "https://[fe80::1%25eth0]/",
        "https://user:pw@example.com/",
        "https://@example.com/",
        "https://good.example\\@10.0.0.1/",
        "https://good.example\\.bad.example/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:²/",
        "https://example.com:x/",
        "https://exa mple.com/",
        "https://example.com/\x01",
        "https://exam\tple.com/",
        "https://example.com/\r\nX: y",
        "https://example..com/",
        f"https://{'a' * 64}.com/",
        f"https://{'a.' * 127}aa/",
        # What some parsers read as 127.0.0.1, and others as a name:
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.0.0.1./",
        "https://%31%32%37.0.0.1/",
        "https://①②⑦.0.0.1/",
        "https://straße.example/",
    ],
)
def test_urls_that_nobody_may_call(url: str) -> None:
    with pytest.raises(InvalidUrl):
        host_of(url)


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://x/{text}"):
        try:
            host = host_of(url)
        except InvalidUrl:
            continue
        assert host.isascii()
