"""A batch against a server in memory: bounds, outcomes, reruns, and what stops it."""

import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from coatcheck_client import AsyncCoatcheck
from coatcheck_client.testing import Fail, FakeServer, NotYet, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.batch.journal import Journal, Paths
from coatcheck.batch.lines import Options, Stopped
from coatcheck.batch.runner import Runner
from coatcheck.batch.source import Source, check_source


class Batch:
    """A batch of numbered embeddings in a folder, and a fake server to run it against."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(exist_ok=True)
        self.paths = Paths(folder / "out.jsonl", folder / "errors.jsonl")
        self.slept = 0.0
        self.server = FakeServer(answer=lambda request_type, body: body["n"])
        source = folder / "in.jsonl"
        source.write_text("".join(self._line(number) for number in range(count)))
        self.source: Source = check_source(source, Options())

    async def _sleep(self, seconds: float) -> None:
        self.slept += seconds

    @staticmethod
    def _line(number: int) -> str:
        body = {"model": "m", "n": number}
        return json.dumps({"custom_id": f"id-{number}", "url": "/v1/embeddings", "body": body}) + "\n"

    async def run(self, *, slots: int = 8, retry_failed: bool = False) -> None:
        with Journal(self.paths, self.source.fingerprint, retry_failed=retry_failed) as journal:
            async with AsyncCoatcheck(transport=self.server.transport, retries=0) as client:
                self.runner = Runner(client, self.source, journal, slots, self._sleep)
                await self.runner.run()

    @staticmethod
    def lines(path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    @property
    def results(self) -> dict[str, Any]:
        return {line["custom_id"]: line["response"]["body"] for line in self.lines(self.paths.output)}

    @property
    def failures(self) -> dict[str, int]:
        return {line["custom_id"]: line["response"]["status_code"] for line in self.lines(self.paths.errors)}

    def ids(self) -> Counter[str]:
        return Counter(
            line["custom_id"] for path in (self.paths.output, self.paths.errors) for line in self.lines(path)
        )


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path, 20)


async def test_every_line_gets_its_own_result(batch: Batch) -> None:
    batch.server.polls = 1
    await batch.run()
    assert batch.results == {f"id-{number}": number for number in range(20)}
    assert batch.failures == {}


async def test_no_more_jobs_are_in_flight_than_allowed(batch: Batch) -> None:
    running: list[int] = []
    ended: set[int] = set()

    def answer(request_type: str, body: Any) -> Any:
        running.append(len(batch.server.jobs) - len(ended))
        ended.add(body["n"])
        return body["n"]

    batch.server.answer = answer
    await batch.run(slots=3)
    assert max(running) <= 3
    assert len(batch.results) == 20


async def test_failed_jobs_and_refused_lines_go_into_the_errors_file_and_the_rest_goes_on(batch: Batch) -> None:
    def answer(request_type: str, body: Any) -> Any:
        if body["n"] == 3:
            raise Fail(503, "the model sleeps")
        return body["n"]

    batch.server.answer = answer
    batch.server.script.append(refusal(400, "no input"))
    await batch.run(slots=1)
    assert batch.failures == {"id-0": 400, "id-3": 503}
    assert len(batch.results) == 18


async def test_a_second_run_of_a_finished_batch_sends_nothing(batch: Batch) -> None:
    await batch.run()
    requests = len(batch.server.requests)
    await batch.run()
    assert len(batch.server.requests) == requests


@pytest.mark.parametrize("obstacle", [httpx.ConnectError("refused"), *(refusal(s, "no") for s in (401, 404, 429, 503))])
async def test_a_server_that_is_gone_or_refuses_everybody_stops_the_batch_and_fails_no_line(
    batch: Batch, obstacle: httpx.Response | Exception
) -> None:
    batch.server.script.append(obstacle)
    with pytest.raises(Stopped):
        await batch.run()
    assert batch.failures == {}
    await batch.run()
    assert batch.ids() == Counter({f"id-{number}": 1 for number in range(20)})


def page(status: int) -> httpx.Response:
    """What a proxy writes in the server's place."""
    return httpx.Response(status, html="<html><body>default backend</body></html>")


