"""The jars of Apache Kafka are fetched once, however many brokers start at the same time on a new machine."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from coatcheck.dev import apache_kafka

BROKERS = 3


def test_three_brokers_of_a_new_machine_fetch_the_jars_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetched: list[object] = []
    others = threading.Barrier(BROKERS)

    def maven(command: object, **_: Any) -> subprocess.CompletedProcess[str]:
        fetched.append(command)
        return subprocess.CompletedProcess([], 0, "")

    def install(_: int) -> Path:
        others.wait(timeout=10)
        return apache_kafka.install_jars()

    monkeypatch.setattr(apache_kafka, "CACHE", tmp_path)
    monkeypatch.setattr(apache_kafka, "what_is_missing", str)
    monkeypatch.setattr(subprocess, "run", maven)
    with ThreadPoolExecutor(BROKERS) as pool:
        folders = set(pool.map(install, range(BROKERS)))
    assert len(folders) == len(fetched) == 1
    assert folders.pop().is_dir()
