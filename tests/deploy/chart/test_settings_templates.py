"""Secrets, the file of settings, and providers in the chart."""

from __future__ import annotations

import tomllib

from tests.deploy.chart.matrix import MATRIX
from tests.deploy.chart.rendered import FULL, pod
from tests.support.helm import Rendered, container, environment, render


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
