"""Writes small files in MaxMind's format (maxmind/MaxMind-DB, MaxMind-DB-spec.md), for tests."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

_UINT16, _UINT32, _UINT64 = 5, 6, 9
_MARK = b"\xab\xcd\xefMaxMind.com"


def mmdb(networks: dict[str, Any], built: int = 1_790_000_000) -> bytes:
    """A file of version 6 in which each network has its entry."""
    nodes: list[list[Any]] = [[None, None]]
    for text, entry in networks.items():
        network = ip_network(text)
        bits = f"{int(network.network_address):0{network.max_prefixlen}b}"[: network.prefixlen]
        _insert(nodes, "0" * 96 + bits if network.version == 4 else bits, (entry,))
    data, places = b"", {}
    for entry in networks.values():
        key = repr(entry)
        if key not in places:
            places[key] = len(data)
            data += _encoded(entry)
    count, tree = len(nodes), b""
    for node in nodes:
        for side in node:
            if side is None:
                value = count
            elif isinstance(side, tuple):
                value = count + 16 + places[repr(side[0])]
            else:
                value = side
            tree += value.to_bytes(4, "big")
    about = {
        "binary_format_major_version": (_UINT16, 2),
        "binary_format_minor_version": (_UINT16, 0),
        "build_epoch": (_UINT64, built),
        "database_type": "Test-City",
        "description": {"en": "made by a test"},
        "ip_version": (_UINT16, 6),
        "languages": ["en"],
        "node_count": (_UINT32, count),
        "record_size": (_UINT16, 32),
    }
    return tree + bytes(16) + data + _MARK + _encoded(about)


def _insert(nodes: list[list[Any]], bits: str, entry: tuple[Any]) -> None:
    at = 0
    for bit in bits[:-1]:
        following = nodes[at][int(bit)]
        if following is None:
            following = nodes[at][int(bit)] = len(nodes)
            nodes.append([None, None])
        at = following
    nodes[at][int(bits[-1])] = entry


def _encoded(value: Any) -> bytes:
    if isinstance(value, str):
        return _head(2, len(value.encode())) + value.encode()
    if isinstance(value, tuple):
        kind, number = value
        size = (number.bit_length() + 7) // 8
        return _head(kind, size) + number.to_bytes(size, "big")
    if isinstance(value, dict):
        return _head(7, len(value)) + b"".join(_encoded(k) + _encoded(v) for k, v in value.items())
    assert isinstance(value, list)
    return _head(11, len(value)) + b"".join(map(_encoded, value))


def _head(kind: int, size: int) -> bytes:
    assert size < 29 + 256
    small, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    if kind > 7:
        return bytes([small, kind - 7]) + more
    return bytes([kind << 5 | small]) + more
