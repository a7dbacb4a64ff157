"""The client's own table of endpoints and the server's catalogue are one API."""

from coatcheck_client import ENDPOINTS

from shared.domain.catalogue import CATALOGUE


def test_the_client_knows_exactly_the_servers_endpoints() -> None:
    server = {(e.path, e.request_type, "json" if e.json else "multipart") for e in CATALOGUE}
    assert {(e.path, e.request_type, e.body) for e in ENDPOINTS} == server
