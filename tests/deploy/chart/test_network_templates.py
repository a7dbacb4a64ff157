"""Who reaches whom in the chart: NetworkPolicies, and scrapers."""

from __future__ import annotations

from tests.deploy.chart.matrix import MATRIX
from tests.deploy.chart.rendered import FULL, pod
from tests.support.helm import Rendered, render


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
