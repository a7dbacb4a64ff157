"""Whose answer this is: every kind of request carries a marker, and only its own answer carries the same one."""

from __future__ import annotations

import json
from typing import get_args

import msgspec
import pytest

from coatcheck.drill.load.answers import wrong_answer
from coatcheck.drill.load.http import Answer
from coatcheck.drill.model.requests import (
    ALL_KINDS,
    NOTHING,
    Kind,
    Request,
    carried_by,
    make_request,
    marker_of,
    markers_in,
    wrong_error,
    wrong_result,
)
from coatcheck.drill.model.ticket import Ticket
from shared.domain.catalogue import CATALOGUE
from shared.domain.content import Content
from workers.providers.scripted.answers import answer_to, read_request

MINE, OTHER = marker_of("7-123", 1), marker_of("7-123", 2)
TYPES = {endpoint.path: endpoint for endpoint in CATALOGUE}


def answered(request: Request) -> bytes:
    """What the scripted provider says to it."""
    endpoint = TYPES[request.path]
    fields = read_request(Content("multipart" if endpoint.form else "json", request.body, request.content_type))
    size = 40_000 if "size=" in str(fields["model"]) else 0
    return answer_to(endpoint.request_type, fields, "m", size).body


@pytest.mark.parametrize("kind", get_args(Kind))
def test_an_answer_of_every_kind_carries_its_requests_marker_and_no_other(kind: Kind) -> None:
    mine, other = make_request(kind, "p/latency=1", MINE), make_request(kind, "p/latency=1", OTHER)
    assert wrong_result(mine.carries, answered(mine)) == ""
    assert wrong_result(mine.carries, answered(other)) == other.carries
    assert wrong_result(mine.carries, b"{}") == NOTHING


def test_all_kinds_are_in_the_mix_and_a_large_one_is_stored_in_chunks() -> None:
    assert set(ALL_KINDS) == set(get_args(Kind))
    large = make_request("large", "p/latency=1", MINE)
    assert len(large.body) > 8 * 1024
    assert len(answered(large)) > 32 * 1024


def test_a_vector_too_many_is_wrong() -> None:
    mine, other = (json.loads(answered(make_request("embedding", "p/m", each))) for each in (MINE, OTHER))
    mine["data"] += other["data"]
    assert wrong_result(make_request("embedding", "p/m", MINE).carries, msgspec.json.encode(mine)) != ""


def test_a_model_that_tells_nothing_apart_is_not_judged() -> None:
    assert make_request("embedding", "p/m", MINE, told_apart=False).carries == ""
    assert wrong_result("", b'{"data":[{"embedding":[1]}]}') == ""


@pytest.mark.parametrize("answer", [b"", b"null", b"[" * 200_000, b'{"data":0}', b"\xff"])
def test_an_answer_that_is_none_carries_nothing(answer: bytes) -> None:
    assert carried_by(answer) == ""


def test_the_error_of_another_request_is_wrong_and_one_without_a_marker_is_not() -> None:
    assert wrong_error(MINE, f"scripted failure 500 for {MINE}".encode()) == ""
    assert wrong_error(MINE, b"the deadline has passed") == ""
    assert wrong_error(MINE, f"scripted failure 500 for {OTHER}".encode()) == OTHER
    assert markers_in(f"{MINE} {OTHER} {MINE}".encode()) == [MINE, OTHER]


def polled(**changes: object) -> str:
    request = make_request("chat", "p/latency=1", MINE)
    envelope = {"id": "a", "status": "completed", "request_id": MINE, "result": json.loads(answered(request))}
    ticket = Ticket(MINE, ["a"], path=request.path, carries=request.carries)
    return wrong_answer(ticket, "a", Answer(200, {}, json.dumps({**envelope, **changes}).encode()))


def test_an_answer_to_a_poll_is_its_own_by_id_request_id_and_result() -> None:
    assert polled() == ""
    assert polled(request_id="given-by-a-proxy") == ""
    assert polled(status="processing", result=None) == ""
    assert polled(id="b") == "the job b"
    assert polled(request_id=OTHER) == f"the request id {OTHER}"
    assert polled(result=json.loads(answered(make_request("chat", "p/latency=1", OTHER)))) == OTHER
    assert polled(status="failed", result=None, error={"error": {"message": f"for {OTHER}"}}) == OTHER