def on_the_first_poll(server: FakeServer, *answers: httpx.Response) -> None:
    """Give these answers to the first polls."""
    left = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        return left.pop(0) if request.method == "GET" and left else FakeServer.handle(server, request)

    server.handle = handle  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "answer", [refusal(500, "internal error"), page(404), page(500), page(403), refusal(404, "no")]
)
async def test_one_odd_answer_to_a_poll_writes_no_paid_line_off(batch: Batch, answer: httpx.Response) -> None:
    on_the_first_poll(batch.server, answer)
    await batch.run()
    assert batch.failures == {}
    assert len(batch.results) == len(batch.server.jobs) == 20
    assert 0 < batch.slept < 1


@pytest.mark.parametrize("answer", [refusal(500, "internal error"), page(404)])
async def test_odd_answers_to_polls_that_stay_stop_the_batch_and_fail_no_line(
    batch: Batch, answer: httpx.Response
) -> None:
    on_the_first_poll(batch.server, *[answer] * 500)
    with pytest.raises(Stopped):
        await batch.run(slots=1)
    assert batch.failures == {}
    assert 60 < batch.slept < 200
    del batch.server.handle
    await batch.run()
    assert (len(batch.results), len(batch.server.jobs)) == (20, 20), "what was paid for is collected, not asked again"


async def test_a_job_that_the_server_itself_says_is_gone_fails_its_line(batch: Batch) -> None:
    on_the_first_poll(batch.server, *[refusal(404, "no such job")] * 3)
    await batch.run(slots=1)
    assert batch.failures == {"id-0": 404}
    assert len(batch.results) == 19


async def test_what_a_proxy_says_to_a_submit_fails_no_line_either(batch: Batch) -> None:
    batch.server.script.append(page(403))
    batch.server.script.append(refusal(500, "internal error"))
    await batch.run(slots=1)
    assert batch.failures == {}
    assert len(batch.results) == 20


async def test_what_was_in_flight_is_the_same_job_in_the_next_run(batch: Batch) -> None:
    def never(request_type: str, body: Any) -> Any:
        if len(batch.server.jobs) == 8:
            batch.server.script.append(httpx.ConnectError("killed"))
        raise NotYet

    batch.server.answer = never
    with pytest.raises(Stopped):
        await batch.run(slots=8)
    assert batch.results == {}
    batch.server.script.clear()
    batch.server.answer = lambda request_type, body: body["n"]
    await batch.run(slots=8)
    assert len(batch.server.jobs) == 20
    assert Counter(job.submits for job in batch.server.jobs.values()) == {2: 8, 1: 12}


async def test_failures_are_tried_again_as_new_jobs_when_asked(batch: Batch) -> None:
    def fail(request_type: str, body: Any) -> Any:
        raise Fail(500, "no")

    batch.server.answer = fail
    await batch.run()
    assert len(batch.failures) == 20
    batch.server.answer = lambda request_type, body: body["n"]
    await batch.run()
    assert len(batch.failures) == 20
    await batch.run(retry_failed=True)
    assert (len(batch.results), len(batch.failures), len(batch.server.jobs)) == (20, 0, 40)


async def test_a_stop_lets_what_is_in_flight_end_and_submits_no_more(batch: Batch) -> None:
    def answer(request_type: str, body: Any) -> Any:
        batch.runner.stop()
        return body["n"]

    batch.server.answer = answer
    await batch.run(slots=4)
    assert len(batch.results) == len(batch.server.jobs) == 4
    batch.server.answer = lambda request_type, body: body["n"]
    await batch.run()
    assert batch.ids() == Counter({f"id-{number}": 1 for number in range(20)})


@settings(max_examples=10, deadline=None)  # each example opens a client several times
@given(st.lists(st.integers(0, 60), max_size=3), st.integers(1, 8))
async def test_however_often_it_is_cut_each_line_is_one_job_and_one_result(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], slots: int
) -> None:
    batch = Batch(tmp_path_factory.mktemp("batch"), 12)
    for cut in cuts:
        batch.server.handle = dies_after(batch.server, cut)  # type: ignore[method-assign]
        with contextlib.suppress(Stopped):
            await batch.run(slots=slots)
        del batch.server.handle
        with batch.paths.output.open("ab") as file:
            file.write(b'{"custom_id":"to')
    await batch.run(slots=slots)
    assert batch.ids() == Counter({f"id-{number}": 1 for number in range(12)})
    assert len(batch.server.jobs) == 12


def dies_after(server: FakeServer, requests: int) -> Any:
    """A server that answers so many requests and then is gone."""
    left = iter(range(requests))

    def handle(request: httpx.Request) -> httpx.Response:
        if next(left, None) is None:
            raise httpx.ConnectError("killed")
        return FakeServer.handle(server, request)

    return handle
