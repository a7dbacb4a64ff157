"""`make release`: what it makes is whole, of one version and of one commit."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import coatcheck
from deploy.release.helm import ROOT, helm
from tests.deploy.test_image import copied

VERSION = coatcheck.__version__


def run_release(repository: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `make release` runs after `make sbom`, which installs every package anew and is replaced by a short file."""
    sbom = folder / "sbom.json"
    sbom.write_text('{"bomFormat": "CycloneDX"}')
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "deploy.release",
        folder / "dist",
        "--sbom",
        sbom,
        "--repository",
        repository,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def clone(folder: Path) -> Path:
    """A repository with the last commit of this one."""
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a release."""
    folder = tmp_path_factory.mktemp("release")
    ran = run_release(clone(folder / "clone"), folder)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return folder / "dist"


def test_a_release_has_every_file_with_its_version_and_checksum(dist: Path) -> None:
    names = {
        f"coatcheck-{VERSION}-py3-none-any.whl",
        f"coatcheck_client-{VERSION}-py3-none-any.whl",
        f"coatcheck-image-context-{VERSION}.tar.gz",
        f"coatcheck-{VERSION}.tgz",
        f"coatcheck-{VERSION}.cdx.json",
    }
    assert {file.name for file in dist.iterdir()} == {*names, "SHA256SUMS"}
    lines = [line.split("  ") for line in (dist / "SHA256SUMS").read_text().splitlines()]
    found = {name: hashlib.sha256((dist / name).read_bytes()).hexdigest() for name in names}
    assert {name: digest for digest, name in lines} == found


def test_the_wheels_hold_the_product_and_the_client_and_no_tests(dist: Path) -> None:
    with zipfile.ZipFile(dist / f"coatcheck-{VERSION}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
    roots = {"coatcheck", "edge", "shared", "workers", f"coatcheck-{VERSION}.dist-info"}
    assert {name.split("/")[0] for name in names} == roots
    assert {"coatcheck/cli/main.py", "edge/asgi.py", "shared/mongo/setup.py"} <= set(names)
    with zipfile.ZipFile(dist / f"coatcheck_client-{VERSION}-py3-none-any.whl") as wheel:
        assert "coatcheck_client/py.typed" in wheel.namelist()


def test_an_image_can_be_built_from_the_context_alone(dist: Path) -> None:
    with tarfile.open(dist / f"coatcheck-image-context-{VERSION}.tar.gz") as context:
        names = set(context.getnames())
    assert {"Dockerfile", ".dockerignore", "edge/asgi.py"} <= names
    for source in copied():
        pattern = source.rstrip("/")
        assert any(Path(name).match(pattern) or name.startswith(f"{pattern}/") for name in names), source
    assert not any(name.startswith(("tests/", "client/tests/", ".git/")) for name in names)


def test_the_packaged_chart_renders(dist: Path) -> None:
    chart = dist / f"coatcheck-{VERSION}.tgz"
    assert f"version: {VERSION}" in helm("show", "chart", chart)


def test_nothing_is_made_when_a_version_disagrees_and_what_was_made_before_stays(tmp_path: Path) -> None:
    repository = clone(tmp_path / "clone")
    chart = repository / "deploy/k8s/coatcheck/Chart.yaml"
    chart.write_text(chart.read_text().replace(f"\nversion: {VERSION}", "\nversion: 9.9.9"))
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, "commit", "--quiet", "-am", "Another version"], cwd=repository, check=True)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "before").touch()
    ran = run_release(repository, tmp_path)
    assert ran.returncode == 1
    assert ran.stderr == (f"deploy/k8s/coatcheck/Chart.yaml: version is 9.9.9, coatcheck/__init__.py says {VERSION}\n")
    assert [file.name for file in (tmp_path / "dist").iterdir()] == ["before"]


def test_make_release_makes_the_bill_of_materials_first() -> None:
    ran = subprocess.run(["make", "--dry-run", "release"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < ran.stdout.index("cyclonedx-py") < ran.stdout.index("-m deploy.release dist --sbom build/sbom.cdx.json")
