"""Each template on its own: what a value changes, and what it must never change."""

from __future__ import annotations

import itertools
import tomllib
from typing import Any

import pytest

from coatcheck.cli.run.components import STOP_MARGIN_SECONDS
from coatcheck.cli.run.edge_master import APP
from coatcheck.cli.run.runtime import CANCEL_SECONDS
from shared.domain.catalogue import MODALITIES
from shared.settings.table import Settings
from tests.deploy.chart.matrix import MATRIX
from tests.support.helm import Manifest, Rendered, container, environment, render

FULL = "rel-coatcheck"


@pytest.fixture(scope="module")
def plain() -> Rendered:
    """The chart with nothing but what is required."""
    return render()


def pod(rendered: Rendered, kind: str, name: str) -> Manifest:
    return rendered.pods()[f"{kind}/{name}"]


def hooks(manifest: Manifest) -> dict[str, str]:
    annotations = manifest["metadata"].get("annotations", {})
    return {name: value for name, value in annotations.items() if name.startswith("helm.sh/hook")}


# Edge


def test_the_edge_waits_before_it_stops_and_has_time_for_all_of_it(plain: Rendered) -> None:
    spec = pod(plain, "Deployment", f"{FULL}-edge")["spec"]
    only = container({"spec": spec})
    wait = only["lifecycle"]["preStop"]["exec"]["command"]
    assert wait == ["sleep", "10"]
    graceful = int(environment({"spec": spec})["COATCHECK_SHUTDOWN_SECONDS"])
    assert spec["terminationGracePeriodSeconds"] >= int(wait[1]) + graceful + 5
    longer = render({"edge": {"preStopSeconds": 30, "shutdownSeconds": 90}})
    assert pod(longer, "Deployment", f"{FULL}-edge")["spec"]["terminationGracePeriodSeconds"] == 130


