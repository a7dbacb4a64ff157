"""Bodies that cost much: files above the limit, very many values, and large ones beside the event loop."""

from __future__ import annotations

import asyncio

import pytest

from edge.submit import validation
from edge.submit.validation import BodyReader, ParsedRequest
from shared.domain.errors import Refusal
from tests.unit.edge.submit.parsing import parse_json, parse_parts, text, upload


def test_a_file_above_the_limit_is_a_413() -> None:
    with pytest.raises(Refusal) as caught:
        parse_parts("transcription", [text("model", "openai/w"), upload("file", bytes(2000))], max_bytes=1000)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "values",
    [b"1," * 1_000_000, (b"[" * 50 + b"]" * 50 + b",") * 20_000, (b'{"a":' * 50 + b"1" + b"}" * 50 + b",") * 20_000],
    ids=["numbers", "nested lists", "nested objects"],
)
def test_a_large_body_of_very_many_values_is_a_413(values: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_json("embedding", b'{"model":"openai/m","input":"a","x":[' + values + b"1]}")
    assert caught.value.status == 413


def test_a_small_body_may_be_nothing_but_lists() -> None:
    lists = b"[]," * 80_000
    assert parse_json("embedding", b'{"model":"openai/m","input":"a","x":[' + lists + b"1]}").targets


def test_a_text_with_very_many_commas_and_brackets_is_one_value() -> None:
    text = b'a \\" b, \\\\' + b",[{" * validation.MAX_VALUES
    assert parse_json("embedding", b'{"model":"openai/m","input":"' + text + b'"}').targets


async def test_large_bodies_are_read_beside_the_event_loop_one_at_a_time() -> None:
    running = most = 0
    loop = asyncio.get_running_loop()
    both_asked = asyncio.Event()

    def parse(data: bytes, content_type: str, digest: bool) -> ParsedRequest:
        nonlocal running, most
        running += 1
        most = max(most, running)
        asyncio.run_coroutine_threadsafe(both_asked.wait(), loop).result(5)
        running -= 1
        return parse_json("embedding", b'{"input":"x","model":"openai/a"}')

    reader = BodyReader(parse, asyncio.Semaphore(1))
    calls = [asyncio.create_task(reader.read(bytes(validation.LARGE_BODY + 1), "", digest=False)) for _ in range(3)]
    await asyncio.sleep(0)
    both_asked.set()
    await asyncio.gather(*calls)
    assert most == 1
