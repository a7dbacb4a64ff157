"""What may travel together, and that everybody gets his own vectors back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.content import Content
from shared.domain.target import Target
from workers.provider_interface import Answer, Call, ProviderError
from workers.providers.batching.embeddings import Limits, Part, apportion, batch_wait, merge, part_of, split
from workers.providers.openai.request_bodies import read_fields
from workers.result_shapes import shape_result

LIMITS = Limits(64)
TEXTS = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5)
INPUTS = st.one_of(st.text(min_size=1, max_size=20), TEXTS)


def call(given: Any = "a", *, number: int = 0, claim: int = 1, **fields: Any) -> Call:
    """The first call of an embedding job."""
    changes = {name: fields.pop(name) for name in ("forward", "params", "model", "request_type") if name in fields}
    body = msgspec.json.encode({"model": "up/m", "input": given, **fields})
    made = Call("embedding", "m", Content("json", body), {}, False, 60.0, f"job-{number}/{claim}/0")
    return msgspec.structs.replace(made, **changes)


def parts_of(calls: list[Call]) -> list[Part]:
    """All of them must be able to travel."""
    parts = [part_of(each, LIMITS) for each in calls]
    assert all(part is not None for part in parts)
    return [part for part in parts if part is not None]


def answered(merged: Call, **changes: Any) -> Answer:
    """What a provider says to it: the vector of a text is the text."""
    texts = msgspec.json.decode(merged.content.data)["input"]
    data = [{"object": "embedding", "index": index, "embedding": text} for index, text in enumerate(texts)]
    usage = {"prompt_tokens": 7 * len(texts), "total_tokens": 7 * len(texts)}
    fields = {"object": "list", "model": "m", "data": data, "usage": usage} | changes
    return Answer(msgspec.json.encode(fields), "application/json", "req-1")


@given(st.lists(INPUTS, min_size=1, max_size=8), st.randoms())
def test_everybody_gets_exactly_his_own_vectors_in_his_own_order(inputs: list[Any], random: Any) -> None:
    calls = [call(given, number=number) for number, given in enumerate(inputs)]
    parts = parts_of(calls)
    whole = answered(merge(calls, parts))
    fields = msgspec.json.decode(whole.body)
    random.shuffle(fields["data"])  # the index counts, not the place
    answers = split(msgspec.structs.replace(whole, body=msgspec.json.encode(fields)), parts)
    prompt_tokens = 0
    for asked, answer in zip(inputs, answers, strict=True):
        own = msgspec.json.decode(answer.body)
        texts = [asked] if isinstance(asked, str) else asked
        assert [vector["embedding"] for vector in own["data"]] == texts
        assert [vector["index"] for vector in own["data"]] == list(range(len(texts)))
        assert own["usage"]["apportioned"] is True
        assert answer.upstream_request_id == "req-1"
        prompt_tokens += own["usage"]["prompt_tokens"]
    assert prompt_tokens == fields["usage"]["prompt_tokens"]


@given(st.integers(0, 10**9), st.lists(st.integers(1, 10**6), min_size=1, max_size=50))
def test_shares_add_up_and_none_is_off_by_one(total: int, sizes: list[int]) -> None:
    shares = apportion(total, sizes)
    assert sum(shares) == total
    for share, size in zip(shares, sizes, strict=True):
        assert abs(share - total * size / sum(sizes)) < 1 + 1e-6 * total


def test_costs_and_details_of_usage_are_dealt_out_too() -> None:
    calls = [call("aaaa"), call("bbbb")]
    parts = parts_of(calls)
    usage = {"total_tokens": 3, "cost": 0.5, "details": {"text_tokens": 2}, "tier": "x", "cached": False}
    shares = [
        msgspec.json.decode(each.body)["usage"] for each in split(answered(merge(calls, parts), usage=usage), parts)
    ]
    assert [share["total_tokens"] for share in shares] == [2, 1]
    assert [share["cost"] for share in shares] == [0.25, 0.25]
    assert [share["details"] for share in shares] == [{"text_tokens": 1}] * 2
    assert [(share["tier"], share["cached"]) for share in shares] == [("x", False)] * 2


def test_an_answer_without_usage_gives_none() -> None:
    calls = [call("a"), call("b")]
    parts = parts_of(calls)
    answer = answered(merge(calls, parts))
    body = {name: value for name, value in msgspec.json.decode(answer.body).items() if name != "usage"}
    for own in split(Answer(msgspec.json.encode(body), "application/json"), parts):
        assert "usage" not in msgspec.json.decode(own.body)


def test_of_an_answer_that_was_taken_apart_each_part_has_only_its_own_vector() -> None:
    calls = [call("a"), call("b")]
    parts = parts_of(calls)
    body = answered(merge(calls, parts)).body
    for own in split(Answer(body, "application/json", fields=read_fields(body)), parts):
        shaped = shape_result("embedding", own, Target("p", "m"), model_requested="m", latency_ms=1)
        assert len(msgspec.json.decode(shaped)["data"]) == 1


def test_what_is_no_number_stays_the_bytes_that_came() -> None:
    vector = b'"vGEpPQ=="'
    calls = [call("a", encoding_format="base64"), call("b", encoding_format="base64")]
    parts = parts_of(calls)
    data = b'[{"embedding":%b,"index":0,"odd":1e400},{"embedding":"AA==","index":1}]' % vector
    answers = split(Answer(b'{"data":%b}' % data, "application/json"), parts)
    assert vector in answers[0].body
    assert b'"odd":1e400' in answers[0].body
    assert b'"AA=="' in answers[1].body


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"embedding": [1], "index": 0}],
        [{"embedding": [1], "index": 0}, {"embedding": [1], "index": 0}],
        [{"embedding": [1], "index": 0}, {"embedding": [1], "index": 2}],
        [{"embedding": [1], "index": 0}, {"embedding": [1]}],
        [{"embedding": [1]}, {"embedding": [1]}, {"embedding": [1]}],
        [[1], [2]],
        "text",
    ],
)
def test_an_answer_that_does_not_fit_the_texts_is_nobodys(data: Any) -> None:
    calls = [call("a"), call("b")]
    parts = parts_of(calls)
    with pytest.raises(ProviderError):
        split(answered(merge(calls, parts), data=data), parts)


def test_vectors_without_indexes_are_taken_in_order() -> None:
    calls = [call("a"), call(["b", "c"])]
    parts = parts_of(calls)
    data = [{"embedding": [number]} for number in range(3)]
    own = [msgspec.json.decode(each.body)["data"] for each in split(answered(merge(calls, parts), data=data), parts)]
    assert [[vector["embedding"] for vector in each] for each in own] == [[[0]], [[1], [2]]]


@pytest.mark.parametrize(
    "other",
    [
        call("b", dimensions=8),
        call("b", user="somebody"),
        call("b", encoding_format="base64"),
        call("b", model="n"),
        call("b", forward={"x-tenant": "1"}),
        call("b", params=b'{"dimensions":4}'),
    ],
)
def test_whoever_asks_for_something_else_travels_apart(other: Call) -> None:
    one, two = parts_of([call("a"), other])
    assert one.key != two.key


def test_the_order_of_fields_and_the_models_prefix_do_not_matter() -> None:
    one = call("a", user="u", dimensions=8)
    body = b'{"dimensions":8,"input":["b"],"model":"m","user":"u","fallbacks":["x/y"]}'
    two = msgspec.structs.replace(one, content=Content("json", body))
    assert parts_of([one])[0].key == parts_of([two])[0].key


@pytest.mark.parametrize(
    "alone",
    [
        call("a", claim=2),
        call(""),
        call([]),
        call(["a", ""]),
        call([1, 2, 3]),
        call([[1], [2]]),
        call([{"type": "text", "text": "a"}]),
        call(None),
        call(["a"] * 64),
        call("a" * LIMITS.text_bytes),
        call("a", request_type="rerank"),
        msgspec.structs.replace(call("a"), content=Content("json", b"no JSON")),
        msgspec.structs.replace(call("a"), call_id="job-1/1/1"),
    ],
)
def test_these_travel_alone(alone: Call) -> None:
    assert part_of(alone, LIMITS) is None


def test_a_merged_call_has_an_id_of_its_own() -> None:
    calls = [call("a", number=1), call("b", number=2)]
    merged = merge(calls, parts_of(calls))
    assert merged.call_id not in {each.call_id for each in calls}
    assert merged.call_id.startswith("job-1/1/0")


def test_nobody_waits_who_comes_alone() -> None:
    assert batch_wait(LIMITS, in_flight=0, since_last=0.0) == 0
    assert batch_wait(LIMITS, in_flight=9, since_last=1.0) == 0
    assert batch_wait(LIMITS, in_flight=9, since_last=0.001) == LIMITS.wait


def test_where_calls_are_made_in_turn_the_next_ones_gather_until_the_turn_is_over() -> None:
    assert batch_wait(Limits(64, serial=True), in_flight=1, since_last=9.0) is None
    assert batch_wait(Limits(64, serial=True), in_flight=0, since_last=0.0) == 0


@pytest.mark.parametrize(
    "fields",
    [{"extra_params": True, "late_chunking": True}, {"params": b'{"late_chunking":true}'}],
    ids=["of the caller", "of the target"],
)
def test_a_parameter_that_is_unknown_here_travels_alone(fields: dict[str, Any]) -> None:
    extra = bool(fields.pop("extra_params", False))
    assert part_of(msgspec.structs.replace(call("a", **fields), extra_params=extra), LIMITS) is None


def test_a_parameter_that_the_provider_never_gets_keeps_nobody_apart() -> None:
    assert part_of(call("a", late_chunking=True), LIMITS) is not None
    known = msgspec.structs.replace(call("a", dimensions=2, params=b'{"user":"u"}'), extra_params=True)
    assert part_of(known, LIMITS) is not None
