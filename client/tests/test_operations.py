"""The verbs against scripted answers and a clock that is moved by hand: what is sent, and when."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck_client import ApiError, Job, JobFailed, Submission, Unreachable, WaitTimeout
from coatcheck_client.job import from_ticket
from coatcheck_client.operations import LAST_LOOK, Operation, Operations, Send
from coatcheck_client.protocol import Reply

ACCEPTED = Reply(202, {}, b'{"id":"i","status":"pending"}')
RUNNING = Reply(202, {}, b'{"id":"i","status":"processing"}')
DONE = Reply(200, {}, b'{"id":"i","status":"completed","status_code":200,"result":{"x":1}}')
FAILED = Reply(200, {}, b'{"id":"i","status":"failed","status_code":503,"error":{"error":{"message":"m"}}}')
JOB = from_ticket("embeddings/i")


def refused(status: int, **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"{}")


@dataclass
class World:
    """Answers in order, `seconds_per_answer` each; records what was sent and when."""

    answers: Iterable[Reply | Unreachable]
    seconds_per_answer: float = 0.0
    chance: float = 0.5
    retries: int = 5
    now: float = 1000.0
    sent: list[Send] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)

    def run(self, verb: str, *arguments: Any) -> Any:
        operations = Operations(self.retries, clock=lambda: self.now, chance=lambda: self.chance)
        return self.drive(getattr(operations, verb)(*arguments), iter(self.answers))

    def drive(self, operation: Operation[Any], answers: Iterator[Reply | Unreachable]) -> Any:
        answer: Reply | Unreachable | None = None
        while True:
            try:
                effect = operation.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(effect, Send):
                self.sent.append(effect)
                self.moments.append(self.now - 1000.0)
                self.now += self.seconds_per_answer
                answer = next(answers)
            else:
                assert effect.seconds >= 0
                self.now += effect.seconds
                answer = None

    @property
    def keys(self) -> set[str]:
        return {send.request.headers["idempotency-key"] for send in self.sent}


@pytest.mark.parametrize(
    "obstacle", [refused(s) for s in (408, 429, 502, 503, 504)] + [Unreachable("refused")], ids=str
)
def test_a_submit_is_sent_again_with_the_same_key_after_what_may_pass(obstacle: Reply | Unreachable) -> None:
    world = World([obstacle, obstacle, ACCEPTED])
    job = world.run("submit", Submission("embeddings", {}).encode())
    assert job.status == "pending"
    assert len(world.sent) == 3
    assert len(world.keys) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 501])
def test_a_refusal_that_will_not_pass_is_sent_once(status: int) -> None:
    world = World([refused(status)])
    with pytest.raises(ApiError) as raised:
        world.run("submit", Submission("embeddings", {}).encode())
    assert raised.value.status == status


@given(st.integers(0, 8))
def test_retries_are_bounded(retries: int) -> None:
    world = World(repeat(refused(503)), retries=retries)
    with pytest.raises(ApiError, match="503"):
        world.run("get", JOB)
    assert len(world.sent) == retries + 1


def test_a_server_that_stays_away_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="refused"):
        World(repeat(Unreachable("refused")), retries=2).run("get", JOB)


def test_a_retry_waits_as_long_as_the_server_asks() -> None:
    world = World([refused(429, retry_after="7"), DONE], chance=0.0)
    world.run("get", JOB)
    assert world.moments == [0.0, 7.0]


def test_a_refusal_for_an_hour_is_given_to_the_caller_at_once() -> None:
    world = World([refused(429, retry_after="3600")])
    with pytest.raises(ApiError) as raised:
        world.run("get", JOB)
    assert raised.value.retry_after == 3600.0


def test_waiting_polls_at_the_servers_pace() -> None:
    hinted = Reply(202, {"retry-after": "2"}, RUNNING.content)
    world = World([hinted, hinted, DONE], chance=0.0)
    first = Job("i", JOB.endpoint, "pending", retry_after=3.0)
    assert world.run("wait", first, None).result == {"x": 1}
    assert world.moments == [3.0, 5.0, 7.0]


def test_a_quick_job_is_not_waited_for_a_whole_second() -> None:
    world = World([DONE], chance=0.0)
    world.run("wait", Job("i", JOB.endpoint, "pending", retry_after=1.0), None)
    assert world.moments[0] < 0.1


def test_without_a_hint_waiting_starts_at_50_ms_and_backs_off() -> None:
    world = World([RUNNING] * 9 + [DONE], chance=0.9999)
    world.run("wait", JOB, None)
    waits = [later - sooner for sooner, later in zip(world.moments, world.moments[1:], strict=False)]
    assert world.moments[0] == pytest.approx(0.05, rel=0.01)
    assert waits == sorted(waits)


def test_a_job_that_has_ended_is_not_asked_again() -> None:
    ended = Job("i", JOB.endpoint, "completed", result=1)
    assert World([]).run("wait", ended, None) is ended


def test_a_ticket_is_enough_to_wait() -> None:
    assert World([DONE]).run("result", "embeddings/i", None) == {"x": 1}


def test_the_result_of_a_failed_job_is_raised() -> None:
    with pytest.raises(JobFailed, match="failed with 503: m"):
        World([FAILED]).run("result", JOB, None)


@given(st.floats(0, 1000), st.floats(0, 1, exclude_max=True), st.one_of(st.none(), st.integers(0, 3600)))
def test_a_wait_ends_with_one_last_look_when_its_time_is_over(timeout: float, chance: float, hint: int | None) -> None:
    answer = Reply(202, {} if hint is None else {"retry-after": str(hint)}, RUNNING.content)
    world = World(repeat(answer), chance=chance)
    with pytest.raises(WaitTimeout, match="embeddings/i is still processing") as raised:
        world.run("wait", JOB, timeout)
    assert isinstance(raised.value, TimeoutError)
    assert raised.value.job.status == "processing"
    assert world.moments[-1] == pytest.approx(timeout, abs=1e-6)


@given(
    st.floats(0, 100),
    st.floats(0.01, 10),
    st.sampled_from([refused(503), Unreachable("x"), refused(429, retry_after="5")]),
)
def test_refusals_do_not_stretch_a_wait(timeout: float, seconds: float, obstacle: Reply | Unreachable) -> None:
    world = World(repeat(obstacle), seconds_per_answer=seconds, retries=10**6)
    with pytest.raises(WaitTimeout):
        world.run("wait", JOB, timeout)
    assert world.moments[-1] <= timeout + 1e-6
    assert all(send.timeout is not None and send.timeout <= max(LAST_LOOK, timeout) for send in world.sent)


def test_a_job_that_vanishes_while_waiting_is_an_api_error() -> None:
    with pytest.raises(ApiError, match="404"):
        World([RUNNING, refused(404)]).run("wait", JOB, None)


@pytest.mark.parametrize("leads_to", ["i", "j"])
def test_a_server_that_leads_in_circles_is_left(leads_to: str) -> None:
    circle = b'{"id":"i","status":"failed","status_code":503,"error":{},"requeued_as":"%b"}' % leads_to.encode()
    world = World(repeat(Reply(200, {}, circle)))
    assert world.run("wait", JOB, None).status == "failed"
    assert len(world.sent) <= 101
