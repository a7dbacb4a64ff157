"""The script language: what is read, what is refused, and that a call always ends the same way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.catalogue import CATALOGUE
from tests.support.servers.upstream import content_of
from workers.providers.scripted.answers import answer_to, read_request
from workers.providers.scripted.provider import MODES, Failure, Script, ScriptError, delay_of, failure_of, parse_script

SCRIPTS = st.builds(
    Script,
    latency=st.integers(0, 10_000).map(float),
    jitter=st.integers(0, 1000).map(float),
    fail=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    first=st.integers(0, 5),
    until=st.sampled_from([0.0, 1000.0]),
    status=st.sampled_from([0, 429, 500]),
    mode=st.none() | st.sampled_from(MODES),
    retry_after=st.none() | st.integers(0, 100).map(float),
    size=st.integers(0, 1000),
    seed=st.integers(0, 9),
)


def written(script: Script) -> str:
    return ",".join(f"{name}={value}" for name, value in msgspec.structs.asdict(script).items() if value is not None)


@given(SCRIPTS)
def test_what_is_written_is_what_is_read(script: Script) -> None:
    assert parse_script(written(script)) == script
    assert parse_script(f"scripted/{written(script)}") == script


@pytest.mark.parametrize("name", ["gpt-4o-mini", "", "meta-llama/X", "a,b"])
def test_an_ordinary_name_answers_at_once(name: str) -> None:
    script = parse_script(name)
    assert failure_of(script, "j/1/0", 0) is None
    assert delay_of(script, "j/1/0") == 0


@given(st.text(max_size=40) | st.text("abcdefilnorstuy=,.0123456789-", max_size=40))
def test_any_name_is_a_script_or_an_error_in_words(name: str) -> None:
    try:
        parse_script(name)
    except ScriptError as error:
        assert "script" in str(error)


OUT_OF_BOUNDS = (
    "latency=-1 latency=nan latency=1e12 fail=2 status=200 status=600 mode=no size=1e12 first=-1 retry_after=-1 "
    "latency= = latency=1, size=1.5"
)


@pytest.mark.parametrize("name", OUT_OF_BOUNDS.split())
def test_what_is_out_of_bounds_is_refused(name: str) -> None:
    with pytest.raises(ScriptError):
        parse_script(name)


@given(SCRIPTS, st.text(max_size=20), st.floats(0, 2000))
def test_the_same_call_always_ends_the_same_way(script: Script, call_id: str, now: float) -> None:
    assert failure_of(script, call_id, now) == failure_of(script, call_id, now)
    assert script.latency <= delay_of(script, call_id) * 1000 * (1 + 1e-9) <= script.latency + script.jitter + 1


def test_a_status_or_mode_alone_means_every_call() -> None:
    assert failure_of(parse_script("status=429,retry_after=3"), "x", 0) == Failure(429, None, 3.0)
    assert failure_of(parse_script("mode=reset"), "x", 0) == Failure(500, "reset")
    assert failure_of(parse_script("fail=1"), "x", 0) == Failure(500)


def test_claims_of_one_job_fail_independently() -> None:
    script = parse_script("fail=0.5,seed=3")
    pairs = [tuple(failure_of(script, f"j{job}/{claim}/0", 0) is None for claim in (1, 2)) for job in range(1000)]
    for pair in ((False, False), (False, True), (True, False), (True, True)):
        assert 190 < pairs.count(pair) < 310


def test_another_seed_makes_other_calls_fail() -> None:
    one, two = parse_script("fail=0.5,seed=1"), parse_script("fail=0.5,seed=2")
    calls = [f"j{number}/1/0" for number in range(100)]
    assert [failure_of(one, call, 0) for call in calls] != [failure_of(two, call, 0) for call in calls]


def test_first_counts_the_claims_of_a_job() -> None:
    script = parse_script("first=2,status=503")
    ends = [failure_of(script, f"j/{claim}/0", 0) for claim in (1, 2, 3)]
    assert ends == [Failure(503), Failure(503), None]
    assert failure_of(script, "no claim in it", 0) is None


@pytest.mark.parametrize("request_type", [endpoint.request_type for endpoint in CATALOGUE])
@pytest.mark.parametrize("size", [0, 10, 5000])
def test_answers_depend_on_the_request_alone(request_type: str, size: int) -> None:
    fields = read_request(content_of(request_type))
    answer = answer_to(request_type, fields, "m", size)
    assert answer == answer_to(request_type, fields, "m", size)
    assert len(answer.body) >= size or request_type in ("rerank", "embedding")


def test_another_input_gives_another_answer() -> None:
    for request_type in ("chat_completion", "embedding", "rerank", "speech"):
        fields = read_request(content_of(request_type))
        changed: dict[str, Any] = {
            name: "other" if isinstance(value, str) else ["other"] for name, value in fields.items()
        }
        changed |= {"messages": [{"content": "other"}]}
        assert answer_to(request_type, fields, "m", 0).body != answer_to(request_type, changed, "m", 0).body


JUNK = st.dictionaries(
    st.sampled_from(["model", "messages", "input", "prompt", "documents", "top_n", "n", "dimensions", "size"]),
    st.none() | st.integers() | st.text(max_size=5) | st.lists(st.none() | st.integers(), max_size=3),
)


@given(st.sampled_from([endpoint.request_type for endpoint in CATALOGUE]), JUNK)
def test_fields_that_do_not_fit_are_a_value_error(request_type: str, fields: dict[str, object]) -> None:
    try:
        answer_to(request_type, fields, "m", 0)
    except ValueError as error:
        assert str(error)
