"""Does with the rendered manifests what Helm and the controllers of Kubernetes would: install, roll, scale, run."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coatcheck.dev.ports import free_ports
from tests.deploy.chart.pods import Objects, Pod
from tests.deploy.monitoring.traffic import Endpoints
from tests.support.helm import Rendered, render

NAME = "rel-coatcheck"
_numbers = itertools.count()


class Release:
    """One release: at first two edges, one worker, one reaper; 2 s before a stop and 2 s for draining."""

    def __init__(self, mongodb_uri: str, kafka: str, directory: Path) -> None:
        api, admin = free_ports(2)
        unique = f"k8s_{os.getpid()}_{next(_numbers)}"
        self.rendered: Rendered = render(
            {
                "mongodb": {"existingSecret": "own-mongodb", "database": unique},
                "kafka": {"bootstrapServers": kafka, "prefix": unique},
                "ports": {"api": api, "admin": admin},
                "edge": {"preStopSeconds": 2, "shutdownSeconds": 10},
                "worker": {"drainSeconds": 2, "replicas": 1},
                "reaper": {"replicas": 1},
                "settings": {"lease_seconds": 5, "reaper_interval_seconds": 0.5, "kafka_partitions": 3},
            }
        )
        self.objects = Objects(self.rendered, {"own-mongodb": {"uri": mongodb_uri}})
        self.endpoints = Endpoints()
        self.pods: dict[str, list[Pod]] = {"edge": [], "worker": [], "reaper": []}
        self.unhealthy: list[str] = []
        self._directory = directory

    def pod(self, kind: str, name: str) -> Pod:
        """A new pod of an object, not started."""
        return Pod(name, self.rendered.pods()[f"{kind}/{name}"], self.objects, self._directory)

    def init(self) -> str:
        """Run the init Job; what it wrote."""
        code, output = self.pod("Job", f"{NAME}-init").run(120)
        assert code == 0, output
        return output

    def install(self) -> None:
        """The hook first, then everything."""
        self.init()
        self.deploy()

    def deploy(self) -> None:
        """As many pods as the manifests ask for, ready."""
        for component, count in self.replicas().items():
            self.scale(component, count)

    def replicas(self) -> dict[str, int]:
        """How many pods the manifests ask for."""
        found = {one["metadata"]["name"]: one["spec"]["replicas"] for one in self.rendered.kind("Deployment")}
        return {component: found[f"{NAME}-{component}"] for component in self.pods}

    def scale(self, component: str, count: int) -> None:
        """Start or stop pods until there are `count`; those that stop do it at the same time."""
        pods = self.pods[component]
        for pod in self._start(component, max(0, count - len(pods))):
            pods.append(pod)
        surplus, self.pods[component] = pods[count:], pods[:count]
        self._stop(surplus)

    def roll(self, component: str) -> None:
        """Replace every pod by a new one, one at a time: the new one is ready before the old one is stopped."""
        for old in list(self.pods[component]):
            self.pods[component] += self._start(component, 1)
            self.pods[component].remove(old)
            self._stop([old])
        self.look()

    def look(self) -> None:
        """Note which pods the liveness probe would restart."""
        for pod in itertools.chain(*self.pods.values()):
            if not (pod.alive and pod.probe("liveness")):
                self.unhealthy.append(f"{pod.name}: {pod.text(500)}")

    def run_in(self, component: str, *command: str) -> str:
        """`kubectl exec`: a command in a pod of this component; what it wrote last."""
        code, output = self.pods[component][0].run(60, ["coatcheck", *command])
        assert code == 0, output
        return output.splitlines()[-1]

    def __enter__(self) -> Release:
        return self

    def __exit__(self, *_: object) -> None:
        for pod in itertools.chain(*self.pods.values()):
            pod.discard()

    def _start(self, component: str, count: int) -> list[Pod]:
        started = [self.pod("Deployment", f"{NAME}-{component}") for _ in range(count)]
        for pod in started:
            pod.start()
        for pod in started:
            pod.wait_ready()
            if component == "edge":
                self.endpoints.add(pod)
        return started

    def _stop(self, pods: list[Pod]) -> None:
        with ThreadPoolExecutor() as pool:
            for stopped in [pool.submit(pod.stop, lambda pod=pod: self.endpoints.remove(pod)) for pod in pods]:  # type: ignore[misc]
                stopped.result()
