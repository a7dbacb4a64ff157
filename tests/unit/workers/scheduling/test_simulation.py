"""Scenes of traffic, simulated around the scheduler that workers run: who waits for whom, and for how long."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from shared.domain.queue_name import Priority
from tests.unit.workers.scheduling.simulation import Job, Simulation, Traffic, percentile

WARM = 2.0


def waits(simulation: Simulation, key: str) -> list[float]:
    return [job.took for job in simulation.ended if job.key.startswith(key) and job.born > WARM]


def noisy_neighbour(traffic: Traffic, *, noisy: bool) -> Simulation:
    """Ten quiet keys at two jobs a second each, beside one with 2,000 jobs in flight all the time."""
    simulation = Simulation(traffic)
    for place in range(10):
        simulation.steadily(2.0, partial(simulation.submit, f"quiet-{place}"))
    if noisy:
        for _ in range(2000):
            simulation.submit("noisy")
        simulation.on_end = lambda job: simulation.submit("noisy") if job.key == "noisy" else None
    simulation.run(8.0)
    return simulation


@pytest.mark.parametrize("workers", [1, 4])
def test_a_quiet_key_hardly_notices_a_noisy_one(workers: int) -> None:
    alone = waits(noisy_neighbour(Traffic(workers), noisy=False), "quiet")
    beside = noisy_neighbour(Traffic(workers), noisy=True)
    quiet = waits(beside, "quiet")
    assert percentile(quiet, 0.5) <= 1.3 * percentile(alone, 0.5)
    assert percentile(quiet, 0.99) <= 2.0 * percentile(alone, 0.99)
    assert beside.asked <= 1.02 * len(beside.ended) + 256


@pytest.mark.parametrize("workers", [1, 4])
def test_under_saturation_weights_are_shares(workers: int) -> None:
    weights = {"one": 1.0, "two": 2.0, "four": 4.0}
    simulation = Simulation(Traffic(workers, slots=64, weights=weights))
    for key in weights:
        for _ in range(600):
            simulation.submit(key)
    simulation.on_end = lambda job: simulation.submit(job.key)
    simulation.run(10.0)
    served = Counter(job.key for job in simulation.ended if job.born >= 0 and (job.ended or 0) > WARM)
    assert {key: 7 * served[key] / served.total() for key in weights} == pytest.approx(weights, rel=0.1)


def slow_beside_fast(*, slow: bool, one_key: bool) -> list[float]:
    """Calls of ten seconds with a backlog beside calls of a tenth, 200 a second."""
    simulation = Simulation(Traffic(call=lambda job: 10.0 if job.channel == "slow/m" else 0.1))
    simulation.steadily(200.0, lambda: simulation.submit("fast", "fast/m"))
    if slow:
        simulation.after(1.0, lambda: [simulation.submit("fast" if one_key else "slow", "slow/m") for _ in range(2000)])
    simulation.run(40.0)
    return [job.took for job in simulation.ended if job.channel == "fast/m" and job.born > 20.0]


@pytest.mark.parametrize("one_key", [False, True])
def test_slow_calls_leave_fast_ones_as_fast_as_they_are(one_key: bool) -> None:
    alone, beside = slow_beside_fast(slow=False, one_key=False), slow_beside_fast(slow=True, one_key=one_key)
    assert len(beside) >= 0.95 * len(alone)
    assert percentile(beside, 0.99) <= 1.5 * percentile(alone, 0.99)


@pytest.mark.parametrize("workers", [1, 4])
def test_jobs_whose_notification_was_lost_end_within_seconds_under_an_overload(workers: int) -> None:
    simulation = Simulation(Traffic(workers))
    for place in range(5):
        simulation.steadily(700.0, partial(simulation.submit, f"key-{place}"))
    lost: list[Job] = []
    simulation.after(3.0, lambda: lost.extend(simulation.submit(f"key-{n % 5}", notified=False) for n in range(10)))
    simulation.run(9.0)
    assert simulation.pending("key-0") > 500, "no overload"
    assert all(job.ended is not None and job.took < 5.0 for job in lost)


def test_high_priority_does_not_notice_a_backlog_of_low() -> None:
    def high(*, low: int) -> tuple[list[float], int]:
        simulation = Simulation(Traffic())
        for _ in range(low):
            simulation.submit("bulk", priority=Priority.LOW)
        simulation.steadily(1000.0, lambda: simulation.submit("live", priority=Priority.HIGH))
        simulation.run(6.0)
        return waits(simulation, "live"), sum(1 for job in simulation.ended if job.key == "bulk")

    alone, (beside, progressed) = high(low=0)[0], high(low=20_000)
    assert percentile(beside, 0.99) <= 1.5 * percentile(alone, 0.99)
    assert progressed > 1000


def test_ten_thousand_keys_with_one_unheard_job_each_end_within_seconds() -> None:
    simulation = Simulation(Traffic(workers=4))
    for place in range(10_000):
        simulation.submit(f"key-{place}", notified=False)
    simulation.run(15.0)
    assert len(simulation.ended) == 10_000
