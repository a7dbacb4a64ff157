"""The chart over a matrix of values: linted, rendered, validated by the Kubernetes schemas, and safe in every pod."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from coatcheck.cli.main import SECTIONS
from deploy.release.helm import HelmFailed, helm
from shared.providers.config import configured
from shared.settings.reading import load_settings
from tests.deploy.chart.matrix import MATRIX, RESTRICTED
from tests.support.helm import CHART, REQUIRED, Manifest, Rendered, container, environment, failure, merged, render

CUSTOM = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute"}
"""Kinds of other projects, whose schemas do not come with Kubernetes."""
VERSIONS = ("1.27", "1.37")

cases = pytest.mark.parametrize("case", MATRIX)


@pytest.fixture(scope="module")
def rendered() -> dict[str, Rendered]:
    """Every case, rendered once."""
    return {case: render(values) for case, values in MATRIX.items()}


def variables(pod: Manifest) -> dict[str, str]:
    """The settings of a pod as its process reads them; files of Secrets are left out, they do not exist here."""
    found = {name: value for name, value in environment(pod).items() if name.startswith("COATCHECK_")}
    return {name: value for name, value in found.items() if not name.endswith(("_FILE", "_CONFIG", "_URL"))}


@cases
def test_helm_lint_finds_nothing_wrong(case: str) -> None:
    helm("lint", "--strict", CHART, values=merged(REQUIRED, MATRIX[case]))


@cases
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_fits_the_schema_of_kubernetes(rendered: dict[str, Rendered], case: str, version: str) -> None:
    manifests = [manifest for manifest in rendered[case].manifests if manifest["kind"] not in CUSTOM]
    assert len(manifests) >= 5
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_validation_can_fail() -> None:
    (service,) = [one for one in render().kind("Service") if one["metadata"]["name"] == "rel-coatcheck"]
    service["spec"]["typo"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[-1], strict=True)


@cases
def test_names_are_unique_and_short_and_labels_say_whose_they_are(rendered: dict[str, Rendered], case: str) -> None:
    seen = set()
    for manifest in rendered[case].manifests:
        metadata = manifest["metadata"]
        key = (manifest["kind"], metadata.get("namespace"), metadata["name"])
        assert key not in seen
        seen.add(key)
        assert len(metadata["name"]) <= 63
        if not metadata["name"].startswith("rel-map") and not metadata["name"].startswith("rel-text"):
            assert metadata["labels"]["app.kubernetes.io/instance"] == "rel"


@cases
def test_every_pod_meets_the_restricted_security_standard(rendered: dict[str, Rendered], case: str) -> None:
    for name, pod in rendered[case].pods().items():
        spec, only = pod["spec"], container(pod)
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(one["securityContext"] == RESTRICTED for one in spec["containers"])
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "secret", "configMap", "projected"}
        assert "memory" in only["resources"]["limits"]


@cases
def test_no_pod_gets_a_token_or_the_variables_of_services(rendered: dict[str, Rendered], case: str) -> None:
    for name, pod in rendered[case].pods().items():
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert pod["spec"]["enableServiceLinks"] is False, name
    for account in rendered[case].kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_a_service_called_coatcheck_would_break_a_pod_with_service_links() -> None:
    with pytest.raises(Exception, match=r"port = tcp://10\.0\.0\.1:80 \(COATCHECK_PORT\)"):
        load_settings(environ={"COATCHECK_PORT": "tcp://10.0.0.1:80"})


@cases
def test_the_settings_of_every_pod_are_accepted_by_the_code(
    rendered: dict[str, Rendered], case: str, tmp_path: Path
) -> None:
    mounted = tmp_path / "mounted"
    mounted.write_text("what a Secret holds")
    for pod in rendered[case].pods().values():
        environ = variables(pod)
        if "COATCHECK_KAFKA_SSL_CAFILE" in environ:
            environ["COATCHECK_KAFKA_SSL_CAFILE"] = str(mounted)
        if "COATCHECK_KAFKA_SASL_MECHANISM" in environ:
            environ["COATCHECK_KAFKA_SASL_PASSWORD_FILE"] = str(mounted)
        load_settings(environ=environ)


@cases
def test_every_pod_runs_a_command_that_exists(rendered: dict[str, Rendered], case: str) -> None:
    commands = {name for section in SECTIONS.values() for name in section}
    for pod in rendered[case].pods().values():
        only = container(pod)
        if "command" not in only:
            assert only["args"][0] in commands
        else:
            used = set(re.findall(r"\bcoatcheck (\w+)", " ".join(only["args"])))
            assert used
            assert used <= commands


@cases
def test_every_mounted_volume_is_there_and_every_volume_is_mounted(rendered: dict[str, Rendered], case: str) -> None:
    for name, pod in rendered[case].pods().items():
        mounted = {mount["name"] for mount in container(pod)["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}, name


@cases
def test_selectors_find_their_pods_and_no_others(rendered: dict[str, Rendered], case: str) -> None:
    pods = {name: pod["metadata"]["labels"] for name, pod in rendered[case].pods().items()}

    def found(selector: dict[str, str]) -> set[str]:
        return {name for name, labels in pods.items() if selector.items() <= labels.items()}

    for deployment in rendered[case].kind("Deployment"):
        label = f"Deployment/{deployment['metadata']['name']}"
        assert found(deployment["spec"]["selector"]["matchLabels"]) == {label}
    for service in rendered[case].kind("Service"):
        names = found(service["spec"]["selector"])
        assert names
        if service["spec"].get("clusterIP") != "None":
            assert all(name.endswith("-edge") for name in names)
    for budget in rendered[case].kind("PodDisruptionBudget"):
        label = f"Deployment/{budget['metadata']['name']}"
        assert found(budget["spec"]["selector"]["matchLabels"]) == {label}


@cases
def test_every_pod_is_under_a_policy_that_denies_what_it_does_not_list(
    rendered: dict[str, Rendered], case: str
) -> None:
    policies = rendered[case].kind("NetworkPolicy")
    if case == "little":
        assert policies == []
        return
    for name, pod in rendered[case].pods().items():
        labels = pod["metadata"]["labels"]
        mine = [one for one in policies if one["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
        assert len(mine) == 1, name
        assert mine[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]


@cases
def test_no_secret_of_any_kind_is_rendered(rendered: dict[str, Rendered], case: str) -> None:
    ours = [one for one in rendered[case].kind("Secret") if not one["metadata"]["name"].startswith("rel-map")]
    assert ours == []


@cases
def test_no_number_has_an_exponent_and_nothing_is_left_of_the_templates(
    rendered: dict[str, Rendered], case: str
) -> None:
    assert not re.search(r"\d[eE]\+\d|%!|<no value>|<nil>", rendered[case].text)


@cases
def test_an_upgrade_renders_the_same_as_an_installation(rendered: dict[str, Rendered], case: str) -> None:
    def stable(one: Rendered) -> list[Any]:
        return [manifest for manifest in one.manifests if manifest["kind"] != "Job"]

    assert stable(render(MATRIX[case], "--is-upgrade")) == stable(rendered[case])


@cases
def test_the_providers_of_edge_and_worker_are_the_same_and_only_workers_get_keys(
    rendered: dict[str, Rendered], case: str
) -> None:
    tables = {}
    for config in rendered[case].kind("ConfigMap"):
        for name, text in config.get("data", {}).items():
            if name.endswith(".toml"):
                tables[name] = tomllib.loads(text).get("providers", {})
    edge = configured(tables["edge.toml"], {})
    for table in tables["worker.toml"].values():
        assert table.pop("api_key_file", "").startswith(("/etc/coatcheck/providers/", ""))
    assert configured(tables["worker.toml"], {}) == edge
    assert not any(config.api_key for config in edge.values())
    for name, pod in rendered[case].pods().items():
        if "worker" not in name:
            assert "providers" not in {volume["name"] for volume in pod["spec"]["volumes"]}


def test_every_template_is_rendered_by_some_case(rendered: dict[str, Rendered]) -> None:
    written = {f"coatcheck/{file.relative_to(CHART)}" for file in (CHART / "templates").rglob("*.yaml")}
    sources = {name for one in rendered.values() for name in re.findall(r"^# Source: (\S+)", one.text, re.MULTILINE)}
    assert written - sources == set()


def test_without_a_database_and_a_broker_two_lines_say_what_to_set() -> None:
    lines = [line for line in failure({}, required=()).splitlines() if line.startswith(("mongodb:", "kafka:"))]
    assert len(lines) == 2
    assert "mongodb.existingSecret" in lines[0]
    assert "kafka.bootstrapServers" in lines[1]


def test_an_old_cluster_is_refused() -> None:
    with pytest.raises(HelmFailed, match=r"1\.26"):
        render({}, "--kube-version", "1.26.0")
