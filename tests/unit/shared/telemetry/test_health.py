"""Health: a loop that does not turn is stalled; a problem is told until it is over."""

from __future__ import annotations

from shared.telemetry.health import Health, problems, stalled


class Clock:
    moment = 100.0

    def __call__(self) -> float:
        return self.moment


def test_a_loop_that_turns_is_not_stalled() -> None:
    clock = Clock()
    health = Health("worker", within=10, clock=clock)
    for _ in range(5):
        clock.moment += 9
        assert health.stalled() == []
        health.heartbeat()


def test_a_loop_that_stands_still_is_stalled_even_before_its_first_turn() -> None:
    clock = Clock()
    health = Health("worker", within=10, clock=clock)
    clock.moment += 11
    assert health.stalled() == ["worker: its loop has not turned for 11 s"]
    health.heartbeat()
    assert health.stalled() == []


def test_a_service_is_ready_after_its_first_beat() -> None:
    health = Health("worker")
    assert health.problems() == ["worker: still starting"]
    health.heartbeat()
    assert health.problems() == []


def test_a_problem_is_told_until_it_is_over_and_is_no_reason_to_restart() -> None:
    health = Health("worker")
    health.heartbeat()
    health.report("mongodb", "no primary")
    health.report("mongodb", "no primary for 5 s")
    assert health.problems() == ["worker: mongodb: no primary for 5 s"]
    assert health.stalled() == []
    health.report("mongodb", None)
    health.report("mongodb", None)
    assert health.problems() == []


def test_a_process_is_as_healthy_as_its_weakest_service() -> None:
    clock = Clock()
    good, bad = Health("a", within=10, clock=clock), Health("b", within=5, clock=clock)
    good.heartbeat()
    bad.heartbeat()
    assert problems([good, bad]) == stalled([good, bad]) == []
    clock.moment += 6
    assert stalled([good, bad]) == problems([good, bad]) == ["b: its loop has not turned for 6 s"]
