"""Each check says in one line what is missing and what to do."""

from __future__ import annotations

import platform
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from coatcheck.dev import checks

Version = namedtuple("Version", "major minor micro releaselevel serial")
Usage = namedtuple("Usage", "total used free")


def on(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, libc: tuple[str, str] = ("", ""), mac: str = ""
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(platform, "mac_ver", lambda: (mac, ("", "", ""), machine))


@pytest.mark.parametrize(
    ("system", "machine", "libc", "mac"),
    [
        ("Linux", "x86_64", ("glibc", "2.36"), ""),
        ("Linux", "aarch64", ("glibc", "2.28"), ""),
        ("Darwin", "arm64", ("", ""), "14.5"),
    ],
)
def test_supported_systems_have_no_problem(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, libc: tuple[str, str], mac: str
) -> None:
    on(monkeypatch, system, machine, libc, mac)
    assert checks.system_problem() is None


@pytest.mark.parametrize(
    ("system", "machine", "libc", "mac", "words"),
    [
        ("Windows", "AMD64", ("", ""), "", "WSL2"),
        ("Linux", "riscv64", ("glibc", "2.36"), "", "riscv64"),
        ("Linux", "x86_64", ("", ""), "", "Alpine"),
        ("Linux", "x86_64", ("glibc", "2.17"), "", "glibc 2.17 is too old"),
        ("Darwin", "x86_64", ("", ""), "14.5", "Darwin on x86_64"),
        ("Darwin", "arm64", ("", ""), "13.6", "macOS 13.6 is too old"),
    ],
)
def test_an_unsupported_system_is_named_with_what_would_do(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, libc: tuple[str, str], mac: str, words: str
) -> None:
    on(monkeypatch, system, machine, libc, mac)
    problem = checks.system_problem()
    assert problem
    assert words in problem
    assert "\n" not in problem


@pytest.mark.parametrize("minor", [10, 15])
def test_a_python_outside_the_range_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch, minor: int) -> None:
    monkeypatch.setattr(sys, "version_info", Version(3, minor, 0, "final", 0))
    monkeypatch.setattr(platform, "python_version", lambda: f"3.{minor}.0")
    problem = checks.python_problem()
    assert problem
    assert f"this is CPython 3.{minor}.0" in problem
    assert "make run PYTHON=" in problem


def test_this_python_has_no_problem() -> None:
    assert checks.python_problem() is None
    assert checks.venv_problem() is None


def test_a_missing_venv_module_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ensurepip" else object())
    problem = checks.venv_problem()
    assert problem
    assert f"apt install python3.{sys.version_info.minor}-venv" in problem


def test_a_full_disk_is_said_in_megabytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 5 * checks.MIB))
    absent = tmp_path / "not" / "there"
    assert checks.disk_problem(absent, 5 * checks.MIB, "the stack") is None
    problem = checks.disk_problem(absent, 6 * checks.MIB, "the stack")
    assert problem == f"the stack needs 6 MB on the disk of {tmp_path}, 5 MB are free"
