"""The call log is what drills are judged by, so it is judged here."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.drill.upstream.call_log import CallLog


def headers(call: str = "", marker: str = "") -> dict[bytes, bytes]:
    return {b"x-coatcheck-call": call.encode(), b"x-drill-marker": marker.encode()}


def test_a_call_after_an_answered_one_for_the_same_job_is_repeated() -> None:
    log = CallLog()
    log.end(log.start("/p", headers("job/1/0"), "m"), "200")
    assert log.start("/p", headers("job/2/0"), "m").repeated
    assert not log.start("/p", headers("other/1/0"), "m").repeated
    assert log.counters()["repeated"] == 1


def test_a_call_beside_an_open_one_is_repeated_and_one_after_a_failure_is_not() -> None:
    log = CallLog()
    first = log.start("/p", headers("job/1/0"), "m")
    assert log.start("/p", headers("job/2/0"), "m").repeated
    log.end(first, "500")
    failed = log.start("/p", headers("lone/1/0"), "m")
    log.end(failed, "500")
    assert not log.start("/p", headers("lone/2/0"), "m").repeated


def test_a_marker_of_the_client_goes_before_the_job() -> None:
    log = CallLog()
    log.end(log.start("/p", headers("job-1/1/0", "mark"), "m"), "200")
    assert log.start("/p", headers("job-2/1/0", "mark"), "m").repeated


def test_calls_without_a_marker_are_counted_but_never_repeated() -> None:
    log = CallLog()
    for _ in range(3):
        log.end(log.start("/p", {}, "m"), "200")
    assert (log.calls, log.repeated, log.counters()["answered_markers"]) == (3, 0, 0)


def test_every_call_leaves_one_line_even_if_it_ends_twice_or_never(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    log = CallLog(path)
    first = log.start("/v1/embeddings", headers("a/1/0"), "latency=1")
    log.end(first, "200")
    log.end(first, "gone")
    log.start("/v1/ocr", headers("b/1/0"), "m")
    log.close()
    log.close()
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    assert [(line["call"], line["path"], line["outcome"]) for line in lines] == [
        ("a/1/0", "/v1/embeddings", "200"),
        ("b/1/0", "/v1/ocr", "open"),
    ]
    assert all(line["started"] <= line["ended"] for line in lines)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["200", "500", "gone"])), max_size=30))
def test_repeated_is_what_a_reader_of_the_order_would_count(ends: list[tuple[str, str]]) -> None:
    log, answered, repeated = CallLog(), set(), 0
    for marker, outcome in ends:
        repeated += marker in answered
        log.end(log.start("/p", headers(marker=marker), "m"), outcome)
        if outcome == "200":
            answered.add(marker)
    assert (log.repeated, log.calls, log.peak) == (repeated, len(ends), min(1, len(ends)))
    assert log.counters()["open"] == 0


def test_a_call_before_the_retry_after_of_the_last_one_is_a_violation_and_one_by_a_fallback_is_none() -> None:
    log = CallLog()
    log.end(log.start("/p", headers("job/1/0"), "m"), "500", retry_after=30)
    log.start("/p", headers("job/1/1"), "fallback")
    assert not log.violations
    log.start("/p", headers("job/2/0"), "m")
    assert [line.partition(":")[0] for line in log.violations] == ["early"]


def test_two_calls_under_one_id_are_a_violation() -> None:
    log = CallLog()
    log.end(log.start("/p", headers("job/1/0"), "m"), "reset")
    log.start("/p", headers("job/1/0"), "m")
    assert [line.partition(":")[0] for line in log.violations] == ["twice"]


def test_the_time_from_a_broken_call_to_the_next_one_for_its_job_is_a_figure() -> None:
    log = CallLog()
    assert "resumed_max" not in log.figures()
    log.end(log.start("/p", headers("job/1/0"), "m"), "gone")
    log.start("/p", headers("job/2/0"), "m")
    assert 0 <= log.figures()["resumed_max"] < 5
    assert log.figures()["calls_at_once"] == 1
