"""All local models together: nothing is fetched, the worker stays small, and its event loop never waits for them."""

import asyncio
import hashlib
import re
import time

from shared.providers.local_models import LOCAL_MODELS
from tests.integration.local.sent import ROOT, one_call_each, run_python
from workers.local_models.engines import package_directory
from workers.local_models.provider import LocalProvider

NOTICES = ROOT / "THIRD_PARTY_NOTICES.md"


def test_the_models_files_are_the_ones_in_the_notices() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", NOTICES.read_text(), re.MULTILINE)
    assert len(rows) == 11
    for name, digest in rows:
        package, _, path = name.partition("/")
        assert hashlib.sha256((package_directory(package) / path).read_bytes()).hexdigest() == digest, name


def test_every_model_has_its_line_in_the_documentation() -> None:
    page = (ROOT / "docs/local-models.md").read_text()
    for model in LOCAL_MODELS:
        [row] = re.findall(rf"^\| `local/{re.escape(model.id)}` \|.*$", page, re.MULTILINE)
        assert row.endswith(f"| {model.licence} |")
        assert f"| {f'`{model.extra}`' if model.extra else ''} |".replace("|  |", "| |") in row


OFFLINE = """
import sys
from importlib import import_module
from tests.integration.local.sent import one_call_each
from workers.local_models.requests.task import Task

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(refuse)
for module, calls in one_call_each().items():
    model = import_module(f"workers.local_models.engines.{module}").load(1)
    for call in calls:
        print(module, len(model.answer(Task(call)).body), flush=True)
"""


def test_no_model_asks_the_network_for_anything() -> None:
    answered = run_python(OFFLINE).split("\n")
    assert [line.split()[0] for line in answered if line] == [
        "minilm",
        "minilm",
        "hibari",
        "whisper",
        "rapid_ocr",
        "smollm",
    ]


LIGHT = """
import asyncio, sys
from pathlib import Path
from workers.local_models.provider import LocalProvider
from tests.unit.workers.local_models.calls import json_call
async def main():
    provider = LocalProvider()
    before = set(sys.modules)
    await provider.call(json_call("embedding", "minilm", {"input": "a"}))
    await provider.close()
    heavy = {"numpy", "onnxruntime", "tokenizers"} & (set(sys.modules) | before)
    [peak] = [line for line in Path("/proc/self/status").read_text().split("\\n") if line.startswith("VmHWM")]
    print(int(peak.split()[1]) // 1024, sorted(heavy))
asyncio.run(main())
"""


def test_the_worker_itself_stays_small_whatever_models_do() -> None:
    megabytes, _, heavy = run_python(LIGHT).strip().partition(" ")
    assert int(megabytes) < 90
    assert heavy == "[]"


async def test_the_event_loop_goes_on_while_models_load_and_work() -> None:
    """All five models load and answer at once; the loop is asked every few milliseconds whether it is there."""
    provider = LocalProvider()
    late: list[float] = []

    async def watch() -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - asked - 0.005)

    watching = asyncio.create_task(watch())
    calls = [call for some in one_call_each().values() for call in some]
    await asyncio.gather(*map(provider.call, calls))
    watching.cancel()
    await provider.close()
    late.sort()
    assert len(late) > 50
    assert late[len(late) // 2] < 0.02
    assert late[-1] < 0.5, f"the loop stood still for {late[-1]:.3f} s"
