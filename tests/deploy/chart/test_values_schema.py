"""What the chart knows of the code: every setting can be set, and what is misspelt is refused with its path."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from deploy.values_schema.__main__ import OTHER_VALUES, SCHEMA, schema
from shared.providers.config import DERIVED, ProviderConfig
from shared.providers.known import KNOWN_PROVIDERS
from shared.settings.reading import load_settings
from shared.settings.table import FIELDS
from tests.deploy.chart.matrix import MATRIX
from tests.deploy.monitoring.test_pages import missing
from tests.support.helm import Rendered, environment, failure, merged, render

UNDER_SETTINGS = sorted(set(FIELDS) - set(OTHER_VALUES))

BY_VALUE: dict[str, tuple[str, Any, str]] = {
    "admin_host": ("listenAddress", "::", "::"),
    "admin_port": ("ports.admin", 9999, "9999"),
    "admin_token": ("statusPage.existingSecret", "page", "/etc/coatcheck/status-page/token"),
    "allow_anonymous": ("auth.allowAnonymous", True, "true"),
    "drain_seconds": ("worker.drainSeconds", 77, "77"),
    "edge_processes": ("edge.processes", 3, "3"),
    "host": ("listenAddress", "::", "::"),
    "kafka_bootstrap_servers": ("kafka.bootstrapServers", "other:9092", "other:9092"),
    "kafka_group_prefix": ("kafka.prefix", "other", "other"),
    "kafka_sasl_mechanism": ("kafka.saslMechanism", "PLAIN", "PLAIN"),
    "kafka_sasl_password": ("kafka.existingSecret", "sasl", "/etc/coatcheck/kafka/password"),
    "kafka_sasl_username": ("kafka.saslUsername", "me", "me"),
    "kafka_security_protocol": ("kafka.securityProtocol", "SASL_PLAINTEXT", "SASL_PLAINTEXT"),
    "kafka_ssl_cafile": ("kafka.tls.existingSecret", "ca", "/etc/coatcheck/kafka-tls/ca.crt"),
    "kafka_topic_prefix": ("kafka.prefix", "other", "other"),
    "mongodb_database": ("mongodb.database", "other", "other"),
    "mongodb_uri": ("mongodb.existingSecret", "other", "/etc/coatcheck/mongodb/uri"),
    "port": ("ports.api", 8888, "8888"),
    "shutdown_seconds": ("edge.shutdownSeconds", 33, "33"),
    "slots": ("worker.slots", 44, "44"),
}
"""Setting to the value that sets it, something to set it to, and what the setting's variable holds then."""


WITH_RULES = {
    "kafka_replication_factor": 3,
    "cors_origins": ["https://a.example", "https://b.example"],
    "trusted_proxies": ["10.0.0.0/8", "fd00::/8"],
}
"""Settings of which not every value of their type is taken."""


def other_than_default(name: str) -> Any:
    """A value of a setting that its schema allows and that is not its default."""
    field = schema()["properties"]["settings"]["properties"][name]
    default = FIELDS[name].default
    if name in WITH_RULES:
        return WITH_RULES[name]
    if "enum" in field:
        return next(value for value in field["enum"] if value not in (default, ""))
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        return default + 0.5
    return ["a", "b"] if isinstance(default, tuple) else "other"


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def variables(rendered: Rendered) -> dict[str, str]:
    """Of all Deployments together."""
    pods = [pod for name, pod in rendered.pods().items() if name.startswith("Deployment/")]
    return {name: value for pod in pods for name, value in environment(pod).items()}


def test_every_setting_without_a_value_of_its_own_can_be_set_under_settings() -> None:
    chosen = {name: other_than_default(name) for name in UNDER_SETTINGS}
    extra = [{"name": "OTHER_BASE_URL", "value": "http://other/v1"}]
    pods = render({"settings": chosen, "extraEnv": extra}).pods()
    assert len(chosen) > 30
    for label, pod in pods.items():
        environ = {f"COATCHECK_{name.upper()}": environment(pod)[f"COATCHECK_{name.upper()}"] for name in chosen}
        loaded = load_settings(environ=environ)
        for name, value in chosen.items():
            expected = tuple(value) if isinstance(value, list) else value
            assert getattr(loaded, name) == expected, f"{label}: {name}"


def test_numbers_and_lists_under_settings_may_be_texts_as_set_string_makes_them() -> None:
    chosen = {"max_failures": "7", "lease_seconds": "2.5", "cors_origins": "https://a,https://b", "log_level": "debug"}
    found = variables(render({"settings": chosen}))
    assert {name: found[f"COATCHECK_{name.upper()}"] for name in chosen} == chosen


def test_every_other_setting_is_refused_under_settings_with_the_value_that_sets_it() -> None:
    lines = failure({"settings": {name: f"sk-secret-{name}" for name in OTHER_VALUES}}).splitlines()
    for name, value in OTHER_VALUES.items():
        (line,) = [line for line in lines if line.startswith(f"settings.{name}:")]
        assert line.endswith(f": set {value}")
        assert missing(value) == "", value
    assert "sk-secret" not in "\n".join(lines), "a refusal must not repeat what may be a secret"


