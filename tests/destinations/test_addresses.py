"""Which URLs and addresses are sent to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.destinations.addresses import REFUSED, TargetRefused, parse_target, refusal

REFUSED_ADDRESSES = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.1.2.3",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",  # credentials of containers
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "::ffff:100.64.0.1",
    "::ffff:0.0.0.0",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:0:7f00:1::",  # Teredo, whose server is loopback
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fdff::1",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::5efe:7f00:1",  # ISATAP
    "fec0::1",
    "ff02::1",
    "4000::1",
    "::2:0:0:0",
]
ALLOWED_ADDRESSES = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.167.1.1",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450::1",
    "3ffe::1",
]
LOCAL_ADDRESSES = [
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "::1",
    "fd12::1",
]
NEVER = [
    "0.0.0.0",
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "::",
    "224.0.0.1",
    "255.255.255.255",
    "::ffff:169.254.169.254",
]


@pytest.mark.parametrize("text", REFUSED_ADDRESSES)
def test_special_addresses_are_refused(text: str) -> None:
    assert refusal(ip_address(text), allow_private=False)


@pytest.mark.parametrize("text", ALLOWED_ADDRESSES)
def test_neighbours_of_special_addresses_are_not(text: str) -> None:
    assert refusal(ip_address(text), allow_private=False) is None


@pytest.mark.parametrize("text", LOCAL_ADDRESSES)
def test_local_networks_open_for_development(text: str) -> None:
    assert refusal(ip_address(text), allow_private=True) is None


@pytest.mark.parametrize("text", NEVER)
def test_metadata_services_and_disguises_never_open(text: str) -> None:
    assert refusal(ip_address(text), allow_private=True)


@given(st.ip_addresses())
def test_what_python_calls_private_is_refused(address: IPv4Address | IPv6Address) -> None:
    inside = getattr(address, "ipv4_mapped", None) or address
    if not inside.is_global or inside.is_multicast or inside.is_reserved:
        assert refusal(address, allow_private=False)


@given(st.sampled_from(REFUSED), st.data())
def test_no_address_of_a_refused_network_is_connected_to(row: object, data: st.DataObject) -> None:
    network = getattr(row, "network")  # noqa: B009 - the strategy has lost the type
    offset = data.draw(st.integers(0, network.num_addresses - 1))
    assert refusal(network[offset], allow_private=False)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_address_inside(address: IPv4Address) -> None:
    mapped = IPv6Address(f"::ffff:{address}")
    assert refusal(mapped, allow_private=False) == refusal(address, allow_private=False)


REFUSED_URLS = {
    "plain http": "http://example.com/",
    "other scheme": "ftp://example.com/",
    "file": "file:///etc/passwd",
    "no scheme": "//example.com/",
    "not a url": "example.com",
    "no slashes": "https:example.com",
    "empty host": "https:///x",
    "host is a dot": "https://./",
    "port alone": "https://:443/",
    "empty": "",
    "user": "https://user@example.com/",
    "user and password": "https://user:pw@example.com/",
    "at sign hides the host": "https://example.com@127.0.0.1/",
    "escaped slash before an at sign": "https://127.0.0.1%2f@example.com/",
    "port and at sign": "https://example.com:443@127.0.0.1/",
    "escaped null": "https://example.com%00.internal/",
    "zero width space": "https://local\u200bhost/",
    "line separator": "https://example.com/\u2028",
    "zeros before a port": "https://example.com:00000443/",
    "escaped at sign": "https://example.com%40127.0.0.1/",
    "backslash": "https://example.com\\@127.0.0.1/",
    "another port": "https://example.com:8443/",
    "port 0": "https://example.com:0/",
    "port too high": "https://example.com:65536/",
    "empty port": "https://example.com:/",
    "port is no number": "https://example.com:4x3/",
    "port in other digits": "https://example.com:\u0664\u0664\u0663/",
    "fragment": "https://example.com/#x",
    "line break": "https://example.com/\r\nX-Evil: 1",
    "line break in host": "https://exam\nple.com/",
    "tab": "https://example.com/\tx",
    "leading space": " https://example.com/",
    "null": "https://example.com/\0",
    "path in other letters": "https://example.com/\u00fc",
    "too long": "https://example.com/" + "a" * 5000,
    "loopback": "https://127.0.0.1/",
    "unspecified": "https://0.0.0.0/",
    "metadata": "https://169.254.169.254/latest/meta-data/",
    "private": "https://10.0.0.1/",
    "decimal": "https://2130706433/",
    "octal": "https://0177.0.0.1/",
    "octal whole": "https://017700000001/",
    "hexadecimal": "https://0x7f.0.0.1/",
    "hexadecimal whole": "https://0x7f000001/",
    "short": "https://127.1/",
    "one zero": "https://0/",
    "five parts": "https://1.2.3.4.5/",
    "too big a part": "https://1.2.3.256/",
    "trailing dot on an address": "https://127.0.0.1./",
    "public but decimal": "https://134744072/",
    "fullwidth digits": "https://\uff11\uff12\uff17.0.0.1/",
    "public in fullwidth digits": "https://\uff18.8.8.8/",
    "circled digits": "https://\u2460\u2461\u2466.0.0.1/",
    "ideographic stops": "https://127\u30020\u30020\u30021/",
    "v6 loopback": "https://[::1]/",
    "v6 unspecified": "https://[::]/",
    "v4 mapped": "https://[::ffff:127.0.0.1]/",
    "v4 mapped in hex": "https://[::ffff:7f00:1]/",
    "v4 mapped, written out": "https://[0:0:0:0:0:ffff:7f00:1]/",
    "v4 mapped, in mixed notations": "https://[::ffff:0x7f.1]/",
    "v4 compatible": "https://[::127.0.0.1]/",
    "Teredo": "https://[2001:0:7f00:1::]/",
    "unique local": "https://[fd00::1]/",
    "metadata of one cloud by v6": "https://[fd00:ec2::254]/",
    "shared address space": "https://100.64.0.1/",
    "broadcast": "https://255.255.255.255/",
    "this network": "https://0.1.2.3/",
    "NAT64": "https://[64:ff9b::7f00:1]/",
    "6to4": "https://[2002:7f00:1::]/",
    "zone": "https://[fe80::1%25eth0]/",
    "brackets around a name": "https://[example.com]/",
    "open bracket": "https://[::1/",
    "v6 without brackets": "https://::1/",
    "localhost": "https://localhost/",
    "localhost with a dot": "https://localhost./",
    "localhost in capitals": "https://LOCALHOST/",
    "below localhost": "https://a.localhost/",
    "localhost in circled letters": "https://\u24dbocalhost/",
    "two dots at the end": "https://example.com../",
    "two dots within": "https://example..com/",
    "label too long": f"https://{'a' * 64}.com/",
    "escaped host": "https://%6c%6fcalhost/",
    "invalid international name": "https://\u2100.example/",
}


@pytest.mark.parametrize("url", REFUSED_URLS.values(), ids=list(REFUSED_URLS))
def test_url_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused) as refused:
        parse_target(url, allow_private=False)
    assert "meta-data" not in str(refused.value)


TAKEN_URLS = {
    "https://example.com": "https://example.com/",
    "HTTPS://EXAMPLE.com/Path?Q=1": "https://example.com/Path?Q=1",
    "https://example.com:443/x": "https://example.com/x",
    "https://example.com./x": "https://example.com/x",
    "https://example.com?q=a:b@c": "https://example.com/?q=a:b@c",
    "https://example.com/%2e%2e/x": "https://example.com/%2e%2e/x",
    "https://1.1.1.1/x": "https://1.1.1.1/x",
    "https://[2606:4700:0::1111]/x": "https://[2606:4700::1111]/x",
    "https://[::ffff:1.1.1.1]/": "https://1.1.1.1/",
    "https://b\u00fccher.example/": "https://xn--bcher-kva.example/",
    # a Cyrillic letter in a well-known name: only ever shown as what it is
    "https://\u0430pple.com/": "https://xn--pple-43d.com/",
    "https://127.0.0.1.example.com/": "https://127.0.0.1.example.com/",
}


@pytest.mark.parametrize(("url", "canonical"), TAKEN_URLS.items())
def test_url_is_taken_in_one_spelling(url: str, canonical: str) -> None:
    target = parse_target(url, allow_private=False)

    assert target.url == canonical
    assert parse_target(target.url, allow_private=False) == target


def test_a_configured_port_is_taken() -> None:
    target = parse_target("https://example.com:8443/", allow_private=False, ports=frozenset({8443}))
    assert target.url == "https://example.com:8443/"


def test_development_takes_http_and_any_port() -> None:
    target = parse_target("http://localhost:9999/x", allow_private=True)
    assert (target.scheme, target.host, target.port) == ("http", "localhost", 9999)


@pytest.mark.parametrize("host", ["169.254.169.254", "2130706433", "[64:ff9b::7f00:1]", "0.0.0.0"])
def test_development_does_not_take(host: str) -> None:
    with pytest.raises(TargetRefused):
        parse_target(f"http://{host}/", allow_private=True)


def test_a_target_does_not_show_its_path() -> None:
    target = parse_target("https://example.com/hook?token=hidden", allow_private=False)
    assert repr(target) == "Target(https://example.com)"


@given(st.text(max_size=40))
def test_any_host_is_taken_as_ascii_or_refused(host: str) -> None:
    try:
        target = parse_target(f"https://{host}/", allow_private=False)
    except TargetRefused:
        return
    assert target.url.isascii()
    assert target.host == target.host.lower()
    assert parse_target(target.url, allow_private=False) == target
