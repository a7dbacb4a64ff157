"""The chart as Helm renders it, for tests."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from deploy.release.helm import ROOT, HelmFailed, helm

CHART = ROOT / "deploy" / "k8s" / "coatcheck"

RELEASE = "rel"
NAMESPACE = "ns"
REQUIRED = {
    "mongodb": {"existingSecret": "mongodb"},
    "kafka": {"bootstrapServers": "kafka-0.kafka:9092,kafka-1.kafka:9093"},
}
"""The least that an installation must say."""

Manifest = dict[str, Any]


def required_program(name: str, package: str) -> str:
    """The path of a program that a test cannot do without. Raises RuntimeError naming Debian's package for it."""
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"these tests need {name}: apt-get install {package}")
    return path


def merged(*values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values, later ones over earlier ones, as Helm merges its files."""
    result: dict[str, Any] = {}
    for one in values:
        for key, value in one.items():
            old = result.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            result[key] = merged(old or {}, value) if both else value
    return result


class Rendered:
    """The manifests of one rendering."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.manifests: list[Manifest] = [manifest for manifest in yaml.safe_load_all(text) if manifest]

    def kind(self, kind: str) -> list[Manifest]:
        """All manifests of a kind."""
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind: str, name: str) -> Manifest:
        """The manifest of this kind and name."""
        found = [manifest for manifest in self.kind(kind) if manifest["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} of {kind} {name}; there are {sorted(self.names(kind))}"
        return found[0]

    def names(self, kind: str) -> set[str]:
        """The names of all manifests of a kind."""
        return {manifest["metadata"]["name"] for manifest in self.kind(kind)}

    def pods(self) -> dict[str, Manifest]:
        """Every pod that can come of this, by `kind/name`: its metadata and spec."""
        found = {}
        for manifest in self.manifests:
            label = f"{manifest['kind']}/{manifest['metadata']['name']}"
            if manifest["kind"] == "Pod":
                found[label] = manifest
            elif manifest["kind"] in ("Deployment", "Job"):
                found[label] = manifest["spec"]["template"]
        return found


def render(values: Mapping[str, Any] | None = None, *flags: str, release: str = RELEASE) -> Rendered:
    """The chart with the required values and these over them. Raises HelmFailed."""
    given = merged(REQUIRED, values or {})
    return Rendered(helm("template", release, CHART, "--namespace", NAMESPACE, *flags, values=given))


def container(pod: Manifest) -> Manifest:
    """Our container of a pod: the first one, before containers of the operator's own."""
    return dict(pod["spec"]["containers"][0])


def environment(pod: Manifest) -> dict[str, str]:
    """The variables of a pod's container that have plain values."""
    return {entry["name"]: entry["value"] for entry in container(pod).get("env", ()) if "value" in entry}


def failure(values: Mapping[str, Any], *, required: Sequence[str] = ("mongodb", "kafka")) -> str:
    """What helm says when it refuses these values."""
    try:
        helm("template", RELEASE, CHART, values=merged({name: REQUIRED[name] for name in required}, values))
    except HelmFailed as failed:
        return str(failed)
    raise AssertionError("helm accepted what it should refuse")
