"""`make audit` asks about every package of the locks and fails for a weakness that is known of one."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WEAK = "pymongo"


class Advisories(ThreadingHTTPServer):
    """Answers in the form of osv.dev; knows of a weakness in WEAK when `alarmed`."""

    alarmed = False
    asked: set[str]


class Answers(BaseHTTPRequestHandler):
    server: Advisories

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.add(asked["package"]["name"])
        found = self.server.alarmed and asked["package"]["name"] == WEAK
        body = json.dumps({"vulns": [weakness()]} if found else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: it would be printed between the test's own lines."""


def weakness() -> dict[str, Any]:
    package = {"name": WEAK, "ecosystem": "PyPI"}
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}]
    affected = [{"package": package, "ranges": ranges}]
    return {"id": "TEST-2026-1", "modified": "2026-01-01T00:00:00Z", "summary": "a weakness", "affected": affected}


@pytest.fixture
def advisories() -> Iterator[Advisories]:
    with Advisories(("127.0.0.1", 0), Answers) as server:
        server.asked = set()
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def audit(server: Advisories) -> tuple[int, str]:
    url = f"http://127.0.0.1:{server.server_port}/v1/query"
    ran = subprocess.run(
        ["make", "audit", f"OSV_URL={url}"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_every_locked_package_is_looked_up_and_a_known_weakness_fails(advisories: Advisories) -> None:
    code, said = audit(advisories)
    assert (code, "No known vulnerabilities found" in said) == (0, True), said
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / "run.txt").read_text(), re.MULTILINE))
    assert len(locked & advisories.asked) > 0.8 * len(locked), "the rest is for other systems"
    advisories.alarmed = True
    code, said = audit(advisories)
    assert code != 0
    assert "TEST-2026-1" in said, said
