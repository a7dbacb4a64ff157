"""Connections in small pools: used last is used first, and no more are opened than are needed."""

from hypothesis import given
from hypothesis import strategies as st

from coatcheck_client.config import PER_LANE, ClientPool


@given(st.lists(st.booleans()))
def test_a_pool_is_never_given_to_more_than_it_has_connections(takes: list[bool]) -> None:
    pool: ClientPool[int] = ClientPool(iter(range(10**6)).__next__)
    held: list[int] = []
    most = 0
    for take in takes:
        if take:
            held.append(pool.take())
            most = max(most, len(held))
        elif held:
            pool.give_back(held.pop(0))
        assert max(map(held.count, held), default=0) <= PER_LANE
        assert len(pool.opened) <= -(-most // PER_LANE)


def test_one_request_at_a_time_keeps_to_one_pool() -> None:
    pool: ClientPool[int] = ClientPool(iter(range(10)).__next__)
    for _ in range(5):
        pool.give_back(pool.take())
    assert pool.opened == [0]
