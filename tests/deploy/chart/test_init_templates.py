"""What runs once at an installation: the init job, and `helm test`."""

from __future__ import annotations

from tests.deploy.chart.rendered import FULL, hooks
from tests.support.helm import Rendered, container, environment, render


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
