"""What operators add to pods and Deployments, and what restarts them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.chart.matrix import MATRIX
from tests.deploy.chart.rendered import FULL, pod
from tests.support.helm import Rendered, render


@pytest.fixture(scope="module")
def shaped() -> Rendered:
    return render(MATRIX["pods with company"])


def test_containers_of_your_own_stand_beside_ours_in_what_runs_on(shaped: Rendered) -> None:
    beside = {
        "edge": ["edge", "shipper"],
        "worker": ["worker", "shipper", "gpu-watch"],
        "reaper": ["reaper", "shipper"],
        "init": ["init"],
        "test": ["test"],
    }
    for name, one in shaped.pods().items():
        spec = one["spec"]
        assert [each["name"] for each in spec["containers"]] == beside[name.rpartition("-")[2]]
        assert [each["name"] for each in spec["initContainers"]] == ["prepare"]


def test_names_hosts_and_runtime_reach_every_pod_and_a_components_own_win(shaped: Rendered) -> None:
    for name, one in shaped.pods().items():
        spec, worker = one["spec"], name.endswith("-worker")
        assert spec["runtimeClassName"] == ("nvidia" if worker else "gvisor")
        assert spec["dnsPolicy"] == ("ClusterFirst" if worker else "None")
        assert ("searches" if worker else "nameservers") in spec["dnsConfig"]
        assert [alias["hostnames"] for alias in spec["hostAliases"]] == [["mongo-0"], *([["vllm"]] if worker else [])]


def test_deployments_carry_annotations_and_keep_as_many_revisions_as_asked(shaped: Rendered, plain: Rendered) -> None:
    for deployment in shaped.kind("Deployment"):
        annotations, worker = deployment["metadata"]["annotations"], deployment["metadata"]["name"].endswith("-worker")
        assert annotations["reloader.stakater.com/auto"] == "true"
        assert annotations.get("team") == ("inference" if worker else None)
        assert deployment["spec"]["revisionHistoryLimit"] == 0
    assert {one["spec"]["revisionHistoryLimit"] for one in plain.kind("Deployment")} == {5}


@pytest.mark.parametrize(
    "rotated",
    [
        {"secretsRevision": "2026-02"},
        {"extraObjects": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "2"}}]},
    ],
    ids=["a Secret of somebody else", "a Secret among the extra objects"],
)
def test_a_rotated_secret_restarts_every_deployment(shaped: Rendered, rotated: dict[str, Any]) -> None:
    after = render(MATRIX["pods with company"] | rotated)
    for component in ("edge", "worker", "reaper"):
        before, now = (
            pod(one, "Deployment", f"{FULL}-{component}")["metadata"]["annotations"] for one in (shaped, after)
        )
        assert before != now, component


def test_extra_objects_that_are_no_secrets_restart_nobody(plain: Rendered) -> None:
    extra = render({"extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}]})
    assert pod(extra, "Deployment", f"{FULL}-reaper") == pod(plain, "Deployment", f"{FULL}-reaper")
