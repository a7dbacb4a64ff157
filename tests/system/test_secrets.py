"""No secret that a running installation is given stands in anything it writes, stores, shows or answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from shared.mongo.connection.client import Database, connect
from shared.settings.reading import load_settings
from tests.support.ingress.abuse import UPLOADS, WELL, get, post
from tests.support.ingress.edge import ADMIN, EdgeProcess
from tests.support.ingress.server import ROOT, ask, head, until
from tests.support.servers.mongod import MongodSet

PASSWORD = "p@ss/word:of%the+database"
BROKER_PASSWORD = "password-of-the-broker-93"
ADMIN_TOKEN = "token-of-the-operators-page-2187"
PROVIDER_KEY = "plain-provider-key-without-any-prefix-4711"
PROVIDER_HEADER = "value-of-a-secret-provider-header"
FOREIGN = {
    "authorization": "Basic dXNlcjpmb3JlaWduLXBhc3N3b3Jk",
    "cookie": "session=cookie-of-the-caller-0815",
    "x-api-key": "somebody-elses-key-5150",
    "x-bf-eh-authorization": "Bearer smuggled-credential-1138",
    "x-bf-eh-x-api-key": "smuggled-credential-1139",
    "x-bf-eh-cookie": "smuggled=credential-1140",
    "x-bf-eh-proxy-authorization": "smuggled-credential-1141",
    "x-bf-direct-key": "true",
}
KEY_HEADERS = ("x-bf-vk: ", "Authorization: Bearer ", "x-api-key: ", "x-goog-api-key: ", "api-key: ")
PROMPT = "the prompt is the business of nobody 7c1f"


class Provider(http.server.BaseHTTPRequestHandler):
    """Answers well, or with an error that repeats the key that it was sent, as some do."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        refused = b'"refused' in body
        key = self.headers["authorization"]
        said = {"error": {"message": f"Incorrect API key provided: {key}", "type": key, "code": key, "headers": key}}
        answer = json.dumps(said if refused else {"object": "list", "data": [{"embedding": [0.1]}]}).encode()
        self.send_response(401 if refused else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.send_header("x-request-id", key)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None: ...


@contextlib.contextmanager
def provider() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextlib.contextmanager
def component(name: str, environ: dict[str, str], log: Path) -> Iterator[int]:
    """A component that runs; its admin port."""
    with log.open("w") as stderr:
        command = [sys.executable, "-m", "coatcheck", name, "--admin-port", "0"]
        process = subprocess.Popen(command, env=environ, cwd=ROOT, stderr=stderr, stdout=stderr)
    try:
        until(lambda: ADMIN.search(log.read_text()), f"{name} started", within=60)
        found = ADMIN.search(log.read_text())
        assert found
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(60)


def run(environ: dict[str, str], *arguments: str) -> str:
    """All that a command says."""
    ran = subprocess.run(
        [sys.executable, "-m", "coatcheck", *arguments],
        env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    return ran.stdout


async def as_anybody(mongod: MongodSet, what: Callable[[Database], Awaitable[None]]) -> None:
    async with connect(load_settings({"mongodb_uri": mongod.uri}, environ={}), role="operator", wait=30) as database:
        await what(database)


async def add_user(database: Database) -> None:
    await database.client.admin.command("createUser", "secrets-test", pwd=PASSWORD, roles=["root"])


async def drop_user(database: Database) -> None:
    await database.client.admin.command("dropUser", "secrets-test")


async def stored(database: Database) -> str:
    """Every document of every collection."""
    names = await database.raw.list_collection_names()
    return "".join([repr(await database.raw[name].find().to_list()) for name in names])


def forms(secret: str) -> set[str]:
    """The secret in every disguise that it may have been written in."""
    encoded = base64.b64encode(secret.encode()).decode()
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], encoded}


