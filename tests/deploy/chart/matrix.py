"""Values that the chart is rendered with: each case switches on what others leave off."""

from __future__ import annotations

from typing import Any

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

MATRIX: dict[str, dict[str, Any]] = {
    "defaults": {},
    "plain address and anonymous": {
        "mongodb": {"existingSecret": "", "uri": "mongodb://mongo-0:27017/?replicaSet=rs0"},
        "auth": {"allowAnonymous": True},
        "listenAddress": "::",
    },
    "encrypted and authenticated": {
        "statusPage": {"existingSecret": "status-page"},
        "mongodb": {"tls": {"existingSecret": "mongodb-ca"}},
        "kafka": {
            "bootstrapServers": "kafka-0:9094, kafka-1:9094",
            "securityProtocol": "SASL_SSL",
            "saslMechanism": "SCRAM-SHA-512",
            "saslUsername": "coatcheck",
            "existingSecret": "kafka",
            "tls": {"existingSecret": "kafka-ca"},
        },
    },
    "providers": {
        "providers": {
            "openai": {"existingSecret": "openai"},
            "vllm": {
                "existingSecret": "vllm",
                "existingSecretKey": "token",
                "settings": {
                    "base_url": "http://vllm.models:8000/v1",
                    "models": ["llama-3.1-8b"],
                    "max_concurrency": 64,
                    "timeout_seconds": 1.5,
                    "trace_calls": True,
                    "headers": {"X-Team": 'a "b" <c> \\ /'},
                    "paths": {"rerank": "https://rerank.models/rerank"},
                },
            },
        },
        "settings": {
            "result_ttl_seconds": 7200,
            "max_request_bytes": 67108864,
            "lease_seconds": 2.5,
            "cors_origins": ["https://a.example", "https://b.example"],
            "default_provider": "openai",
        },
        "tests": {"model": "openai/gpt-4o-mini"},
    },
    "split workers that scale": {
        "workers": {
            "text": {"modalities": ["text", "rerank", "embeddings"], "keda": {"enabled": True, "maxReplicas": 30}},
            "slow": {
                "modalities": ["audio", "images", "ocr"],
                "slots": 50,
                "replicas": 1,
                "nodeSelector": {"gpu": "yes"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "podDisruptionBudget": {"enabled": False},
                "serviceAccount": {"create": False, "name": "shared"},
                "topologySpreadConstraints": [],
            },
            "nobody": None,
        },
        "edge": {"autoscaling": {"enabled": True}},
        "keda": {"serverAddress": "http://prometheus:9090", "authenticationRef": "token", "authModes": "bearer"},
    },
    "reachable from outside": {
        "edge": {
            "service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"], "nodePort": 30080},
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "hosts": ["coatcheck.example"],
                "tls": [{"secretName": "tls", "hosts": ["coatcheck.example"]}],
            },
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["coatcheck.example"]},
        },
        "networkPolicy": {
            "apiFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
            "adminFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "mongodb": {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]},
            "dnsTo": [{"namespaceSelector": {}}],
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 4317}]}],
        },
    },
    "observed": {
        "metrics": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "prometheusRule": {
                "enabled": True,
                "runbookUrl": "https://runbooks.example/",
                "disabled": ["CoatcheckVersionsDiffer"],
                "alertLabels": {"team": "ai"},
                "submitObjective": 0.9995,
                "resultSeconds": 2.5,
            },
            "dashboards": {"enabled": True, "namespace": "grafana", "annotations": {"grafana_folder": "AI"}},
        },
    },
    "scraped by pod": {"metrics": {"podMonitor": {"enabled": True}, "service": {"enabled": False}}},
    "little": {
        "edge": {"replicas": 1, "podDisruptionBudget": {"enabled": False}, "serviceAccount": {"create": False}},
        "reaper": {"replicas": 1, "podDisruptionBudget": {"enabled": False}},
        "init": {"enabled": False},
        "tests": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "selfTest": {"enabled": False},
        "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
    },
    "pods with company": {
        "providers": {"openai": {"existingSecret": "openai"}},
        "tests": {"model": "openai/gpt-4o-mini"},
        "extraInitContainers": [{"name": "prepare", "image": "prepare:1", "securityContext": RESTRICTED}],
        "extraContainers": [{"name": "shipper", "image": "shipper:1", "securityContext": RESTRICTED}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["10.0.0.53"], "options": [{"name": "ndots", "value": "1"}]},
        "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["mongo-0"]}],
        "runtimeClassName": "gvisor",
        "revisionHistoryLimit": 0,
        "deploymentAnnotations": {"reloader.stakater.com/auto": "true"},
        "secretsRevision": "2026-01",
        "extraObjects": [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "rel-map-own"}, "stringData": {"a": "1"}}
        ],
        "worker": {
            "extraContainers": [{"name": "gpu-watch", "image": "watch:1", "securityContext": RESTRICTED}],
            "runtimeClassName": "nvidia",
            "dnsPolicy": "ClusterFirst",
            "dnsConfig": {"searches": ["models.svc"]},
            "hostAliases": [{"ip": "10.0.0.10", "hostnames": ["vllm"]}],
            "deploymentAnnotations": {"team": "inference"},
            "autoscaling": {
                "enabled": True,
                "maxReplicas": 6,
                "targetCPUUtilizationPercentage": None,
                "extraMetrics": [
                    {
                        "type": "Pods",
                        "pods": {
                            "metric": {"name": "coatcheck_slots_busy"},
                            "target": {"type": "AverageValue", "averageValue": "400"},
                        },
                    }
                ],
            },
        },
    },
    "everything extra": {
        "fullnameOverride": "a-name-that-is-much-longer-than-forty-characters-are",
        "commonLabels": {"cost-center": "42"},
        "commonAnnotations": {"owner": "ai"},
        "image": {"repository": "registry.example/coatcheck", "digest": f"sha256:{'a' * 64}", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "podLabels": {"mesh": "on"},
        "podAnnotations": {"reloader": "auto"},
        "extraEnv": [{"name": "OTHER", "value": "1"}],
        "extraEnvFrom": [{"secretRef": {"name": "provider-keys"}}],
        "extraVolumes": [{"name": "own-ca", "configMap": {"name": "own-ca"}}],
        "extraVolumeMounts": [{"name": "own-ca", "mountPath": "/etc/own-ca"}],
        "priorityClassName": "high",
        "worker": {
            "extraEnv": [{"name": "VLLM_BASE_URL", "value": "http://vllm:8000/v1"}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "kind", "operator": "In", "values": ["cpu"]}]}
                        ]
                    }
                }
            },
        },
        "init": {"useHelmHooks": False, "annotations": {"argocd.argoproj.io/sync-wave": "-1"}},
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-map"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n",
        ],
    },
}
