"""Dashboards: written from the code, valid, and every expression answered with data by a real Prometheus."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.dashboards.__main__ import FOLDER, documents, text
from shared.telemetry.metrics import DECLARED
from shared.telemetry.metrics import render as exposition
from tests.deploy.chart.matrix import MATRIX
from tests.deploy.chart.pods import Pod
from tests.deploy.monitoring.promql import check_expressions, promtool, series_names, used_matchers, used_names
from tests.deploy.monitoring.traffic import Traffic
from tests.deploy.release import Release
from tests.support.helm import NAMESPACE, RELEASE, render
from tests.support.servers.prometheus import Prometheus

DOCUMENTS = documents()


def panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in document["panels"] if panel["type"] != "row"]


EXPRESSIONS = [
    pytest.param(target["expr"], id=f"{name}: {panel['title']} {target['refId']}")
    for name, document in DOCUMENTS.items()
    for panel in panels(document)
    for target in panel["targets"]
]


def concrete(expr: str) -> str:
    """The expression as Grafana sends it for all namespaces and releases."""
    for name, value in (("$__rate_interval", "20s"), ("$namespace", ".*"), ("$job", ".*")):
        expr = expr.replace(name, value)
    return expr


def test_the_files_are_what_the_code_writes() -> None:
    assert {file.name for file in FOLDER.iterdir()} == set(DOCUMENTS)
    for name, document in DOCUMENTS.items():
        assert (FOLDER / name).read_text() == text(document), "run `python -m deploy.dashboards`"


def test_every_expression_parses(tmp_path: Path) -> None:
    check_expressions([concrete(str(param.values[0])) for param in EXPRESSIONS], tmp_path)


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_an_expression_names_only_what_exists_of_the_chosen_release(expr: str) -> None:
    known = series_names()
    names = used_names(expr)
    assert names
    assert names <= known.keys() | {"up"}
    assert expr.count('namespace=~"$namespace",job=~"$job"') >= len(names)
    for name, labels in used_matchers(expr):
        assert labels <= known[name] | {"namespace", "job"}, name


def test_promtool_finds_nothing_wrong_with_our_metrics() -> None:
    text = exposition()[0].decode()
    assert text.count("# HELP coatcheck_") == len(DECLARED), "one family for each metric that the documentation names"
    promtool("check", "metrics", stdin=text)


def test_promtool_would_find_a_counter_with_a_wrong_name() -> None:
    with pytest.raises(AssertionError, match="_total"):
        promtool("check", "metrics", stdin="# HELP coatcheck_x Something.\n# TYPE coatcheck_x counter\ncoatcheck_x 1\n")


def test_every_metric_is_on_a_dashboard() -> None:
    shown = set().union(*(used_names(str(param.values[0])) for param in EXPRESSIONS))
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    every = {re.sub(r"_(bucket|count|sum)$", "", name) for name in series_names()}
    assert every - bare == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_panels_explain_themselves_and_do_not_overlap(name: str) -> None:
    document = DOCUMENTS[name]
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        grid = panel["gridPos"]
        cells = set(itertools.product(range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])))
        assert grid["x"] + grid["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels(document):
        assert panel["description"]
        assert panel["targets"]


def test_the_chart_ships_the_dashboards_for_the_sidecar() -> None:
    shipped = render(MATRIX["observed"]).kind("ConfigMap")
    found = {key: value for one in shipped for key, value in one["data"].items() if key.endswith(".json")}
    assert {name.removeprefix("coatcheck-") for name in found} == set(DOCUMENTS)
    for name, content in found.items():
        assert json.loads(content) == DOCUMENTS[name.removeprefix("coatcheck-")]


@pytest.fixture(scope="module")
def prometheus(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has watched the release do everything that a dashboard shows."""
    key = release.run_in("reaper", "keys", "create", "load")
    release.scale("worker", 3)
    pods = list(itertools.chain(*release.pods.values()))
    targets = [":".join(map(str, pod.address("admin"))) for pod in pods]
    watching = Prometheus(tmp_path_factory.mktemp("prometheus"), targets, {"namespace": NAMESPACE}, RELEASE)
    watching.rules(
        render({"metrics": {"prometheusRule": {"enabled": True}}}).one("PrometheusRule", "rel-coatcheck")["spec"]
    )
    with watching:
        _mishaps(release, key, early=True)
        doomed = release.pods["worker"][-1]
        _keep_busy(release, key, doomed)
        models = ["scripted/ok", "scripted/latency=900", "scripted/fail=0.5,status=503"]
        with Traffic(release.endpoints, key, models, 20) as traffic:
            deadline = time.monotonic() + 6
            while time.monotonic() < deadline:
                _mishaps(release, key, early=False)
            release.pods["worker"].remove(doomed)
            doomed.kill()
            release.scale("worker", 1)
            deadline = time.monotonic() + 120  # a lease, and the time that its holder gets to come back
            while not watching.query("sum(coatcheck_provider_calls_repeated_total) > 0"):
                assert time.monotonic() < deadline, "nobody has taken over from the killed worker"
                time.sleep(0.2)
            yield watching
        assert traffic.open == set()


def _keep_busy(release: Release, key: str, doomed: Pod) -> None:
    """Submit jobs that outlast the traffic until this worker runs one: killed, it leaves a call to be made again."""
    host, port = doomed.address("admin")
    deadline = time.monotonic() + 60
    while not re.search(r"^coatcheck_slots_busy [1-9]", httpx.get(f"http://{host}:{port}/metrics").text, re.MULTILINE):
        assert time.monotonic() < deadline, f"{doomed.name} got no job: {doomed.text()}"
        body = {"model": "scripted/latency=20000", "input": "hi"}
        url = f"{release.endpoints.pick()}/v1/async/embeddings"
        httpx.post(url, headers={"Authorization": f"Bearer {key}"}, json=body).raise_for_status()
        time.sleep(0.2)


def _mishaps(release: Release, key: str, *, early: bool) -> None:
    """Requests that are refused at the door or by the API, repeated with the same key, and paused by the provider."""
    url = f"{release.endpoints.pick()}/v1/async/embeddings"
    headers = {"Authorization": f"Bearer {key}"}
    httpx.post(url, headers=headers, content=b"{")
    httpx.post(url, headers=headers | {"Content-Encoding": "gzip"}, content=b"x")
    body = {"model": "scripted/ok", "input": "hi"}
    httpx.post(url, headers=headers | {"Idempotency-Key": "same"}, json=body)
    httpx.get(f"{url}/00000000-0000-0000-0000-000000000000", headers=headers)
    if early:
        httpx.post(url, headers=headers, json={"model": "scripted/first=1,status=500", "input": "hi"})


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_a_real_prometheus_answers_with_data(prometheus: Prometheus, expr: str) -> None:
    deadline = time.monotonic() + 15
    while not (found := prometheus.query(concrete(expr))):
        assert time.monotonic() < deadline, f"no data: {concrete(expr)}"
        time.sleep(0.3)
    assert all(sample["value"][1] for sample in found)


def test_a_real_prometheus_evaluates_every_rule(prometheus: Prometheus) -> None:
    health = prometheus.rule_health()
    assert len(health) > 20
    assert {name: error for name, error in health.items() if error} == {}