def test_nothing_that_is_written_stored_or_answered_holds_a_secret(mongod: MongodSet, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        asyncio.run(as_anybody(mongod, add_user))
        stack.callback(lambda: asyncio.run(as_anybody(mongod, drop_user)))
        uri = mongod.uri.replace("mongodb://", f"mongodb://secrets-test:{quote_plus(PASSWORD)}@") + "&authSource=admin"
        settings = (
            f'[providers.echo]\nbase_url = "http://127.0.0.1:{stack.enter_context(provider())}/v1"\n'
            f'api_key_env = "ECHO_KEY"\n[providers.echo.headers]\nx-team = "{PROVIDER_HEADER}"\n'
        )
        edge = EdgeProcess(
            tmp_path, uri, settings,
            log_level="debug", kafka_security_protocol="SASL_PLAINTEXT", kafka_sasl_mechanism="PLAIN",
            kafka_sasl_username="broker-user", kafka_sasl_password=BROKER_PASSWORD, mongodb_timeout_seconds=2,
            admin_token=ADMIN_TOKEN,
            more={"ECHO_KEY": PROVIDER_KEY},
        )  # fmt: skip
        stack.enter_context(edge)
        admin_ports = [stack.enter_context(component(name, edge.environ, tmp_path / f"{name}.log"))
                       for name in ("worker", "reaper")]  # fmt: skip
        key, other = edge.new_key(), edge.new_key()
        said = use(edge, key, other)
        said += [
            ask(port, path)[1] for port in [edge.admin_port, *admin_ports] for path in ("/", "/metrics", "/readyz")
        ]
        said += [ask(edge.port, path)[1] for path in ("/openapi.json", "/docs", "/v1/models", "/readyz")]
        said += operate(edge.environ, re.findall(r'"id":"([0-9a-f-]{36})"', "".join(said)))
        documents = asyncio.run(edge.in_database(stored))
    logs = "".join(path.read_text() for path in tmp_path.rglob("*.log"))
    assert "Traceback" in logs + "".join(said) or "warning" in logs, "nothing went wrong, so nothing could be told"
    assert len(said) > 20 and len(documents) > 2000
    secrets = [PASSWORD, BROKER_PASSWORD, ADMIN_TOKEN, PROVIDER_KEY, PROVIDER_HEADER, key, other]
    secrets += [re.sub(r"^(Basic|Bearer) |^\w+=", "", value) for name, value in FOREIGN.items() if value != "true"]
    for place, text in {"logs": logs, "answers": "\n".join(said), "documents": documents}.items():
        for secret in secrets:
            for form in forms(secret):
                assert form not in text, f"{secret!r} in the {place}: {_around(text, form)}"
    for place, text in {"logs": logs, "answers": "\n".join(said)}.items():
        assert PROMPT not in text, f"a prompt in the {place}: {_around(text, PROMPT)}"


def use(edge: EdgeProcess, key: str, other: str) -> list[str]:
    """Do everything a client does, also wrongly; all answers."""
    foreign = [f"{name}: {value}" for name, value in FOREIGN.items()]
    well = WELL.replace(b"openai/m", b"echo/m").replace(b'"a"', json.dumps(PROMPT).encode())
    refused = well.replace(b"echo/m", b"echo/refused")
    requests = [post(body, name + key, *foreign) for body in (well, refused) for name in KEY_HEADERS]
    requests += [
        post(well, *foreign),
        post(well, f"x-bf-vk: {key}", f"Idempotency-Key: {key}"),
        post(well, f"x-bf-vk: {key}x"),
        post(b"{" + key.encode(), f"x-bf-vk: {key}"),
        post(well[:-5], f"x-bf-vk: {key}"),
        post(well, f"Content-Type: {key}", f"x-bf-vk: {key}", target=UPLOADS),
        head("GET /livez HTTP/3.7", f"x-bf-vk: {key}"),
    ]

    def ended(location: str) -> Callable[[], bool]:
        return lambda: edge.exchange(get(location, f"x-bf-vk: {key}")).status == 200

    answers = [edge.exchange(request) for request in requests]
    told = [answer.body.decode() + repr(answer.headers) for answer in answers]
    for answer in answers:
        if location := answer.headers.get("location"):
            until(ended(location), "ended", 60)
            told += [edge.exchange(get(location, f"x-bf-vk: {secret}")).body.decode() for secret in (key, other)]
    assert sum('"status":"completed"' in each for each in told) >= 5
    assert sum('"status":"failed"' in each for each in told) >= 5
    return told


def operate(environ: dict[str, str], job_ids: list[str]) -> list[str]:
    """Run what an operator runs, also with a wrong password."""
    wrong = environ | {"COATCHECK_MONGODB_URI": environ["COATCHECK_MONGODB_URI"].replace(quote_plus(PASSWORD), "wrong")}
    commands = [["config", "show"], ["doctor"], ["providers", "check"], ["dead", "list"],
                ["job", job_ids[0]], ["job", job_ids[-1]]]  # fmt: skip
    return [run(environ, *command) for command in commands] + [run(wrong, "keys", "list")]


def _around(text: str, found: str) -> str:
    place = text.index(found)
    return text[max(0, place - 300) : place + 300]
