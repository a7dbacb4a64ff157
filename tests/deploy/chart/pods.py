"""Pods without a cluster: the rendered command as uid 10001 and process 1 on a read-only root, probed and stopped as
Kubernetes does it.

Every pod gets an address of its own on loopback in place of 0.0.0.0. Secrets and ConfigMaps are mounted where the
manifest says; nothing of this machine's environment gets in.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.release.helm import ROOT
from tests.support.helm import Manifest, Rendered, container, required_program

DOCKERFILE = ROOT / "Dockerfile"
IMAGE_ROOT = os.environ.get("TEST_IMAGE_ROOT", "")
"""The unpacked root of a built image to run in; without it, this machine's Python and the checkout."""
_numbers = itertools.count(1)
_POLL_SECONDS = 0.05


class Objects:
    """What pods refer to: the ConfigMaps of a rendering, and Secrets that somebody made beforehand."""

    def __init__(self, rendered: Rendered, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self._config = {one["metadata"]["name"]: one["data"] for one in rendered.kind("ConfigMap")}
        self._secrets = secrets

    def files(self, volume: Manifest) -> dict[str, str]:
        """Path to content of a volume; a Secret or key that does not exist is a KeyError, as Kubernetes would wait."""
        if "emptyDir" in volume:
            return {}
        if "projected" in volume:
            parts = [self.files({"secret": part["secret"]}) for part in volume["projected"]["sources"]]
            return {path: content for part in parts for path, content in part.items()}
        if "configMap" in volume:
            source, data = volume["configMap"], self._config[volume["configMap"]["name"]]
        else:
            source = volume["secret"]
            data = self._secrets[source.get("secretName") or source["name"]]
        items = source.get("items") or [{"key": key, "path": key} for key in data]
        return {item["path"]: data[item["key"]] for item in items}


class Pod:
    """One pod of a template. `directory` holds its volumes and its log."""

    def __init__(self, name: str, template: Manifest, objects: Objects, directory: Path) -> None:
        number = next(_numbers)
        self.name = f"{name}-{number}"
        self.ip = f"127.{20 + os.getpid() % 200}.{number // 250}.{number % 250 + 1}"
        self.template = template
        self.container = container(template)
        self.grace = float(template["spec"].get("terminationGracePeriodSeconds", 30))
        self._directory = directory / self.name
        self._objects = objects
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0

    # What the kubelet prepares

    @property
    def environ(self) -> dict[str, str]:
        """The container's variables as rendered, but for the address to listen on."""
        given = {entry["name"]: entry["value"] for entry in self.container["env"]}
        hosts = {name: self.ip for name in ("COATCHECK_HOST", "COATCHECK_ADMIN_HOST") if name in given}
        assert all(given[name] == "0.0.0.0" for name in hosts), "the chart has to listen on all addresses"
        return given | hosts

    @property
    def command(self) -> list[str]:
        """The image's entry point with the manifest's arguments, or the manifest's own command."""
        return [*(self.container.get("command") or entry_point()), *self.container.get("args", ())]

    def _mounts(self) -> list[str]:
        """bwrap's arguments for the volumes, which are written to disk here."""
        volumes = {volume["name"]: volume for volume in self.template["spec"]["volumes"]}
        arguments: list[str] = []
        for mount in self.container["volumeMounts"]:
            folder = self._directory / mount["name"]
            folder.mkdir(parents=True, exist_ok=True)
            for path, content in self._objects.files(volumes[mount["name"]]).items():
                (folder / path).write_text(content)
            arguments += ["--ro-bind" if mount.get("readOnly") else "--bind", str(folder), mount["mountPath"]]
        return arguments

    def _sandbox(self, info: int, environ: Mapping[str, str]) -> list[str]:
        context = self.template["spec"]["securityContext"]
        assert self.container["securityContext"]["readOnlyRootFilesystem"]
        arguments = [required_program("bwrap", "bubblewrap"), "--die-with-parent", "--new-session"]
        arguments += ["--unshare-user", "--unshare-pid", "--as-pid-1", "--info-fd", str(info)]
        arguments += ["--uid", str(context["runAsUser"]), "--gid", str(context["runAsGroup"]), "--cap-drop", "ALL"]
        own = ["/opt"] if IMAGE_ROOT else [sys.base_prefix, str(ROOT)]
        for path in ("/usr", "/etc/ssl", "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd"):
            arguments += ["--ro-bind-try", IMAGE_ROOT + path, path]
        for link in ("bin", "lib", "lib64", "sbin"):
            arguments += ["--symlink", f"usr/{link}", f"/{link}"]
        arguments += ["--proc", "/proc", "--dev", "/dev", "--chdir", "/", *self._mounts()]
        for path in own:  # after the volumes: a checkout may lie below /tmp, which is one of them
            arguments += ["--ro-bind-try", IMAGE_ROOT + path, path]
        arguments += ["--remount-ro", "/"]
        programs = "/opt/coatcheck/bin:/usr/local/bin" if IMAGE_ROOT else Path(sys.executable).parent
        arguments += ["--clearenv", "--setenv", "PATH", f"{programs}:/usr/bin:/bin"]
        for name, value in environ.items():
            arguments += ["--setenv", name, value]
        return arguments

    # Its life

    def start(self, **overrides: str) -> None:
        """Start it and return at once. Call it on a thread that lives as long as the pod: it dies with that thread."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._process, self._pid = self._spawn(self.command, overrides, self.log)

    def run(self, timeout: float, command: Sequence[str] | None = None, **overrides: str) -> tuple[int, str]:
        """Run it, or another command in its place (as `kubectl exec` does), to the end: exit code and output."""
        self._directory.mkdir(parents=True, exist_ok=True)
        log = self._directory / f"run-{next(_numbers)}.log"
        process, _ = self._spawn(command or self.command, overrides, log)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{self.name} did not end within {timeout:g} s: {log.read_text()}") from None
        return code, log.read_text()

    def _spawn(self, command: Sequence[str], overrides: Mapping[str, str], log: Path) -> tuple[Any, int]:
        reader, writer = os.pipe()
        with log.open("ab") as output, contextlib.closing(os.fdopen(reader)) as info:
            arguments = [*self._sandbox(writer, {**self.environ, **overrides}), *command]
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=[writer], env={}
            )
            os.close(writer)
            select.select([info], [], [], 10.0)
            text = info.read()
        assert text, f"bwrap cannot make a sandbox here: {log.read_text()}"
        return process, int(json.loads(text)["child-pid"])

    def stop(self, leaves_service: Callable[[], None] = lambda: None) -> float:
        """preStop, SIGTERM to process 1, and SIGKILL when the grace period is over. Returns the seconds it took.

        Like the endpoint controller, `leaves_service` is told when the stop begins. Raises AssertionError for a pod
        that had to be killed or did not exit with 0.
        """
        assert self._process is not None
        began = time.monotonic()
        leaves_service()
        hook = self.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        if hook:
            subprocess.run(hook, check=True, timeout=self.grace)
        assert self.alive, f"{self.name} did not live until SIGTERM: {self.text()}"
        os.kill(self._pid, signal.SIGTERM)
        try:
            code = self._process.wait(max(0.0, began + self.grace - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} was killed: it took more than {self.grace} s: {self.text()}") from None
        assert code == 0, f"{self.name} exited with {code}: {self.text()}"
        return time.monotonic() - began

    def kill(self) -> None:
        """kill -9, as the kernel does when memory is out."""
        if self._process is not None and self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._process.wait(10)

    def discard(self) -> None:
        """Kill what is left of it, and remove its volumes."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """What its process wrote."""
        return self._directory / "log"

    def text(self, characters: int = 3000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-characters:]

    # Probes

    def address(self, port: str | int) -> tuple[str, int]:
        """Where a port of the container is; its name or number."""
        ports = {one["name"]: int(one["containerPort"]) for one in self.container.get("ports", ())}
        return self.ip, ports[port] if isinstance(port, str) else port

    def probe(self, kind: str) -> bool:
        """Ask once, by the time-out that the manifest gives. True for a pod without this probe."""
        probe = self.container.get(f"{kind}Probe")
        if probe is None:
            return True
        get = probe["httpGet"]
        status, _ = self.get(get["port"], get["path"], probe["timeoutSeconds"])
        return 200 <= status < 400

    def get(self, port: str | int, path: str, timeout: float = 5.0) -> tuple[int, str]:
        """GET; status 0 when nobody answers."""
        connection = http.client.HTTPConnection(*self.address(port), timeout=timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, type(error).__name__
        finally:
            connection.close()

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Block until the startup and readiness probes succeed."""
        deadline = time.monotonic() + timeout
        while not (self.probe("startup") and self.probe("readiness")):
            assert self.alive, f"{self.name} ended: {self.text()}"
            assert time.monotonic() < deadline, f"{self.name} is not ready after {timeout:g} s: {self.text()}"
            time.sleep(_POLL_SECONDS)


def entry_point() -> list[str]:
    """ENTRYPOINT of the image, which must be in exec form."""
    found: list[str] = json.loads(re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE)[0])
    return found
