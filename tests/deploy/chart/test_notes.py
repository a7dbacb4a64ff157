"""What Helm prints after an installation: commands for objects that are there, and warnings where they are due."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deploy.release.helm import helm
from tests.deploy.chart.matrix import MATRIX
from tests.support.helm import CHART, NAMESPACE, RELEASE, REQUIRED, merged, render


def notes(values: dict[str, Any]) -> str:
    output = helm(
        "install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client", values=merged(REQUIRED, values)
    )
    return output.partition("NOTES:\n")[2]


@pytest.mark.parametrize("case", ["defaults", "little", "everything extra"])
def test_the_notes_name_objects_that_are_there(case: str) -> None:
    text, rendered = notes(MATRIX[case]), render(MATRIX[case])
    named = {kind: set(re.findall(rf"\b{kind}/([\w-]+)", text)) for kind in ("deploy", "svc")}
    assert named["deploy"]
    assert named["deploy"] <= rendered.names("Deployment")
    assert named["svc"]
    assert named["svc"] <= rendered.names("Service")
    assert set(re.findall(r" -n (\S+)", text)) == {NAMESPACE}
    assert not re.search(r"%!|<no value>|<nil>", text)


def test_the_notes_say_what_one_has_to_know() -> None:
    plain = notes({})
    chosen = {
        "auth": {"allowAnonymous": True},
        "init": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "providers": {"openai": {"existingSecret": "openai"}},
        "worker": {"replicas": 13},
        "statusPage": {"existingSecret": "status-page"},
    }
    told = notes(chosen)
    for says in ("Until a key exists every request is refused.", '"model":"scripted/ok"'):
        assert says in plain
        assert says not in told
    for says in (
        "WARNING: auth.allowAnonymous",
        "run `coatcheck init` before each upgrade yourself",
        "every pod of the cluster may talk to the admin ports",
        "`helm test` has no model to ask: set tests.model.",
        "may get 13 pods, but topics have 12 partitions",
        "http://localhost:9090/status",
    ):
        assert says in told
        assert says not in plain


def test_the_notes_count_the_pods_that_an_autoscaler_may_make() -> None:
    assert "may get 13 pods" in notes({"worker": {"autoscaling": {"enabled": True, "maxReplicas": 13}}})
    assert "may get" not in notes({"worker": {"autoscaling": {"enabled": True, "maxReplicas": 12}}})
