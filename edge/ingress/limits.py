"""What one server process lets in. Sizes are in bytes, times in seconds, rates in bytes per second."""

from __future__ import annotations

import msgspec

MIB = 1024 * 1024


class GuardLimits(msgspec.Struct, frozen=True, kw_only=True):
    max_body_bytes: int = 64 * MIB
    max_requests: int = 4096
    max_bytes: int = 256 * MIB
    """Body bytes held at a time, of all requests together."""
    body_grace: float = 15.0
    body_min_rate: float = 16 * 1024
    drain: float = 1.0
    """How long a refused body is still read, so that the answer survives."""
    retry_after: int = 1
    max_headers: int = 100
    max_header_bytes: int = 16 * 1024
    max_header_value_bytes: int = 8190
    max_target_bytes: int = 4096

    def body_deadline(self, started: float, received: int) -> float:
        return started + self.body_grace + received / self.body_min_rate


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    max_connections: int = 10_000
    max_pipelined: int = 10_000
    """Requests that wait behind another one of their connection, of all connections together."""
    head_timeout: float = 8.0
    keepalive: float = 75.0
    """Between requests; longer than the idle time-out of a load balancer in front."""
    raw_allowance: int = 32 * 1024
    raw_per_body_byte: int = 9
    """Bytes on the wire per body byte: one-byte chunks cost six, so only headers, trailers and extensions exceed it."""
    max_trailer_bytes: int = 16 * 1024
    write_interval: float = 5.0
    write_min_rate: float = 4096
    linger: float = 1.0
    """How long input is thrown away after an unparsable request, so that the answer survives."""
    stop_grace: float = 1.0
    """How long a connection without a request may still bring one once the process is stopping."""

    @property
    def tick(self) -> float:
        """Between two looks for time-outs."""
        return min(0.5, self.head_timeout / 8, self.write_interval / 4)
