"""What real HTTP clients send gets through the guard: each submits, polls and uploads a form, with its defaults."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3

from tests.support.http_clients.recorded import FORMS, POLLS, SUBMITS
from tests.support.ingress.edge import EdgeProcess
from tests.support.ingress.server import Raw
from tests.support.servers.mongod import MongodSet

PROGRAMS = Path(__file__).parents[2] / "support" / "http_clients"
SUBMIT, FORM = "/v1/async/embeddings", "/v1/async/images/variations"
BODY = {"model": "openai/m", "input": "a text"}
IMAGE = ("a.png", b"\x01\x02", "image/png")
TAKEN = [202, 202, 202]


@pytest.fixture(scope="module")
def edge(mongod: MongodSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProcess]:
    with EdgeProcess(tmp_path_factory.mktemp("edge"), mongod.uri) as running:
        yield running
        assert not running.complaints()


@pytest.fixture
def url(edge: EdgeProcess) -> str:
    return f"http://127.0.0.1:{edge.port}"


# Python
def by_requests(url: str) -> list[int]:
    with requests.Session() as session:
        submit = session.post(url + SUBMIT, json=BODY)
        poll = session.get(url + submit.headers["location"])
        form = session.post(url + FORM, data={"model": "openai/m"}, files={"image": IMAGE})
    return [submit.status_code, poll.status_code, form.status_code]


def by_httpx(url: str) -> list[int]:
    with httpx.Client() as client:
        submit = client.post(url + SUBMIT, json=BODY)
        poll = client.get(url + submit.headers["location"])
        form = client.post(url + FORM, data={"model": "openai/m"}, files={"image": IMAGE})
    return [submit.status_code, poll.status_code, form.status_code]


def by_urllib3(url: str) -> list[int]:
    with urllib3.PoolManager() as pool:
        submit = pool.request("POST", url + SUBMIT, json=BODY)
        poll = pool.request("GET", url + submit.headers["location"])
        form = pool.request("POST", url + FORM, fields={"model": "openai/m", "image": IMAGE})
    return [submit.status, poll.status, form.status]


def by_aiohttp(url: str) -> list[int]:
    return asyncio.run(_by_aiohttp(url))


async def _by_aiohttp(url: str) -> list[int]:
    parts = aiohttp.FormData({"model": "openai/m"})
    parts.add_field("image", IMAGE[1], filename=IMAGE[0], content_type=IMAGE[2])
    async with aiohttp.ClientSession() as session:
        async with session.post(url + SUBMIT, json=BODY) as submit:
            location = submit.headers["location"]
        async with session.get(url + location) as poll, session.post(url + FORM, data=parts) as form:
            return [submit.status, poll.status, form.status]


def by_the_standard_library(url: str) -> list[int]:
    """urllib, and http.client with a body in chunks."""
    headers = {"content-type": "application/json"}
    asked = urllib.request.Request(url + SUBMIT, json.dumps(BODY).encode(), headers)
    with urllib.request.urlopen(asked) as submit, urllib.request.urlopen(url + submit.headers["location"]) as poll:
        statuses = [submit.status, poll.status]
    packed = requests.Request("POST", url + FORM, data={"model": "openai/m"}, files={"image": IMAGE}).prepare()
    assert isinstance(packed.body, bytes)
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    pieces = [packed.body[:50], packed.body[50:]]
    connection.request(
        "POST", FORM, iter(pieces), {"content-type": packed.headers["content-type"]}, encode_chunked=True
    )
    statuses.append(connection.getresponse().status)
    connection.close()
    return statuses


@pytest.mark.parametrize("client", [by_requests, by_httpx, by_urllib3, by_aiohttp, by_the_standard_library])
def test_a_client_of_python_submits_polls_and_uploads(url: str, client: Callable[[str], list[int]]) -> None:
    assert client(url) == TAKEN


# Others
@pytest.mark.parametrize(
    "command",
    [
        ["java", "JavaClient.java"],
        ["go", "run", "client.go"],
        ["node", "client.mjs"],
        ["node", "client.mjs", "http"],
        ["ruby", "client.rb"],
        ["php", "client.php"],
        ["sh", "client.sh", "curl"],
        ["sh", "client.sh", "curl", "--http2"],
        ["sh", "client.sh", "curl", "--http1.0"],
        ["sh", "client.sh", "curl", "-H", "Expect: 100-continue"],
        ["sh", "client.sh", "wget"],
    ],
    ids=" ".join,
)
def test_a_client_of_another_language_submits_polls_and_uploads(url: str, command: list[str], tmp_path: Path) -> None:
    at = 3 if command[0] == "go" else 2
    needed = command[2] if command[0] == "sh" else command[0]
    assert run([*command[:at], url, *command[at:]], needed, GOCACHE=str(tmp_path)) == TAKEN


@pytest.fixture(scope="module")
def jars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The libraries of the Java clients."""
    folder = tmp_path_factory.mktemp("jars")
    require("mvn")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    subprocess.run(["mvn", "--batch-mode", "--quiet", "--file", PROGRAMS / "pom.xml", *goal], check=True)
    return folder


@pytest.mark.parametrize("program", ["OkHttpClientProgram.java", "ApacheClient.java"])
def test_a_library_of_java_submits_polls_and_uploads(url: str, jars: Path, program: str) -> None:
    assert run(["java", "-cp", f"{jars}/*", program, url], "javac") == TAKEN


def run(command: list[str], needed: str, **environ: str) -> list[int]:
    """The statuses that a program prints."""
    require(needed)
    made = subprocess.run(
        command, check=False, cwd=PROGRAMS, env=os.environ | environ, capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr
    return [int(word) for word in made.stdout.split()]


def require(program: str) -> None:
    """Skip without this program; never in CI, which installs it."""
    if shutil.which(program) is None and "CI" not in os.environ:
        pytest.skip(f"{program} is not installed")


# Recorded
@pytest.mark.parametrize("client", SUBMITS)
def test_what_was_recorded_of_a_client_gets_through(edge: EdgeProcess, client: str) -> None:
    with edge.raw() as raw:
        location = answered(raw, SUBMITS[client]).headers["location"].encode()
        answered(raw, POLLS[client].replace(b"LOCATION", location))
        answered(raw, FORMS[client])


def answered(raw: Raw, sent: bytes) -> Any:
    raw.send(sent)
    answer = raw.answer()
    assert answer.status == 202, answer
    return answer
