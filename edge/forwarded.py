"""Whose request it is when proxies stand in between: X-Forwarded-For counts only as far as trusted proxies wrote it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import SettingsError

_MAX_HOPS = 20

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """The proxies whose word is taken. Raises SettingsError for an entry that is no address or network."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._networks = [_network(entry) for entry in entries]

    def client(self, scope: Mapping[str, Any]) -> str:
        """The address of the client: the last one of the chain that is no trusted proxy's."""
        address = str((scope.get("client") or ("unknown",))[0])
        if not self._networks:
            return address
        for hop in reversed(_hops(scope)):
            if not self._trusts(address):
                break
            address = hop
        return address

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise SettingsError(
            f"trusted_proxies: '{entry}' is no address or network, such as 10.0.0.7 or 10.0.0.0/8"
        ) from None


def _hops(scope: Mapping[str, Any]) -> list[str]:
    """The addresses that proxies added, the nearest last; what is no address ends the chain."""
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = [hop.strip().decode("latin-1") for hop in b",".join(values).split(b",")][-_MAX_HOPS:]
    valid: list[str] = []
    for hop in reversed(hops):
        try:
            valid.append(str(ipaddress.ip_address(hop)))
        except ValueError:
            break
    return valid[::-1]
