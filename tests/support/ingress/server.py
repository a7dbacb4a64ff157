"""The real door as a process, and a client that sends whatever bytes it likes."""

from __future__ import annotations

import http.client
import json
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[3]
SHORT = {
    "max_body_bytes": 1_000_000,
    "body_grace": 1.0,
    "body_min_rate": 1000,
    "drain": 1.5,
    "head_timeout": 1.0,
    "keepalive": 1.5,
    "write_interval": 1.0,
    "linger": 1.5,
    "stop_grace": 0.5,
    "max_connections": 200,
}
"""Limits whose end a test can wait for."""
GET = b"GET /jobs HTTP/1.1\r\nHost: door\r\n\r\n"
LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")


def until(probe: Callable[[], Any], what: str, within: float = 10.0) -> Any:
    """The first truthy answer of `probe`; fails when there is none in time."""
    give_up = time.monotonic() + within
    while not (answer := probe()):
        assert time.monotonic() < give_up, f"not within {within} s: {what}"
        time.sleep(0.01)
    return answer


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body of a GET; 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


class ServerProcess:
    """A server on a loopback port, spoken to by raw sockets and killed at the end."""

    STOP_SECONDS = 15.0
    process: subprocess.Popen[bytes]
    port: int

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def raw(self) -> Raw:
        return Raw(self.port)

    def exchange(self, data: bytes) -> Answer:
        """Send bytes on a connection of their own and read one answer."""
        with self.raw() as raw:
            raw.send(data)
            return raw.answer()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(self.STOP_SECONDS)


class IngressServer(ServerProcess):
    """`python -m tests.support.ingress.app` with the given settings, from its start to its end."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._journal = folder / "journal"
        self._log = folder / "log"
        self.journal_start = 0
        processes = settings.get("processes", 1)
        given = [f"{name}={value}" for name, value in settings.items()]
        command = [sys.executable, "-m", "tests.support.ingress.app", str(settings.get("port", 0)), str(self._journal)]
        with self._log.open("w") as log:
            self.process = subprocess.Popen([*command, *given], cwd=ROOT, stderr=log)
        self._expected_starts = processes

    def __enter__(self) -> IngressServer:
        until(lambda: self.count("started") >= self._expected_starts or self.process.poll() is not None, self.log())
        found = LISTENS.search(self.log())
        assert found, self.log()
        self.port = int(found[1])
        return self

    def log(self) -> str:
        return self._log.read_text()

    def lines(self) -> list[str]:
        return self._journal.read_text().splitlines() if self._journal.exists() else []

    def spoil(self, *, spoilt: bool = True) -> None:
        """Let no application start from now on, or let it start again."""
        flag = self._journal.with_suffix(".spoilt")
        flag.touch() if spoilt else flag.unlink()

    def mark(self) -> None:
        """Forget what was written so far."""
        self.journal_start = len(self.lines())

    def since_mark(self) -> list[str]:
        return self.lines()[self.journal_start :]

    def count(self, line: str) -> int:
        return self.lines().count(line)

    def jobs(self) -> list[str]:
        """Jobs made since the mark."""
        return [line for line in self.since_mark() if line.startswith("job ")]

    def refused(self, reason: str) -> bool:
        """Whether a request was refused for this reason since the mark."""
        return f"refused {reason}" in self.since_mark()

    def post(self, body: bytes = b"hello") -> Answer:
        return self.exchange(post(body))


@dataclass(frozen=True)
class Answer:
    """What came back, as far as it came. Status 0: the connection ended without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Raw:
    """One TCP connection to the door."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._received = bytearray()

    def __enter__(self) -> Raw:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def finish(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave without a goodbye: RST in place of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def drip(self, pieces: bytes, every: float = 0.05, within: float = 10.0) -> None:
        """Send the bytes round and round, one at a time, until the server says something or ends."""
        give_up = time.monotonic() + within
        sent = 0
        while not select.select([self.socket], [], [], every)[0]:
            assert time.monotonic() < give_up, f"still silent after {within} s and {sent} bytes"
            self.socket.sendall(pieces[sent % len(pieces) :][:1])
            sent += 1

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError:
            return False
        self._received += data
        return bool(data)

    def answer(self) -> Answer:
        """Read one answer with a Content-Length; interim answers are skipped."""
        while b"\r\n\r\n" not in self._received:
            if not self._more():
                return Answer(0, {}, bytes(self._received))
        head = self._take(self._received.index(b"\r\n\r\n") + 4)[:-4]
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(first.split()[1])
        if status == 100:
            return self.answer()
        length = int(headers.get("content-length", 0))
        while len(self._received) < length and self._more():
            pass
        return Answer(status, headers, self._take(length))

    def _take(self, length: int) -> bytes:
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken

    def next_line(self) -> bytes:
        """The first line that comes, left unread."""
        while b"\r\n" not in self._received and self._more():
            pass
        return bytes(self._received.partition(b"\r\n")[0])

    def read_slowly(self, size: int, every: float, during: float) -> None:
        """Take `size` bytes of an answer, and again, with pauses. Fails when the connection ends meanwhile."""
        end = time.monotonic() + during
        while time.monotonic() < end:
            assert self.socket.recv(size), "the connection ended"
            time.sleep(every)

    def ended(self) -> bool:
        """Wait until the server has ended the connection; whether it said nothing more before."""
        while self._more():
            pass
        return not self._received


def post(body: bytes, *headers: str, target: str = "/jobs", length: int | None = None) -> bytes:
    """A POST with Content-Length, which may be a lie."""
    lines = [f"POST {target} HTTP/1.1", "Host: door", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n", headers: tuple[str, ...] = ()) -> bytes:
    """A POST with a chunked body."""
    lines = ["POST /jobs HTTP/1.1", "Host: door", "Transfer-Encoding: chunked", *headers, "", ""]
    return "\r\n".join(lines).encode() + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def job_line(body: bytes) -> str:
    """What the journal says about the job of this body."""
    return f"job {len(body)} {zlib.crc32(body)}"


def head(*lines: str) -> bytes:
    """A request head of these lines, with its end."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def assert_is_refusal(answer: Answer, status: int) -> None:
    """The contract's error answer, complete."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"]
    body = answer.json
    assert body["error"].pop("message") and body["error"].pop("type") and body["error"].pop("code")
    assert body["error"].pop("param", "none")
    assert body == {"is_bifrost_error": False, "status_code": status, "error": {}, "extra_fields": {}}
