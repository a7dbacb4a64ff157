"""Values that cannot work are refused before anything is installed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.helm import failure, render


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"edge": {"replica": 3}}, "additional properties 'replica' not allowed"),
        ({"edge": {"replicas": "3"}}, "got string, want integer"),
        ({"image": {"digest": "latest"}}, "does not match pattern"),
        ({"settings": {"slots": 5}}, "settings.slots: the chart has a value of its own for it: set worker.slots"),
        ({"settings": {"Result_TTL": 5}}, "additional properties 'Result_TTL' not allowed"),
        ({"workers": {"a": {"modalities": ["txt"]}}}, "value must be one of"),
        ({"workers": {"unsplit": {}}}, "workers.unsplit: the chart calls the only worker so: take another name"),
        ({"workers": {"a-name-that-is-too-long": {}}}, "additional properties 'a-name-that-is-too-long' not allowed"),
        ({"providers": {"vllm": {"settings": {"api_key": "sk-1"}}}}, "name it in providers.vllm.existingSecret"),
        ({"metrics": {"prometheusRule": {"resultSeconds": 42}}}, "value must be one of"),
        ({"metrics": {"podMonitor": {"interval": "15"}}}, "does not match pattern"),
        ({"kafka": {"bootstrapServers": "kafka"}}, "does not match pattern"),
        ({"extraEnv": {"A": "1"}}, "want array"),
        ({"mongodb": {"existingSecret": "", "uri": "mongodb://u:p@h/"}}, "put the connection string in a Secret"),
        ({"mongodb": {"uri": "mongodb://h/"}}, "not both"),
        ({"kafka": {"securityProtocol": "SASL_SSL"}}, "needs kafka.saslMechanism"),
        ({"kafka": {"saslUsername": "u"}}, "kafka.securityProtocol is PLAINTEXT"),
        ({"workers": {"a": {"modalities": ["text"]}}}, 'nobody serves modality "ocr"'),
        ({"worker": {"keda": {"enabled": True}}}, "set keda.serverAddress"),
        (
            {"worker": {"autoscaling": {"enabled": True, "minReplicas": 20}}},
            "is above its autoscaling.maxReplicas",
        ),
        ({"worker": {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}}}, "or extraMetrics"),
        ({"edge": {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}}}, "or extraMetrics"),
        (
            {
                "worker": {"autoscaling": {"enabled": True}, "keda": {"enabled": True}},
                "keda": {"serverAddress": "http://p"},
            },
            "both keda and autoscaling",
        ),
        ({"edge": {"ingress": {"enabled": True}}}, "needs edge.ingress.hosts"),
        ({"edge": {"httpRoute": {"enabled": True}}}, "needs edge.httpRoute.parentRefs"),
        ({"edge": {"autoscaling": {"enabled": True, "minReplicas": 20}}}, "is above autoscaling.maxReplicas"),
        (
            {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}},
            "scrape everything twice",
        ),
        ({"metrics": {"serviceMonitor": {"enabled": True}, "service": {"enabled": False}}}, "needs metrics.service"),
    ],
)
def test_values_that_cannot_work_are_refused_with_what_to_do(values: dict[str, Any], says: str) -> None:
    assert says in failure(values)


def test_a_modality_may_be_left_to_others_on_purpose() -> None:
    render({"workers": {"a": {"modalities": ["text"]}}, "allowUnservedModalities": True})
