"""X-Forwarded-For: believed as far as trusted proxies wrote it, and no further."""

from __future__ import annotations

import pytest

from edge.ingress.forwarded import TrustedProxies
from shared.domain.errors import SettingsError


def client(trusted: list[str], peer: str | None, *chains: str) -> str:
    headers = [(b"x-forwarded-for", chain.encode("latin-1")) for chain in chains]
    scope = {"client": None if peer is None else (peer, 1234), "headers": headers}
    return TrustedProxies(trusted).client(scope)


@pytest.mark.parametrize(
    ("trusted", "peer", "chains", "expected"),
    [
        ([], "203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        (["10.0.0.0/8"], "203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        (["10.0.0.0/8"], "10.1.1.1", [], "10.1.1.1"),
        (["10.0.0.0/8"], "10.1.1.1", ["1.2.3.4"], "1.2.3.4"),
        (["10.0.0.0/8"], "10.1.1.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        (["10.0.0.0/8"], "10.1.1.1", ["6.6.6.6", "1.2.3.4, 10.2.2.2"], "1.2.3.4"),
        (["10.0.0.0/8"], "10.1.1.1", ["1.2.3.4, nonsense, 10.2.2.2"], "10.2.2.2"),
        (["10.0.0.0/8"], "10.1.1.1", ["\xff"], "10.1.1.1"),
        (["::1"], "::1", ["2001:db8::7"], "2001:db8::7"),
        (["10.0.0.0/8"], None, ["1.2.3.4"], "unknown"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxys(
    trusted: list[str], peer: str | None, chains: list[str], expected: str
) -> None:
    assert client(trusted, peer, *chains) == expected


@pytest.mark.parametrize(
    ("trusted", "peer", "said", "expected"),
    [
        ([], "10.1.1.1", ["https"], "http"),
        (["10.0.0.0/8"], "203.0.113.9", ["https"], "http"),
        (["10.0.0.0/8"], "10.1.1.1", [], "http"),
        (["10.0.0.0/8"], "10.1.1.1", ["https"], "https"),
        (["10.0.0.0/8"], "10.1.1.1", ["http, HTTPS"], "https"),
        (["10.0.0.0/8"], "10.1.1.1", ["javascript"], "http"),
    ],
)
def test_what_the_client_spoke_is_believed_of_trusted_proxies_alone(
    trusted: list[str], peer: str, said: list[str], expected: str
) -> None:
    headers = [(b"x-forwarded-proto", each.encode()) for each in said]
    scope = {"client": (peer, 1234), "headers": headers, "scheme": "http"}
    assert TrustedProxies(trusted).scheme(scope) == expected


def test_an_entry_that_is_no_network_stops_the_start() -> None:
    with pytest.raises(SettingsError, match=r"trusted_proxies: 'proxy\.local'"):
        TrustedProxies(["proxy.local"])