@pytest.mark.parametrize("name", sorted(BY_VALUE))
def test_the_value_that_a_refusal_names_does_set_it(name: str) -> None:
    path, value, expected = BY_VALUE[name]
    assert path == OTHER_VALUES[name]
    sasl = path in ("kafka.saslMechanism", "kafka.existingSecret", "kafka.saslUsername", "kafka.securityProtocol")
    needs = {"kafka": MATRIX["encrypted and authenticated"]["kafka"]} if sasl else {}
    found = variables(render(merged(needs, nested(path, value))))
    variable = f"COATCHECK_{name.upper()}"
    assert found.get(variable, found.get(f"{variable}_FILE")) == expected


def test_every_setting_that_is_refused_has_been_tried_by_its_value() -> None:
    assert set(BY_VALUE) | {"providers"} == set(OTHER_VALUES)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"settings": {"result_ttl_secs": 5}}, "at '/settings': additional properties 'result_ttl_secs' not allowed"),
        ({"providers": {"Open AI": {}}}, "at '/providers': additional properties 'Open AI' not allowed"),
        ({"workers": {"Big": {}}}, "at '/workers': additional properties 'Big' not allowed"),
        ({"workers": {"a": {"slotz": 1}}}, "at '/workers/a': additional properties 'slotz' not allowed"),
        ({"settings": {"log_level": "loud"}}, "at '/settings/log_level': value must be one of"),
        ({"settings": {"max_failures": 0}}, "at '/settings/max_failures': exclusiveMinimum"),
        ({"settings": {"max_failures": "many"}}, "at '/settings/max_failures': 'many' does not match pattern"),
        ({"settings": {"result_ttl_seconds": True}}, "at '/settings/result_ttl_seconds': got boolean"),
        (
            {"providers": {"vllm": {"settings": {"base_uri": "http://v/v1"}}}},
            "at '/providers/vllm/settings': additional properties 'base_uri' not allowed",
        ),
        (
            {"providers": {"vllm": {"settings": {"base_url": "http://v/v1", "paths": {"chat": "/x"}}}}},
            "at '/providers/vllm/settings/paths': additional properties 'chat' not allowed",
        ),
        (
            {"providers": {"opnai": {"existingSecret": "openai"}}},
            "providers.opnai: its address is not known: set providers.opnai.settings.base_url, or correct the name",
        ),
        ({"providers": {"vllm": {"existingSecret": "x"}}}, "set providers.vllm.settings.base_url"),
        (
            {"providers": {"openai": {"existingSecret": "x"}}, "settings": {"default_provider": "opnai"}},
            'settings.default_provider: there is no provider "opnai": add it to providers, or name one of openai',
        ),
    ],
)
def test_what_is_misspelt_is_refused_with_its_path(values: dict[str, Any], says: str) -> None:
    assert says in failure(values)


@pytest.mark.parametrize("field", ["api_key", "api_key_env", "api_key_file"])
def test_a_providers_key_is_refused_with_the_value_that_names_its_secret(field: str) -> None:
    told = failure({"providers": {"openai": {"settings": {field: "sk-secret"}}}})
    assert f"providers.openai.settings.{field}: a key comes from a Secret" in told
    assert "name it in providers.openai.existingSecret" in told
    assert "sk-secret" not in told


def test_every_other_field_of_a_provider_can_be_set() -> None:
    chosen = schema()["$defs"]["provider"]["properties"]["settings"]["properties"]
    fields = {field.name for field in msgspec.structs.fields(ProviderConfig)} - set(DERIVED)
    assert set(chosen) == fields
    table = MATRIX["providers"]["providers"]["vllm"]["settings"] | {"batch_texts": 16}
    render({"providers": {"vllm": {"settings": table}}})


def test_providers_whose_address_is_known_need_none() -> None:
    hosted = [name for name, known in KNOWN_PROVIDERS.items() if known.base_url]
    render({"providers": {name: {"existingSecret": "keys"} for name in [*hosted, "local", "scripted"]}})


@pytest.mark.parametrize(
    "own",
    [
        {"extraEnv": [{"name": "MY_VLLM_BASE_URL", "value": "http://v/v1"}]},
        {"worker": {"extraEnv": [{"name": "MY_VLLM_BASE_URL", "value": "http://v/v1"}]}},
        {"extraEnvFrom": [{"secretRef": {"name": "provider-keys"}}]},
    ],
)
def test_an_address_may_come_from_a_variable(own: dict[str, Any]) -> None:
    values = {"providers": {"my-vllm": {}}, "settings": {"default_provider": "my-vllm"}}
    render(values | own)
    assert "providers.my-vllm" in failure(values)


def test_no_part_of_the_schema_is_of_a_kind_whose_refusals_helm_gives_a_wrong_path() -> None:
    """Of `propertyNames` it says the path of whatever it looked at before."""
    assert "propertyNames" not in SCHEMA.read_text()


def test_the_schema_says_what_every_setting_means() -> None:
    properties = json.loads(SCHEMA.read_text())["properties"]["settings"]["properties"]
    assert all(properties[name]["description"] for name in FIELDS)
