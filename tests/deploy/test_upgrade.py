"""Upgrades of the chart: what an older version made is changed in place, and values written for it still work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.release.helm import helm
from tests.deploy.chart.frozen import FOLDER, identity, version
from tests.support.helm import CHART, NAMESPACE, RELEASE, REQUIRED, Rendered, merged, render

VERSIONS = sorted(folder.name for folder in FOLDER.iterdir())


def cases_of(frozen: str) -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / frozen / "cases.yaml").read_text())
    return cases


CASES = [pytest.param(case, id=f"{frozen}: {name}") for frozen in VERSIONS for name, case in cases_of(frozen).items()]


def test_the_version_of_the_chart_is_frozen() -> None:
    assert version() in VERSIONS, (
        "a new version: run `python -m tests.deploy.chart.frozen`, which keeps what came before"
    )


@pytest.mark.parametrize("case", CASES)
def test_values_of_an_older_version_still_give_the_same_objects(case: dict[str, Any]) -> None:
    now = identity(render(case["values"], "--is-upgrade"))
    assert {name: now.get(name) for name in case["objects"]} == case["objects"]


@pytest.mark.parametrize("frozen", VERSIONS)
def test_the_defaults_of_an_older_version_still_render(frozen: str, tmp_path: Path) -> None:
    """`helm upgrade --reuse-values` takes the old defaults in place of the new ones."""
    chart = shutil.copytree(CHART, tmp_path / "coatcheck")
    shutil.copy(FOLDER / frozen / "values.yaml", chart / "values.yaml")
    everything = merged(
        *(case["values"] for name, case in cases_of(frozen).items() if name in ("observed", "providers"))
    )
    for values in ({}, everything):
        given = merged(REQUIRED, values)
        rendered = Rendered(helm("template", RELEASE, chart, "--namespace", NAMESPACE, "--is-upgrade", values=given))
        assert len(rendered.kind("Deployment")) == 3


def test_another_selector_is_noticed() -> None:
    frozen = cases_of(VERSIONS[-1])["defaults"]["objects"]
    assert identity(render({"nameOverride": "other", "fullnameOverride": "rel-coatcheck"})) != frozen
