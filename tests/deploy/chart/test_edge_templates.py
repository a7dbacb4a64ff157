"""The edge in the chart: its pods, its service and what leads there."""

from __future__ import annotations

from coatcheck.cli.run.edge_master import APP
from shared.settings.table import Settings
from tests.deploy.chart.matrix import MATRIX
from tests.deploy.chart.rendered import FULL, pod
from tests.support.helm import Rendered, container, environment, render


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
