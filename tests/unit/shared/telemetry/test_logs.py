"""Log lines: one per record, bounded, readable by people or machines, and never a reason to fail."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.settings.reading import load_settings
from shared.settings.table import Settings
from shared.telemetry.logging import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    MAX_VALUE,
    OURS,
    JsonFormatter,
    TextFormatter,
    configure,
)
from shared.telemetry.redaction import redact
from tests.unit.coatcheck.cli.records import record_with

LONGEST_LINE = 20_000


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in OURS}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def settings(**flags: Any) -> Settings:
    return load_settings(flags, environ={})


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_terminal_gets_text_and_everything_else_gets_json() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configure(settings(), component="worker", stream=terminal)
    logging.getLogger("coatcheck.jobs").info("job finished", extra={"job": "019", "ms": 41})
    configure(settings(), component="worker", stream=pipe)
    logging.getLogger("coatcheck.jobs").info("job finished", extra={"job": "019", "ms": 41})
    assert terminal.getvalue().endswith("INFO    jobs      job finished  job=019  ms=41\n")
    line = json.loads(pipe.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "job": "019",
        "ms": 41,
        "level": "info",
        "component": "worker",
        "logger": "coatcheck.jobs",
        "message": "job finished",
    }


def test_the_format_can_be_chosen() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configure(settings(log_format="json"), component="edge", stream=terminal)
    logging.getLogger("edge").info("x")
    configure(settings(log_format="text"), component="edge", stream=pipe)
    logging.getLogger("edge").info("x")
    assert json.loads(terminal.getvalue())["component"] == "edge"
    assert not pipe.getvalue().startswith("{")


def test_configuring_twice_writes_each_line_once() -> None:
    stream = io.StringIO()
    configure(settings(), component="edge", stream=stream)
    configure(settings(), component="edge", stream=stream)
    logging.getLogger("edge").info("x")
    assert len(lines(stream)) == 1


def test_the_level_holds_for_ours_and_drivers_only_warn() -> None:
    stream = io.StringIO()
    configure(settings(log_level="debug"), component="edge", stream=stream)
    for name in (*OURS, "pymongo.command", "httpx", "asyncio"):
        logging.getLogger(name).debug("payload")
        logging.getLogger(name).warning("careful")
    assert [json.loads(line)["logger"] for line in lines(stream) if "payload" in line] == list(OURS)
    assert len([line for line in lines(stream) if "careful" in line]) == len(OURS) + 3


def test_a_closed_pipe_loses_lines_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stream:
        configure(settings(), component="edge", stream=stream)
        logging.getLogger("edge").error("nobody reads this")
        logging.getLogger().handlers.clear()
        with pytest.raises(BrokenPipeError):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
    assert capfd.readouterr().err == ""


def test_a_full_disk_loses_lines_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    configure(settings(), component="edge", stream=FullDisk())
    logging.getLogger("edge").error("there is no room for this")
    assert capfd.readouterr().err == ""


@given(
    message=st.text(max_size=300) | st.just("x" * 100_000),
    value=st.text(max_size=300) | st.integers() | st.floats() | st.none() | st.binary() | st.just("y" * 100_000),
)
def test_any_record_becomes_one_bounded_line(message: str, value: object) -> None:
    record = record_with(message, value, {f"field{number}": value for number in range(40)})
    as_json = JsonFormatter("worker").format(record)
    as_text = TextFormatter().format(record)
    assert json.loads(as_json)["level"] == "error"
    for line in (as_json, as_text):
        assert len(line) < LONGEST_LINE
        assert not any(ord(character) < 32 for character in line), "a line break or terminal code got through"
        line.encode()


def test_a_message_a_value_and_a_traceback_are_cut() -> None:
    record = record_with("m" * 9999, None, {"detail": "v" * 9999}, ValueError("e" * 99_999 + "the end"))
    line = json.loads(JsonFormatter("worker").format(record))
    assert len(line["message"]) == MAX_MESSAGE + len("...")
    assert len(line["detail"]) == MAX_VALUE + len("...")
    assert len(line["traceback"]) == MAX_TRACEBACK
    assert line["traceback"].endswith("the end")


def test_arguments_that_do_not_fit_do_not_cost_the_line() -> None:
    record = logging.makeLogRecord({"msg": "%d of %d", "args": ("one",), "name": "edge"})
    assert "%d of %d (arguments do not fit)" in TextFormatter().format(record)


def test_a_field_cannot_pretend_to_be_another_level() -> None:
    record = record_with("x", None, {"level": "debug", "component": "edge", "time": "never"})
    line = json.loads(JsonFormatter("worker").format(record))
    assert (line["level"], line["component"]) == ("error", "worker")


def test_a_field_with_a_secret_name_has_no_value() -> None:
    record = record_with("x", None, {"api_key": "abc", "authorization": "abc", "request_id": "abc"})
    line = json.loads(JsonFormatter("worker").format(record))
    assert (line["api_key"], line["authorization"], line["request_id"]) == ("<redacted>", "<redacted>", "abc")


@pytest.mark.parametrize(
    "text",
    [
        "key sk-bf-S3CR3TS3CR3T used",
        "sk-proj-S3CR3TS3CR3T",
        "gsk_S3CR3TS3CR3T",
        "Authorization: Bearer S3CR3TS3CR3T",
        "{'authorization': 'Basic S3CR3TS3CR3T=='}",
        '{"x-bf-vk":"S3CR3TS3CR3T"}',
        "x-api-key: S3CR3TS3CR3T",
        "https://host/v1?api_key=S3CR3TS3CR3T&model=x",
        "mongodb://user:S3CR3TS3CR3T@host:27017/?replicaSet=rs0",
        "mongodb://user:S3CR3T@S3CR3T@host",
        "http://proxy:S3CR3TS3CR3T@10.0.0.1:3128",
        "password='S3CR3TS3CR3T'",
        "token = S3CR3TS3CR3T",
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str) -> None:
    assert "S3CR3T" not in redact(text)
    assert "<redacted>" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "job 019ac0de-0000-7000-8000-000000000000 completed in 41 ms",
        "max_tokens: 5, tokens=7",
        "http://127.0.0.1:9090/metrics",
        "mongodb://127.0.0.1:27017/?replicaSet=rs0",
        "set OPENAI_API_KEY, for example",
        "provider openai refuses the key: check OPENAI_API_KEY",
        "risk-free, task-oriented, disk-full",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text
