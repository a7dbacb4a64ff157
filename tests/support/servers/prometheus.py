"""A real Prometheus that scrapes processes on loopback every second."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from coatcheck.dev.child import Child
from coatcheck.dev.ports import LOOPBACK, free_ports
from tests.support.helm import required_program

READY_SECONDS = 30.0


class Prometheus:
    """Everything below `directory` belongs to it. Use it as a context manager."""

    def __init__(self, directory: Path, targets: Sequence[str], labels: Mapping[str, str], job: str) -> None:
        (port,) = free_ports(1)
        self._directory = directory
        self._url = f"http://{LOOPBACK}:{port}"
        self._config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(targets), "labels": dict(labels)}]}
            ],
        }
        self._child: Child | None = None

    def rules(self, document: Mapping[str, Any]) -> None:
        """Evaluate these rules as well; before the start."""
        file = self._directory / "rules.yaml"
        file.write_text(yaml.safe_dump(dict(document)))
        self._config["rule_files"] = [str(file)]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an expression, now."""
        found: list[dict[str, Any]] = self._ask("query", query=expr)["result"]
        return found

    def rule_health(self) -> dict[str, str]:
        """Rule to its last error; empty when it was evaluated without one."""
        groups = self._ask("rules")["groups"]
        return {rule["name"]: rule.get("lastError", "") for group in groups for rule in group["rules"]}

    def __enter__(self) -> Prometheus:
        config = self._directory / "prometheus.yaml"
        config.write_text(yaml.safe_dump(self._config))
        command = [required_program("prometheus", "prometheus"), f"--config.file={config}"]
        command += [f"--storage.tsdb.path={self._directory / 'data'}", "--log.level=warn"]
        command += [f"--web.listen-address={self._url.removeprefix('http://')}"]
        self._child = Child("prometheus", command, log=self._directory / "prometheus.log")
        self._child.wait_ready(self._is_ready, READY_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child is not None
        self._child.stop(10.0)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=1.0) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data
