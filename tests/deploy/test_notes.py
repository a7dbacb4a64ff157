"""What Helm prints after an installation: commands for objects that are there, and warnings where they are due."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.deploy.matrix import MATRIX
from tests.support.helm import CHART, NAMESPACE, RELEASE, REQUIRED, helm, merged, render


def notes(values: dict[str, Any]) -> str:
    output = helm(
        "install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client", values=merged(REQUIRED, values)
    )
    return output.partition("NOTES:\n")[2]


@pytest.mark.parametrize("case", ["defaults", "providers", "plain address and anonymous", "little", "everything extra"])
def test_the_notes_name_objects_that_are_there(case: str) -> None:
    text, rendered = notes(MATRIX[case]), render(MATRIX[case])
    named = {kind: set(re.findall(rf"\b{kind}/([\w-]+)", text)) for kind in ("deploy", "svc")}
    assert named["deploy"]
    assert named["deploy"] <= rendered.names("Deployment")
    assert named["svc"]
    assert named["svc"] <= rendered.names("Service")
    assert set(re.findall(r" -n (\S+)", text)) == {NAMESPACE}
    assert not re.search(r"%!|<no value>|<nil>", text)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "Until a key exists every request is refused."),
        ({}, '"model":"scripted/ok"'),
        ({"auth": {"allowAnonymous": True}}, "WARNING: auth.allowAnonymous"),
        ({"init": {"enabled": False}}, "run `coatcheck init` before each upgrade yourself"),
        ({"networkPolicy": {"enabled": False}}, "every pod of the cluster may talk to the admin ports"),
        ({"providers": {"openai": {"existingSecret": "openai"}}}, "`helm test` has no model to ask: set tests.model."),
        ({"worker": {"replicas": 13}}, "may get 13 pods, but topics have 12 partitions"),
        ({"statusPage": {"existingSecret": "status-page"}}, "http://localhost:9090/status"),
    ],
)
def test_the_notes_say_what_one_has_to_know(values: dict[str, Any], says: str) -> None:
    assert says in notes(values)
