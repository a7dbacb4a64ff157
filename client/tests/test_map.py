"""Many requests at once: order, bounds, outcomes one by one, and leaving early."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck_client import ApiError, AsyncCoatcheck, Coatcheck, JobFailed, Outcome, Progress, Submission
from coatcheck_client.testing import Fail, FakeServer, NotYet
from coatcheck_client.window import Window

SUBMISSION = Submission("embeddings", {})


def numbered(count: int) -> list[tuple[str, dict[str, Any]]]:
    return [("embeddings", {"n": number}) for number in range(count)]


def test_outcomes_come_in_the_order_of_the_requests(open_client: Any, server: FakeServer) -> None:
    server.polls = 1
    outcomes = list(open_client(server).map(numbered(20), in_flight=7))
    assert [outcome.result for outcome in outcomes] == [{"echo": {"n": n}} for n in range(20)]
    assert [outcome.index for outcome in outcomes] == list(range(20))


def test_as_they_come_each_request_has_one_outcome(open_client: Any, server: FakeServer) -> None:
    outcomes = list(open_client(server).map(numbered(20), in_flight=7, ordered=False))
    assert sorted(outcome.index for outcome in outcomes) == list(range(20))


def test_a_failed_job_and_a_refused_request_leave_the_others_alone(open_client: Any, server: FakeServer) -> None:
    def answer(request_type: str, body: Any) -> Any:
        if body["n"] == 1:
            raise Fail(500, "no")
        return body["n"]

    server.answer = answer
    requests = [*numbered(3), Submission("embeddings", {"n": 9}, idempotency_key=(key := "taken")),
                Submission("embeddings", {"n": 8}, idempotency_key=key)]  # fmt: skip
    outcomes = list(open_client(server).map(requests, in_flight=1))
    assert [type(outcome.error) for outcome in outcomes] == [type(None), JobFailed, type(None), type(None), ApiError]
    assert [outcome.job is None for outcome in outcomes] == [False, False, False, False, True]
    with pytest.raises(JobFailed):
        _ = outcomes[1].result


def test_progress_counts_to_the_total(open_client: Any, server: FakeServer) -> None:
    seen: list[Progress] = []
    list(open_client(server).map(numbered(5), in_flight=2, progress=seen.append))
    assert [(progress.done, progress.failed, progress.total) for progress in seen] == [(n, 0, 5) for n in range(1, 6)]
    assert max(progress.in_flight for progress in seen) <= 1


def test_the_input_is_read_no_further_than_what_is_in_flight(open_client: Any, server: FakeServer) -> None:
    server.polls = 1
    read: list[int] = []
    submitted: list[int] = []

    def requests() -> Iterator[Submission]:
        for number in range(50):
            submitted.append(number - len(finished))
            read.append(number)
            yield Submission("embeddings", {"n": number})

    finished: list[Progress] = []
    list(open_client(server).map(requests(), in_flight=4, progress=finished.append))
    assert len(read) == 50
    assert max(submitted) <= 4


def test_a_wrong_request_is_raised_at_once_and_not_an_outcome(open_client: Any, server: FakeServer) -> None:
    with pytest.raises(ValueError, match="unknown request type"):
        list(open_client(server).map([("nothing", {})]))


def test_at_least_one_must_be_in_flight(open_client: Any, server: FakeServer) -> None:
    with pytest.raises(ValueError, match="in_flight"):
        list(open_client(server).map([], in_flight=0))


def only_the_first_ends(request_type: str, body: Any) -> Any:
    if body["n"]:
        raise NotYet
    return "ended"


def test_leaving_a_map_early_stops_its_threads_even_if_they_wait(server: FakeServer) -> None:
    server.answer = only_the_first_ends
    with Coatcheck(transport=server.transport) as client:
        outcomes = client.map(numbered(10), in_flight=4, ordered=False)
        assert next(outcomes).index == 0
        outcomes.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("coatcheck-map")]
    assert len(server.jobs) <= 5


async def test_leaving_an_async_map_early_cancels_its_tasks(server: FakeServer) -> None:
    server.answer = only_the_first_ends
    async with AsyncCoatcheck(transport=server.transport) as client:
        outcomes = client.map(numbered(10), in_flight=4, ordered=False)
        assert (await anext(outcomes)).index == 0
        await outcomes.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(server.jobs) <= 5


@given(st.permutations(range(8)), st.booleans())
def test_a_window_gives_each_outcome_once_and_in_order_if_asked(arrival: list[int], ordered: bool) -> None:
    window = Window(8, ordered)
    for _ in arrival:
        assert window.has_room()
        window.start()
    assert not window.has_room()
    leaving = [left.index for index in arrival for left in window.arrive(Outcome(index, SUBMISSION))]
    assert leaving == (sorted(arrival) if ordered else arrival)
    assert window.is_empty()


@given(st.integers(2, 8))
def test_the_slowest_first_request_stops_the_window_instead_of_filling_memory(size: int) -> None:
    window = Window(size, ordered=True)
    while window.has_room():
        index = window.start()
        if index:
            assert list(window.arrive(Outcome(index, SUBMISSION))) == []
    assert window.started == size
    assert len(list(window.arrive(Outcome(0, SUBMISSION)))) == size
