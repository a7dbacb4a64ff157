"""Workers in the chart: how they are split, stopped and scaled."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from coatcheck.cli.run.components import STOP_MARGIN_SECONDS
from coatcheck.cli.run.runtime import CANCEL_SECONDS
from shared.domain.catalogue import MODALITIES
from tests.deploy.chart.matrix import MATRIX
from tests.deploy.chart.rendered import FULL, pod
from tests.support.helm import Rendered, container, environment, render


def test_one_worker_serves_all_modalities_unless_it_is_split(plain: Rendered) -> None:
    only = container(pod(plain, "Deployment", f"{FULL}-worker"))
    assert only["args"] == ["worker", "--modality", "all"]
    split = render(MATRIX["split workers that scale"])
    assert f"{FULL}-worker" not in split.names("Deployment")
    served = [container(one)["args"][2].split(",") for name, one in split.pods().items() if "-worker-" in name]
    assert sorted(itertools.chain(*served)) == sorted(MODALITIES)


def test_what_an_entry_of_workers_says_wins_even_when_it_is_false_or_empty() -> None:
    split = render(MATRIX["split workers that scale"])
    slow = split.one("Deployment", f"{FULL}-worker-slow")["spec"]
    assert slow["replicas"] == 1
    assert environment(slow["template"])["COATCHECK_SLOTS"] == "50"
    assert slow["template"]["spec"]["nodeSelector"] == {"gpu": "yes"}
    assert slow["template"]["spec"]["serviceAccountName"] == "shared"
    assert "topologySpreadConstraints" not in slow["template"]["spec"]
    assert f"{FULL}-worker-slow" not in split.names("PodDisruptionBudget")
    assert f"{FULL}-worker-slow" not in split.names("ServiceAccount")
    assert f"{FULL}-worker-text" in split.names("PodDisruptionBudget")


@pytest.mark.parametrize("seconds", [60, 2.5, 600])
def test_a_worker_gets_time_for_draining_recording_and_leaving(seconds: float) -> None:
    spec = pod(render({"worker": {"drainSeconds": seconds}}), "Deployment", f"{FULL}-worker")["spec"]
    assert float(environment({"spec": spec})["COATCHECK_DRAIN_SECONDS"]) == seconds
    assert spec["terminationGracePeriodSeconds"] >= seconds + STOP_MARGIN_SECONDS + CANCEL_SECONDS


@pytest.mark.parametrize("component", ["worker", "reaper"])
def test_waiting_for_the_database_at_the_start_restarts_nobody(plain: Rendered, component: str) -> None:
    only = container(pod(plain, "Deployment", f"{FULL}-{component}"))
    startup = only["startupProbe"]
    assert startup["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert startup["periodSeconds"] * startup["failureThreshold"] > 3600
    assert only["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}


def test_keda_scales_on_what_the_reaper_counts_for_the_modalities_of_the_worker() -> None:
    split = render(MATRIX["split workers that scale"])
    (scaled,) = split.kind("ScaledObject")
    spec = scaled["spec"]
    assert spec["scaleTargetRef"] == {"name": f"{FULL}-worker-text"}
    (trigger,) = spec["triggers"]
    assert trigger["metadata"]["query"] == (
        'sum(max by (modality, status) (coatcheck_jobs{job="rel",namespace="ns",modality=~"text|rerank|embeddings"}))'
    )
    assert trigger["metadata"]["threshold"] == "400"
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert trigger["authenticationRef"] == {"name": "token"}
    assert spec["fallback"]["replicas"] == 2
    assert spec["maxReplicaCount"] == 30
    assert "replicas" not in split.one("Deployment", f"{FULL}-worker-text")["spec"]


def test_few_slots_still_give_a_threshold_and_a_given_one_wins() -> None:
    def threshold(worker: dict[str, Any]) -> str:
        values: dict[str, Any] = {"worker": {"keda": {"enabled": True}}, "keda": {"serverAddress": "http://p"}}
        values["worker"] = values["worker"] | worker | {"keda": {"enabled": True} | worker.get("keda", {})}
        (scaled,) = render(values).kind("ScaledObject")
        return str(scaled["spec"]["triggers"][0]["metadata"]["threshold"])

    assert threshold({"slots": 1}) == "1"
    assert threshold({"keda": {"jobsPerReplica": 33}}) == "33"


def test_a_worker_is_scaled_without_keda_by_a_metric_of_the_operators_choice() -> None:
    scaled = render(MATRIX["pods with company"])
    scaler = scaled.one("HorizontalPodAutoscaler", f"{FULL}-worker")["spec"]
    assert scaler["scaleTargetRef"]["name"] == f"{FULL}-worker"
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    assert [metric["type"] for metric in scaler["metrics"]] == ["Pods"]
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 1800
    assert "replicas" not in scaled.one("Deployment", f"{FULL}-worker")["spec"]
    assert scaled.kind("ScaledObject") == []


def test_one_of_several_workers_can_be_scaled_by_its_cpu() -> None:
    every = [{"modalities": ["text", "embeddings", "rerank"]}, {"modalities": ["audio", "images", "ocr"]}]
    split = render({"workers": {"a": every[0] | {"autoscaling": {"enabled": True}}, "b": every[1]}})
    (scaler,) = split.kind("HorizontalPodAutoscaler")
    assert scaler["metadata"]["name"] == f"{FULL}-worker-a"
    assert scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    assert split.one("Deployment", f"{FULL}-worker-b")["spec"]["replicas"] == 2
