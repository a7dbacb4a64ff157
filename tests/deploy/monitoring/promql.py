"""What Prometheus' own tools say about rules and expressions."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from shared.telemetry.metrics import DECLARED
from tests.support.helm import required_program

_SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}
_NOT_OURS = {"up"}


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """What promtool writes. AssertionError with it when promtool finds something wrong."""
    command = [required_program("promtool", "prometheus"), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def check_rules(rules: Mapping[str, Any], folder: Path) -> None:
    """Parse a rules file."""
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(dict(rules)))
    promtool("check", "rules", file)


def check_expressions(expressions: Iterable[str], folder: Path) -> None:
    """Parse expressions: each becomes a rule."""
    rules = [{"record": f"parsed:{number}", "expr": expr} for number, expr in enumerate(expressions)]
    assert rules
    check_rules({"groups": [{"name": "parsed", "rules": rules}]}, folder)


def series_names() -> dict[str, set[str]]:
    """Every name that a scrape can show, with its labels."""
    found = {}
    for metric in DECLARED:
        for suffix in _SUFFIXES[metric.kind]:
            labels = set(metric.labels) | ({"le"} if suffix == "_bucket" else set())
            found[metric.name + suffix] = labels
    return found


def used_names(expr: str) -> set[str]:
    """The metric names of an expression: ours, recorded ones, and `up`."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expr)
    return set(re.findall(r"\bcoatcheck[a-z_]*(?::[a-z0-9_]+)*\b", bare)) | (
        _NOT_OURS & set(re.findall(r"\bup\b(?=\{)", bare))
    )


def used_matchers(expr: str) -> list[tuple[str, set[str]]]:
    """Metric names with the labels that are matched on them."""
    found = re.findall(r"(coatcheck_[a-z_]+)\{((?:[^}\"]|\"(?:[^\"\\]|\\.)*\")*)\}", expr)
    return [
        (name, set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', "", body)))) for name, body in found
    ]
