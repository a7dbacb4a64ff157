"""Serves the constant answer exactly as the edge is served: `python -m bench.stacks.constant_server PORT`."""

from __future__ import annotations

import sys

from edge.ingress.limits import ConnectionLimits
from edge.server.master import serve

if __name__ == "__main__":
    serve(
        "bench.stacks.constant:app",
        host="127.0.0.1",
        port=int(sys.argv[1]),
        processes=1,
        graceful_timeout=5,
        limits=ConnectionLimits(),
    )
