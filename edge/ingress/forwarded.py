"""Whose request it is when proxies stand in between: X-Forwarded-For counts only as far as trusted proxies wrote it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.settings.checks import network

_MAX_HOPS = 20


class TrustedProxies:
    """The proxies whose word is taken. Raises SettingsError for an entry that is no address or network."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._networks = [network(entry) for entry in entries]

    def client(self, scope: Mapping[str, Any]) -> str:
        """The address of the client: the last one of the chain that is no trusted proxy's."""
        address = _peer(scope)
        for hop in _hops(scope) if self._networks else ():
            if not self._trusts(address):
                break
            address = hop
        return address

    def scheme(self, scope: Mapping[str, Any]) -> str:
        """What the client spoke, http or https, as the nearest proxy says it if that is trusted."""
        own = str(scope.get("scheme", "http"))
        if not self._networks or not self._trusts(_peer(scope)):
            return own
        said = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
        nearest = said[-1].rpartition(b",")[2].strip().lower() if said else b""
        return nearest.decode() if nearest in (b"http", b"https") else own

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _peer(scope: Mapping[str, Any]) -> str:
    return str((scope.get("client") or ("unknown",))[0])


def _hops(scope: Mapping[str, Any]) -> Iterator[str]:
    """The addresses that proxies added, the nearest first; what is no address ends the chain."""
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    for hop in b",".join(values).split(b",")[: -_MAX_HOPS - 1 : -1]:
        try:
            yield str(ipaddress.ip_address(hop.strip().decode("latin-1")))
        except ValueError:
            return
