"""The set of custom_ids that takes little room."""

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.batch import lines
from coatcheck.batch.lines import IdSet, fold


@settings(deadline=None)
@given(st.lists(st.text()), st.text())
def test_it_holds_what_was_put_in_and_nothing_else(put: list[str], other: str) -> None:
    held = IdSet(array("Q", map(fold, put)))
    assert all(each in held for each in put)
    assert (other in held) == (other in put)
    assert set(held.repeated()) == {fold(each) for each in put if put.count(each) > 1}


def test_it_is_sorted_across_its_runs() -> None:
    put = [f"id-{number}" for number in range(lines._RUN * 2 + 7)]
    held = IdSet(array("Q", map(fold, put)))
    assert len(held) == len(put)
    assert all(each in held for each in put[:: len(put) // 100])
    assert not list(held.repeated())
