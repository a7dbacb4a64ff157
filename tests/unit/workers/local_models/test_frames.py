"""Frames between a worker and a model's process arrive whole, or not at all."""

import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.content import Content
from workers.local_models import frames
from workers.local_models.frames import Answered, Broken, Ready, Refused, Reply
from workers.provider_interface import Answer, Call, ProviderError

text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
contents = st.builds(Content, st.sampled_from(["json", "multipart"]), st.binary(max_size=200), text)
calls = st.builds(Call, text, text, contents, st.dictionaries(text, text), st.booleans(), st.floats(0, 1e6), text)
answers = st.builds(Answer, st.binary(max_size=200), text, text)
refusals = st.builds(Refused, text, st.integers(400, 599), text, st.booleans(), st.none() | text)
replies = st.just(Ready()) | st.builds(Answered, answers) | refusals | st.builds(Broken, text, text)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    for end in (read_end, write_end):
        try:
            os.close(end)
        except OSError:
            continue  # closed by the test


def through_a_pipe(message: Call | Reply) -> bytes | None:
    read_end, write_end = os.pipe()
    writer = threading.Thread(target=frames.write, args=(write_end, message))
    writer.start()
    try:
        return frames.read(read_end)
    finally:
        writer.join()
        os.close(read_end)
        os.close(write_end)


@given(calls)
def test_a_call_arrives_as_it_was(call: Call) -> None:
    message = through_a_pipe(call)
    assert message is not None
    assert frames.decode_call(message) == call


@given(replies)
def test_a_reply_arrives_as_it_was(reply: Reply) -> None:
    message = through_a_pipe(reply)
    assert message is not None
    assert frames.decode_reply(message) == reply


def test_a_message_larger_than_a_pipe_arrives_whole() -> None:
    answer = Answered(Answer(os.urandom(5_000_000), "audio/wav"))
    message = through_a_pipe(answer)
    assert message is not None
    assert frames.decode_reply(message) == answer


def test_the_request_to_stop_is_an_empty_frame(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], frames.STOP)
    frames.write(pipe[1], Ready())
    assert frames.read(pipe[0]) is None
    assert frames.decode_reply(frames.read(pipe[0]) or b"") == Ready()


@pytest.mark.parametrize("kept", [0, 3, 8, 12])
def test_a_cut_frame_is_the_end(pipe: tuple[int, int], kept: int) -> None:
    whole, write_end = os.pipe()
    frames.write(write_end, Broken("ValueError", "somewhere"))
    os.write(pipe[1], os.read(whole, kept) if kept else b"")
    for end in (whole, write_end, pipe[1]):
        os.close(end)
    with pytest.raises(EOFError):
        frames.read(pipe[0])


def test_an_error_comes_out_as_it_went_in() -> None:
    error = ProviderError("no", status_code=400, error_type="caller_invalid_request", type="invalid_request_error")
    again = Refused.by(error).error()
    assert vars(again) == vars(error)
