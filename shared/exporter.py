"""The metrics of one process, or of all processes of an edge, in the text format that Prometheus reads."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector

from shared import metrics
from shared.metrics import REGISTRY
from shared.metrics_files import VARIABLE
from shared.metrics_room import RoomyDict

_ENDED = "ended"
"""Stands where the files of running processes have their process id."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """A metric as an operator finds it, without values."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


_files_lock = threading.Lock()
"""A worker's end folds files together while a scrape may read them."""


def render() -> tuple[bytes, str]:
    """All metrics as text, with its media type."""
    if VARIABLE not in os.environ:
        return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    with _files_lock:
        return generate_latest(registry), CONTENT_TYPE_LATEST


def declared() -> list[MetricInfo]:
    """All metrics in the order of their declaration, under the names that a scrape shows."""
    found = []
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            family = next(iter(metric.describe()))
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found.append(MetricInfo(name, family.type, tuple(metric._labelnames), family.documentation))
    return found


def forget_process(pid: int) -> None:
    """Fold the files of an edge process that ended into one, so that its counts stay and its files go."""
    folder = Path(os.environ[VARIABLE])
    with _files_lock:
        for kind in ("counter", "histogram"):
            _fold(folder / f"{kind}_{pid}.db", folder / f"{kind}_{_ENDED}.db")
        for gauge in folder.glob(f"gauge_*_{pid}.db"):
            gauge.unlink(missing_ok=True)


def _fold(ended: Path, into: Path) -> None:
    if not ended.exists():
        return
    total = RoomyDict(str(into))
    # A process that was killed while it made its file leaves one that nobody can read, here or in a scrape.
    with contextlib.suppress(struct.error, RuntimeError):
        for key, value, _, _ in RoomyDict.read_all_values_from_file(str(ended)):  # type: ignore[no-untyped-call]
            total.write_value(key, total.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    total.close()  # type: ignore[no-untyped-call]
    ended.unlink(missing_ok=True)
