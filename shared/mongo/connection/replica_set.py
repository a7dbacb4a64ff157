"""Makes a replica set out of mongod processes that we started ourselves, for development and tests; it all blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from shared.domain.errors import StoreUnavailable

SET_NAME = "coatcheck"
_CALL_MILLISECONDS = 2000
_CHANGE_MILLISECONDS = 60_000
"""For initiating, which syncs files, and for a new address: the old one is asked first, for 30 s if it is silent."""
_NOT_YET_INITIALIZED = 94
_ALREADY_INITIALIZED = 23
_POLL_SECONDS = 0.03


def mongod_answers(address: str) -> bool:
    """Whether the mongod at host:port answers, member of a set or not."""
    return bool(_hello(address))


def initiate_single_node(uri: str) -> None:
    """Make the one mongod that `uri` names a replica set of one, if it is none. Raises StoreUnavailable.

    A set that was made under another port is told the new one, or it would not recognise itself.
    """
    ((host, port),) = parse_uri(uri)["nodelist"]
    address = f"{host}:{port}"
    with _refusals_explained(), closing(_direct(address)) as client:
        # A mongod that has only just started may not have read yet that it belongs to a set.
        made = _new_config([address])
        initiated = _config(client) or (_unless(_ALREADY_INITIALIZED, client, "replSetInitiate", made) and made)
        config = initiated or _config(client)
        if config is not None and [member["host"] for member in config["members"]] != [address]:
            config["members"][0]["host"] = address
            config["version"] += 1
            client.admin.command("replSetReconfig", config, force=True)


def initiate(addresses: Sequence[str], **settings: int) -> None:
    """Make one set of fresh mongods, with such settings as electionTimeoutMillis. Raises StoreUnavailable."""
    with _refusals_explained(), closing(_direct(addresses[0])) as client:
        client.admin.command("replSetInitiate", {**_new_config(addresses), "settings": settings})


def wait_primary(uri: str, timeout: float) -> str:
    """The address of the primary among the hosts that `uri` names. Raises TimeoutError after `timeout` seconds."""
    addresses = [f"{host}:{port}" for host, port in parse_uri(uri)["nodelist"]]
    give_up = time.monotonic() + timeout
    while time.monotonic() < give_up:
        for address in addresses:
            if role(address) == "primary":
                return address
        time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"no primary among {', '.join(addresses)} within {timeout:g} s")


def role(address: str) -> str:
    """What the mongod at host:port is to its set: "primary", "secondary", or "" while it is neither or silent."""
    hello = _hello(address)
    return "primary" if hello.get("isWritablePrimary") else "secondary" if hello.get("secondary") else ""


def step_down(address: str, seconds: int) -> None:
    """Ask a primary not to be one for a while; nothing happens if it cannot or is none."""
    with suppress(PyMongoError), closing(_direct(address)) as client:
        client.admin.command("replSetStepDown", seconds, secondaryCatchUpPeriodSecs=min(5, seconds), force=True)


@contextmanager
def _refusals_explained() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailable(f"making the replica set: {error}") from error


def _direct(address: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        f"mongodb://{address}",
        directConnection=True,
        serverSelectionTimeoutMS=_CALL_MILLISECONDS,
        connectTimeoutMS=_CALL_MILLISECONDS,
        socketTimeoutMS=_CHANGE_MILLISECONDS,
    )


def _new_config(addresses: Sequence[str]) -> dict[str, Any]:
    members = [{"_id": number, "host": address} for number, address in enumerate(addresses)]
    return {"_id": SET_NAME, "members": members}


def _config(client: MongoClient[dict[str, Any]]) -> dict[str, Any] | None:
    told = _unless(_NOT_YET_INITIALIZED, client, "replSetGetConfig")
    return told["config"] if told else None


def _unless(code: int, client: MongoClient[dict[str, Any]], *command: Any) -> dict[str, Any] | None:
    """What a command answers, None if it is refused with this code."""
    try:
        told: dict[str, Any] = client.admin.command(*command)
        return told
    except OperationFailure as error:
        if error.code != code:
            raise
        return None


def _hello(address: str) -> dict[str, Any]:
    """What the mongod at host:port says of itself; nothing if it is silent."""
    try:
        with closing(_direct(address)) as client:
            return client.admin.command("hello")
    except PyMongoError:
        return {}
