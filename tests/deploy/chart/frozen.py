"""What a version of the chart promised to later ones; `python -m tests.deploy.chart.frozen` writes it at a release.

A version's folder holds its `values.yaml`, values files that people may have written for it, and what of the objects
that came of them can never change: Kubernetes refuses another selector, and another name is another object.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.chart.matrix import MATRIX
from tests.support.helm import CHART, Rendered, container, render

FOLDER = Path(__file__).parent / "frozen"

CASES = (
    "defaults",
    "encrypted and authenticated",
    "providers",
    "split workers that scale",
    "reachable from outside",
    "observed",
    "everything extra",
)
"""Of the matrix: between them they make every object that the chart can make."""

Identity = dict[str, dict[str, Any]]


def version() -> str:
    """The version of the chart as it is now."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["version"])


def identity(rendered: Rendered) -> Identity:
    """By kind/name, what must stay as it is for an upgrade to be accepted and for others to find things."""
    found: Identity = {}
    for manifest in rendered.manifests:
        kind, spec = manifest["kind"], manifest.get("spec", {})
        kept: dict[str, Any] | None = None
        if kind == "Deployment":
            ours = container(spec["template"])
            kept = {"selector": spec["selector"], "container": ours["name"], "ports": _ports(ours["ports"])}
        elif kind == "Service":
            kept = {"headless": spec.get("clusterIP") == "None", "ports": _ports(spec["ports"])}
        elif kind in ("ServiceAccount", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ScaledObject", "Ingress"):
            kept = {}
        if kept is not None:
            found[f"{kind}/{manifest['metadata']['name']}"] = kept
    return found


def _ports(ports: list[dict[str, Any]]) -> dict[str, int]:
    return {port["name"]: int(port.get("port") or port["containerPort"]) for port in ports}


def freeze() -> Path:
    """Write down what the chart makes now of these cases."""
    folder = FOLDER / version()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHART / "values.yaml", folder / "values.yaml")
    cases = {name: {"values": MATRIX[name], "objects": identity(render(MATRIX[name]))} for name in CASES}
    text = yaml.safe_dump(cases, sort_keys=False, width=120)
    (folder / "cases.yaml").write_text(f"# Written by `python -m tests.deploy.chart.frozen`; never edited.\n{text}")
    return folder


if __name__ == "__main__":
    freeze()
