"""What is looked for in a rendered release."""

from __future__ import annotations

from tests.support.helm import Manifest, Rendered

FULL = "rel-coatcheck"


def pod(rendered: Rendered, kind: str, name: str) -> Manifest:
    return rendered.pods()[f"{kind}/{name}"]


def hooks(manifest: Manifest) -> dict[str, str]:
    annotations = manifest["metadata"].get("annotations", {})
    return {name: value for name, value in annotations.items() if name.startswith("helm.sh/hook")}