def test_the_edge_is_ready_by_the_api_and_alive_by_its_master(plain: Rendered) -> None:
    assert APP  # the master that answers on the admin port is not what serves the API
    only = container(pod(plain, "Deployment", f"{FULL}-edge"))
    assert only["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "api"}
    assert only["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}
    assert "startupProbe" not in only


def test_a_rollout_of_the_edge_never_has_fewer_pods(plain: Rendered) -> None:
    for deployment in plain.kind("Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_service_leads_to_the_api_and_not_to_the_admin_port(plain: Rendered) -> None:
    (port,) = plain.one("Service", FULL)["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, "api")


def test_an_autoscaled_deployment_has_no_replicas_of_its_own() -> None:
    scaled = render({"edge": {"autoscaling": {"enabled": True, "maxReplicas": 7}}})
    scaler = scaled.one("HorizontalPodAutoscaler", f"{FULL}-edge")["spec"]
    assert scaler["scaleTargetRef"]["name"] == f"{FULL}-edge"
    assert scaler["maxReplicas"] == 7
    assert "replicas" not in scaled.one("Deployment", f"{FULL}-edge")["spec"]


def test_ingress_and_route_lead_to_the_service() -> None:
    outside = render(MATRIX["reachable from outside"])
    (rule,) = outside.one("Ingress", FULL)["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": FULL, "port": {"name": "http"}}
    (route,) = outside.one("HTTPRoute", FULL)["spec"]["rules"]
    assert route["backendRefs"] == [{"name": FULL, "port": 80}]
    assert int(route["timeouts"]["request"].removesuffix("s")) > Settings().sync_wait_seconds


# Workers


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


# Pods and Deployments that operators shape


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


# Init


def test_the_init_hook_needs_nothing_of_the_release(plain: Rendered) -> None:
    job = plain.one("Job", f"{FULL}-init")
    assert hooks(job)["helm.sh/hook"] == "pre-install,pre-upgrade"
    spec = job["spec"]["template"]["spec"]
    ours = {name for manifest in plain.manifests if not hooks(manifest) for name in [manifest["metadata"]["name"]]}
    named = [volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume]
    named += [volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume]
    assert not {*named, spec["serviceAccountName"]} & ours
    assert spec["restartPolicy"] == "Never"


def test_the_policy_of_the_init_hook_is_there_before_it(plain: Rendered) -> None:
    policy, job = plain.one("NetworkPolicy", f"{FULL}-init"), plain.one("Job", f"{FULL}-init")
    assert int(hooks(policy)["helm.sh/hook-weight"]) < int(hooks(job)["helm.sh/hook-weight"])


def test_a_plain_init_job_carries_the_revision_and_is_no_hook() -> None:
    extra = render({"init": {"useHelmHooks": False}})
    job = extra.one("Job", f"{FULL}-init-1")
    assert hooks(job) == hooks(extra.one("NetworkPolicy", f"{FULL}-init")) == {}
    assert job["spec"]["ttlSecondsAfterFinished"] > 0


def test_init_can_be_off() -> None:
    off = render({"init": {"enabled": False}})
    assert off.kind("Job") == []
    assert f"{FULL}-init" not in off.names("NetworkPolicy")


# Secrets, configuration


def test_secrets_are_mounted_as_files_and_named_by_variables() -> None:
    secured = render(MATRIX["encrypted and authenticated"])
    for name, one in secured.pods().items():
        values = environment(one)
        mounts = {mount["mountPath"] for mount in container(one)["volumeMounts"]}
        files = [value for key, value in values.items() if key.endswith(("_FILE", "_CAFILE"))]
        listens = name.startswith("Deployment/")
        assert len(files) == 3 + listens, name
        assert ("COATCHECK_ADMIN_TOKEN_FILE" in values) is listens
        assert all(any(file.startswith(f"{mount}/") for mount in mounts) for file in files)
        assert values["COATCHECK_KAFKA_SASL_MECHANISM"] == "SCRAM-SHA-512"
    for one in secured.pods().values():
        for volume in one["spec"]["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440


def test_the_table_of_providers_says_what_the_values_say() -> None:
    values = MATRIX["providers"]
    data = render(values).one("ConfigMap", FULL)["data"]
    table = tomllib.loads(data["worker.toml"])["providers"]["vllm"]
    assert table.pop("api_key_file") == "/etc/coatcheck/providers/vllm"
    assert table == values["providers"]["vllm"]["settings"]
    assert tomllib.loads(data["edge.toml"])["providers"]["vllm"] == table


def test_a_change_of_providers_restarts_edge_and_worker_and_nothing_else(plain: Rendered) -> None:
    changed = render({"providers": {"openai": {"existingSecret": "openai"}}})
    for component, restarts in (("edge", True), ("worker", True), ("reaper", False)):
        before, after = (
            pod(one, "Deployment", f"{FULL}-{component}")["metadata"].get("annotations") for one in (plain, changed)
        )
        assert (before != after) is restarts, component


def test_scripted_answers_are_there_only_until_a_provider_is_configured(plain: Rendered) -> None:
    def scripted(rendered: Rendered) -> bool:
        return "scripted" in tomllib.loads(rendered.one("ConfigMap", FULL)["data"]["worker.toml"]).get("providers", {})

    assert scripted(plain)
    assert not scripted(render({"providers": {"openai": {"existingSecret": "openai"}}}))
    assert not scripted(render({"selfTest": {"enabled": False}}))


def test_yours_come_last_in_the_environment() -> None:
    extra = render({"extraEnv": [{"name": "A", "value": "1"}], "worker": {"extraEnv": [{"name": "B", "value": "2"}]}})
    names = [entry["name"] for entry in container(pod(extra, "Deployment", f"{FULL}-worker"))["env"]]
    assert names[-2:] == ["A", "B"]
    assert [entry["name"] for entry in container(pod(extra, "Deployment", f"{FULL}-edge"))["env"]][-1] == "A"


# NetworkPolicies


def egress_ports(rendered: Rendered, component: str) -> set[int]:
    rules = rendered.one("NetworkPolicy", f"{FULL}-{component}")["spec"]["egress"]
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_each_component_reaches_what_it_needs_and_no_more() -> None:
    opened = render(MATRIX["providers"])
    assert egress_ports(opened, "edge") == {53, 27017, 9092, 9093}
    assert egress_ports(opened, "reaper") == {53, 27017}
    assert egress_ports(opened, "worker") == {53, 27017, 9092, 9093, 443, 8000}
    assert egress_ports(opened, "init") == {53, 27017, 9092, 9093}


def test_workers_cannot_ask_the_cloud_for_its_credentials(plain: Rendered) -> None:
    rules = plain.one("NetworkPolicy", f"{FULL}-worker")["spec"]["egress"]
    blocks = [peer["ipBlock"] for rule in rules for peer in rule.get("to", ()) if "ipBlock" in peer]
    assert {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]} in blocks


def test_helm_test_gets_in_where_others_are_kept_out() -> None:
    closed = render(MATRIX["reachable from outside"])
    rules = closed.one("NetworkPolicy", f"{FULL}-edge")["spec"]["ingress"]
    labels = pod(closed, "Pod", f"{FULL}-test")["metadata"]["labels"]
    peers = [peer for rule in rules for peer in rule["from"] if "podSelector" in peer]
    assert any(peer["podSelector"]["matchLabels"].items() <= labels.items() for peer in peers)


# Metrics


def test_scrapers_find_every_component_ready_or_not_under_the_name_of_the_release() -> None:
    observed = render(MATRIX["observed"])
    service = observed.one("Service", f"{FULL}-metrics")
    assert service["spec"]["publishNotReadyAddresses"] is True
    monitor = observed.one("ServiceMonitor", FULL)["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert observed.one("Service", FULL)["metadata"]["labels"]["app.kubernetes.io/component"] == "edge"
    assert monitor["jobLabel"] == "app.kubernetes.io/instance"
    for one in (
        monitor["endpoints"],
        render(MATRIX["scraped by pod"]).one("PodMonitor", FULL)["spec"]["podMetricsEndpoints"],
    ):
        assert one[0]["port"] == "admin"
        assert one[0]["relabelings"][0]["regex"] == "edge|worker|reaper"


# helm test and notes


def test_helm_test_makes_a_key_for_one_model_and_revokes_it(plain: Rendered) -> None:
    test = plain.one("Pod", f"{FULL}-test")
    assert hooks(test)["helm.sh/hook"] == "test"
    script = container(test)["args"][0]
    assert "keys create" in script
    assert "keys revoke" in script
    assert environment(test)["TEST_MODEL"] == "scripted/ok"
    assert environment(test)["COATCHECK_URL"] == f"http://{FULL}:80"
    anonymous = container(render({"auth": {"allowAnonymous": True}}).one("Pod", f"{FULL}-test"))["args"][0]
    assert "keys" not in anonymous


def test_without_a_model_to_ask_there_is_no_helm_test() -> None:
    providers = {"providers": {"openai": {"existingSecret": "openai"}}}
    assert render(providers).kind("Pod") == []
    assert len(render(providers | {"tests": {"model": "openai/gpt-4o-mini"}}).kind("Pod")) == 1
