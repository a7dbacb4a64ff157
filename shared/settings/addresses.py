"""What a host, a port and a list of servers look like."""

from __future__ import annotations

import ipaddress
import re

from shared.domain.errors import SettingsError

HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*(?<!-)\.?")


def servers(text: str) -> list[str]:
    """A host:port list. Raises SettingsError naming the entry that is none."""
    found = [server.strip() for server in text.split(",") if server.strip()]
    for server in found:
        host, _, port = server.rpartition(":")
        if not is_host(host) or not is_port(port):
            raise SettingsError(f"'{server}' is not host:port")
    if not found:
        raise SettingsError("name at least one host:port")
    return found


def is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 65536


def is_host(text: str) -> bool:
    """A name or an address; an IPv6 address may stand in brackets."""
    try:
        ipaddress.ip_address(text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text)
    except ValueError:
        return HOST.fullmatch(text) is not None
    return True
