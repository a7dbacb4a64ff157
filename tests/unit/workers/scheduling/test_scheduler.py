"""The rules of the scheduler, one by one; its sums after any calls; and that it is never idle beside work it may do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from itertools import count
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.domain.queue_name import Priority, QueueName
from workers.scheduling.scheduler import Scheduler, Taken
from workers.scheduling.waiting import CLOSED_ENTRIES, QUEUE_ENTRIES, Entry

_ids = count(1)


def queue(key: str = "a", *route: str, priority: Priority = Priority.NORMAL) -> str:
    return QueueName(priority, key, route or ("p/m",)).text


def jobs(many: int, name: str, due: float = 0.0) -> list[Entry]:
    return [Entry(due + place / 1000, UUID(int=next(_ids)), name) for place in range(many)]


def ids(taken: Iterable[Taken | Entry]) -> list[UUID]:
    return [each.id if isinstance(each, Entry) else each.entry.id for each in taken]


def run(scheduler: Scheduler, taken: Iterable[Taken], now: float, seconds: float) -> None:
    for each in taken:
        scheduler.claimed(each, now)
        scheduler.ended(each, now + seconds)


def test_of_a_key_the_oldest_job_is_next_whenever_it_came() -> None:
    scheduler, young, old = Scheduler(10), jobs(3, queue(), due=50.0), jobs(2, queue(), due=10.0)
    scheduler.put(young)
    scheduler.put(old)
    assert ids(scheduler.take(9, 0.0, 100.0)) == ids([*old, *young])


def test_a_job_that_is_known_is_not_taken_twice() -> None:
    scheduler, [job] = Scheduler(4), jobs(1, queue())
    scheduler.put([job, job])
    assert len(scheduler.take(4, 0.0, 1.0)) == 1
    scheduler.put([job])
    assert scheduler.take(4, 0.0, 1.0) == []


def test_a_job_that_went_to_another_queue_waits_there_alone() -> None:
    scheduler, [job] = Scheduler(4), jobs(1, queue("a", "p/closed"))
    scheduler.set_open("p/closed", is_open=False)
    scheduler.put([job])
    scheduler.put([Entry(job.due, job.id, queue("a", "p/open"))])
    assert (scheduler.waiting, len(scheduler.take(4, 0.0, 1.0))) == (1, 1)


def test_keys_are_served_in_turn_however_much_one_of_them_has() -> None:
    scheduler = Scheduler(30)
    scheduler.put([*jobs(200, queue("loud")), *jobs(5, queue("quiet"), due=9.0), *jobs(5, queue("other"), due=9.0)])
    assert Counter(each.account.key for each in scheduler.take(15, 0.0, 10.0)) == {"loud": 5, "quiet": 5, "other": 5}


def test_weights_are_shares_of_slot_time() -> None:
    weights = {"one": 1.0, "two": 2.0, "four": 4.0}
    scheduler, served, now = Scheduler(7, weight_of=weights.__getitem__), Counter[str](), 0.0
    for _ in range(300):
        for key in weights:
            scheduler.put(jobs(7, queue(key)))
        taken = scheduler.take(7, now, now)
        served.update(each.account.key for each in taken)
        run(scheduler, taken, now, 0.1)
        now += 0.1
    share = served.total() / 7
    assert {key: round(served[key] / share, 1) for key in weights} == pytest.approx(weights, rel=0.05)


def test_what_a_key_is_charged_is_corrected_by_what_its_jobs_took() -> None:
    scheduler, served, now = Scheduler(4), Counter[str](), 0.0
    for _ in range(200):  # both go through one channel, so that the estimate is wrong for each
        scheduler.put([*jobs(4, queue("long")), *jobs(4, queue("short"))])
        for each in scheduler.take(4, now, now):
            seconds = 0.9 if each.account.key == "long" else 0.1
            served[each.account.key] += 1
            run(scheduler, [each], now, seconds)
        now += 1.0
    assert served["short"] / served["long"] == pytest.approx(9.0, rel=0.15)


def test_a_key_that_was_away_has_saved_nothing() -> None:
    scheduler, now = Scheduler(10), 0.0
    scheduler.put(jobs(1, queue("back")))
    run(scheduler, scheduler.take(1, now, now), now, 5.0)
    for _ in range(50):
        scheduler.put(jobs(10, queue("steady")))
        run(scheduler, scheduler.take(10, now, now), now, 5.0)
        now += 5.0
    scheduler.put([*jobs(20, queue("steady")), *jobs(20, queue("back"))])
    assert Counter(each.account.key for each in scheduler.take(10, now, now))["steady"] >= 4


def test_a_claim_that_took_nothing_is_paid_back() -> None:
    scheduler = Scheduler(2)
    scheduler.put([*jobs(100, queue("unlucky")), *jobs(100, queue("other"))])
    for _ in range(20):
        for each in scheduler.take(2, 0.0, 1.0):
            if each.account.key == "unlucky":
                scheduler.missed(each)
            else:
                run(scheduler, [each], 0.0, 1.0)
    assert [each.account.key for each in scheduler.take(1, 0.0, 1.0)] == ["unlucky"]


def test_nothing_that_waits_for_a_closed_channel_is_taken_and_all_of_it_when_it_opens() -> None:
    scheduler = Scheduler(10)
    scheduler.set_open("p/m", is_open=False)
    scheduler.put(jobs(8, queue()))
    assert scheduler.take(10, 0.0, 1.0) == []
    scheduler.set_open("p/m", is_open=True)
    assert len(scheduler.take(10, 0.0, 1.0)) == 8


def test_a_route_goes_on_at_its_next_open_channel() -> None:
    scheduler = Scheduler(10)
    scheduler.put(jobs(2, queue("a", "p/first", "p/second")))
    scheduler.set_open("p/first", is_open=False)
    assert {each.channel.name for each in scheduler.take(1, 0.0, 1.0)} == {"p/second"}
    scheduler.set_open("p/first", is_open=True)
    assert {each.channel.name for each in scheduler.take(1, 0.0, 1.0)} == {"p/first"}


def test_a_closed_queue_keeps_few_and_is_filled_again_when_it_opens() -> None:
    scheduler, name = Scheduler(10), queue()
    scheduler.put(jobs(100, name))
    scheduler.set_open("p/m", is_open=False)
    assert (scheduler.waiting, scheduler.to_refill()) == (CLOSED_ENTRIES, [])
    scheduler.set_open("p/m", is_open=True)
    assert [each.text for each in scheduler.to_refill()] == [name]
    scheduler.refilled([name])
    assert scheduler.to_refill() == []


def test_a_full_queue_drops_its_youngest_whoever_brings_a_new_one() -> None:
    scheduler, young, old = Scheduler(1), jobs(QUEUE_ENTRIES, queue(), due=50.0), jobs(10, queue(), due=1.0)
    scheduler.put(young)
    scheduler.put(old)  # as a sweep finds them
    assert scheduler.waiting == QUEUE_ENTRIES
    assert all(scheduler.knows(each.id) for each in [*old, *young[:-10]])
    assert not any(scheduler.knows(each.id) for each in young[-10:])


def test_of_too_many_jobs_the_longest_queue_gives_way() -> None:
    scheduler = Scheduler(1, most=50)
    scheduler.put(jobs(45, queue("loud")))
    quiet = jobs(10, queue("quiet"), due=9.0)
    scheduler.put(quiet)
    assert scheduler.waiting == 50
    assert all(scheduler.knows(each.id) for each in quiet)


def test_higher_priorities_go_first_and_what_waited_long_below_has_a_tenth() -> None:
    scheduler = Scheduler(200, ageing_seconds=5.0)
    scheduler.put(jobs(200, queue("high", priority=Priority.HIGH), due=100.0))
    scheduler.put(jobs(200, queue("low", priority=Priority.LOW), due=10.0))
    fresh = Counter(each.account.key for each in scheduler.take(100, 0.0, 14.0))
    assert fresh == {"high": 100}
    aged = Counter(each.account.key for each in scheduler.take(100, 0.0, 100.0))
    assert 8 <= aged["low"] <= 18


def test_channels_with_long_calls_leave_half_of_the_slots_to_others() -> None:
    scheduler, now = Scheduler(64), 0.0
    learn(scheduler, {"fast/m": 0.1, **{f"slow/{place}": 10.0 for place in range(12)}})
    scheduler.put([entry for place in range(12) for entry in jobs(20, queue("a", f"slow/{place}"))])
    scheduler.put(jobs(100, queue("a", "fast/m"), due=5.0))
    taken = Counter(each.channel.name.partition("/")[0] for each in scheduler.take(64, now, 10.0))
    assert taken == {"slow": 32, "fast": 32}


def test_long_calls_have_all_slots_when_nothing_else_was_asked_for_in_the_last_minute() -> None:
    scheduler = Scheduler(64)
    learn(scheduler, {"fast/m": 0.1, "slow/m": 10.0})
    scheduler.put(jobs(64, queue("a", "slow/m")))
    assert len(scheduler.take(64, 70.0, 70.0)) == 64


def test_of_few_slots_one_is_left_to_short_calls() -> None:
    scheduler = Scheduler(4)
    learn(scheduler, {"fast/m": 0.1, "slow/m": 10.0})
    scheduler.put(jobs(9, queue("a", "slow/m")))
    assert len(scheduler.take(4, 11.0, 11.0)) == 3


def test_of_one_key_the_channel_that_holds_fewest_slots_is_next() -> None:
    scheduler = Scheduler(64)
    scheduler.put(jobs(60, queue("a", "p/old")))
    scheduler.put(jobs(10, queue("a", "p/young"), due=9.0))
    assert Counter(each.channel.name for each in scheduler.take(20, 0.0, 10.0)) == {"p/old": 10, "p/young": 10}


def test_ten_thousand_keys_are_served_in_time_that_does_not_grow_with_them() -> None:
    def seconds_for(keys: int) -> float:
        scheduler = Scheduler(256)
        scheduler.put([entry for place in range(keys) for entry in jobs(2, queue(f"key-{place}"))])
        began = time.perf_counter()
        for _ in range(20):
            run(scheduler, scheduler.take(64, 0.0, 1.0), 0.0, 0.1)
        return time.perf_counter() - began

    few, many = min(seconds_for(700) for _ in range(3)), min(seconds_for(10_000) for _ in range(3))
    assert many < 4 * few


def learn(scheduler: Scheduler, lengths: dict[str, float]) -> None:
    """Let each channel have had calls of this length, and all slots free again."""
    for channel, seconds in lengths.items():
        for _ in range(3):
            scheduler.put(jobs(1, queue("learning", channel)))
            run(scheduler, scheduler.take(1, 0.0, 0.0), 0.0, seconds)


_CHANNELS = ("p/1", "p/2", "p/3")
_queues = st.builds(
    lambda key, route, priority: QueueName(priority, key, tuple(route)).text,
    st.sampled_from("abcd"),
    st.lists(st.sampled_from(_CHANNELS), min_size=1, max_size=3, unique=True),
    st.sampled_from(Priority),
)
_entries = st.builds(Entry, st.floats(0, 100), st.integers(1, 60).map(lambda number: UUID(int=number)), _queues)


class AnyCalls(RuleBasedStateMachine):
    """Whatever is called in whatever order, the sums hold, no id is in two places, and no slot idles beside work."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(9, most=40)
        self.now = 0.0
        self.claiming: list[Taken] = []
        self.running: list[Taken] = []
        self.closed: set[str] = set()

    @rule(entries=st.lists(_entries, max_size=30))
    def put(self, entries: list[Entry]) -> None:
        self.scheduler.put(entries)

    @rule(entry=_entries)
    def remove(self, entry: Entry) -> None:
        self.scheduler.remove(entry.id)
        assert entry.id in {each.entry.id for each in [*self.claiming, *self.running]} or not self.scheduler.knows(
            entry.id
        )

    @rule(channel=st.sampled_from(_CHANNELS), is_open=st.booleans())
    def set_open(self, channel: str, is_open: bool) -> None:
        self.scheduler.set_open(channel, is_open=is_open)
        (self.closed.discard if is_open else self.closed.add)(channel)

    @rule(most=st.integers(0, 9), passed=st.floats(0, 30))
    def take(self, most: int, passed: float) -> None:
        self.now += passed
        free, waiting = self.scheduler.free, self.scheduler.waiting
        taken = self.scheduler.take(most, self.now, self.now)
        assert not {each.channel.name for each in taken} & self.closed
        assert len(taken) <= min(most, free, waiting)
        if not self.closed and not any(each.slow for each in self.scheduler.channels.all()):
            assert len(taken) == min(most, free, waiting)
        self.claiming += taken
        taken_ids = ids([*self.claiming, *self.running])
        assert len(taken_ids) == len(set(taken_ids))

    @precondition(lambda self: self.claiming)
    @rule(claimed=st.booleans())
    def settle(self, claimed: bool) -> None:
        first = self.claiming.pop(0)
        if claimed:
            self.scheduler.claimed(first, self.now)
            self.running.append(first)
        else:
            self.scheduler.missed(first)

    @precondition(lambda self: self.running)
    @rule(place=st.integers(0, 8), seconds=st.floats(0, 30))
    def end(self, place: int, seconds: float) -> None:
        self.now += seconds
        self.scheduler.ended(self.running.pop(place % len(self.running)), self.now)

    @rule()
    def refill(self) -> None:
        self.scheduler.refilled([each.text for each in self.scheduler.to_refill()])

    @invariant()
    def the_sums_hold(self) -> None:
        self.scheduler.check()
        assert self.scheduler.held == len(self.running)
        assert self.scheduler.free == 9 - len(self.running) - len(self.claiming)


TestAnyCalls = AnyCalls.TestCase
