"""Import contracts: which package may import which, and where each driver lives."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAY_IMPORT = {
    "shared": {"shared"},
    "edge": {"edge", "shared"},
    "workers": {"workers", "shared"},
    "coatcheck": {"coatcheck", "edge", "workers", "shared", "coatcheck_client"},
    "client/coatcheck_client": {"coatcheck_client"},
}
"""Our packages, and which of ours each may import."""
OURS = {"shared", "edge", "workers", "coatcheck", "coatcheck_client"}

ONLY_IN = {
    "pymongo": ("shared/mongo/",),
    "bson": ("shared/mongo/",),
    "kafka": ("shared/kafka/",),
    "falcon": ("edge/",),
    "gunicorn": ("edge/",),
    "uvicorn": ("edge/",),
    "httptools": ("edge/", "workers/providers/", "coatcheck/drill/"),
    "httpx": ("workers/providers/", "client/coatcheck_client/"),
    "httpx_aiohttp": ("workers/providers/",),
    "aiohttp": ("workers/providers/",),
    "prometheus_client": ("shared/metrics.py", "shared/metrics_room.py", "shared/exporter.py"),
    "multipart": ("shared/form.py",),
    "click": ("coatcheck/",),
}
"""Third-party packages, and the only places that may know them."""


def imported_modules(source: str) -> Iterator[str]:
    """Every module that a source names in an import, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def violations(path: str, source: str) -> list[str]:
    """What a file at this path, relative to the root, may not import."""
    package = next(package for package in MAY_IMPORT if path.startswith(f"{package}/"))
    found = []
    for module in imported_modules(source):
        top = module.partition(".")[0]
        if not top:
            found.append(f"{path} imports {module}: name the package")
        elif top in OURS and top not in MAY_IMPORT[package]:
            found.append(f"{path} imports {module}: {package} may import {', '.join(sorted(MAY_IMPORT[package]))}")
        elif not path.startswith(ONLY_IN.get(top, ("",))):
            found.append(f"{path} imports {module}: that belongs to {', '.join(ONLY_IN[top])}")
    return found


def sources() -> list[Path]:
    return sorted(file for package in MAY_IMPORT for file in (ROOT / package).rglob("*.py"))


def test_there_are_sources_to_check() -> None:
    assert {str(file.relative_to(ROOT)).partition("/")[0] for file in sources()} >= {"shared", "edge", "workers"}


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_only_what_it_may(file: Path) -> None:
    assert violations(str(file.relative_to(ROOT)), file.read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("shared/x.py", "import edge.app"),
        ("shared/x.py", "from workers.fleet import fleet"),
        ("edge/x.py", "from workers.loops import beat"),
        ("workers/x.py", "def f():\n    import coatcheck"),
        ("edge/x.py", "from shared.mongo.store import MongoStore\nimport pymongo.errors"),
        ("workers/fleet/x.py", "import httpx"),
        ("shared/x.py", "if TYPE_CHECKING:\n    from prometheus_client import Counter"),
        ("shared/mongo/x.py", "from kafka import KafkaProducer"),
        ("workers/x.py", "import click"),
        ("edge/x.py", "import coatcheck_client"),
        ("client/coatcheck_client/x.py", "from shared.job import Status"),
        ("edge/x.py", "from . import app"),
        ("edge/resources/x.py", "from ..app import create_app"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


def test_what_is_allowed_is_not_found() -> None:
    assert violations("edge/x.py", "import falcon.asgi\nfrom shared.job import Status\nimport asyncio") == []
    assert violations("coatcheck/cli/x.py", "import click\nfrom edge.server import serve") == []
