"""The pages about the client: their programs run, their tables are true."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from coatcheck_client import ENDPOINTS, Coatcheck
from coatcheck_client.testing import FakeServer, listening

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "docs/client.md", ROOT / "client/README.md"]

PROGRAMS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    if "import " in block
]


def embed(request_type: str, body: Any) -> Any:
    return {"data": [{"embedding": [0.1, 0.2, 0.3]}]}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_pages_runs(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(FakeServer(embed)) as url:
        monkeypatch.setenv("COATCHECK_URL", url)
        exec(compile(program, "page", "exec"), {"__name__": "page"})


def test_the_pages_have_programs() -> None:
    assert len(PROGRAMS) >= 4


def test_the_table_of_request_types_is_the_clients() -> None:
    page = PAGES[0].read_text()
    rows = re.findall(r"^\| `([a-z/]+)` \| `([a-z_]+)` \| (JSON|form)", page, re.MULTILINE)
    assert rows == [(e.name, e.request_type, "JSON" if e.body == "json" else "form") for e in ENDPOINTS]


def test_the_table_of_settings_has_the_real_defaults() -> None:
    stated = dict(re.findall(r"^\| `(timeout|retries|connections)` \| (\d+)", PAGES[0].read_text(), re.MULTILINE))
    real = inspect.signature(Coatcheck).parameters
    assert {name: float(value) for name, value in stated.items()} == {
        name: real[name].default for name in ("timeout", "retries", "connections")
    }
