"""Stands for `coatcheck init|edge|worker|reaper` in tests of the development stack.

Notes what it does in the file JOURNAL. FAIL=<name>:<how> makes that one fail: `start` (exit 3 before it is ready),
`later` (exit 4 as soon as it is asked for /die), `job` (answers with a failed test job).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = sys.argv[1]
FAILURE = dict([os.environ["FAIL"].split(":")]).get(NAME) if "FAIL" in os.environ else None


def note(what: str) -> None:
    with Path(os.environ["JOURNAL"]).open("a") as journal:
        journal.write(f"{NAME} {what} {os.getpid()}\n")


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/die":
            os._exit(4)
        vector = {"data": [{"embedding": [0.5, -0.25]}]}
        job = {"id": "1", "status": "completed", "result": vector}
        self._answer(200, {"id": "1", "status": "failed", "error": "no model"} if FAILURE == "job" else job)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(202, {"id": "1", "status": "pending"})

    def log_message(self, format: str, *args: object) -> None:
        sys.stdout.write(f"request {self.path}\n")

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    note("start")
    if FAILURE == "start":
        sys.stdout.write("cannot go on: no such provider\n")
        sys.exit(3)
    if NAME == "init":
        return
    port = sys.argv[sys.argv.index("--port" if NAME == "edge" else "--admin-port") + 1]
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Answers)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.02)
    note("stop")


if __name__ == "__main__":
    main()
