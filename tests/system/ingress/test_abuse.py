"""The abuse catalogue by raw sockets against the real edge command: no crash, no hang, no half job."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.ingress.abuse import CATALOGUE, EMBEDDINGS, WELL, Abuse, get, post
from tests.support.ingress.edge import SHORT, EdgeProcess
from tests.support.ingress.server import Answer, head, until
from tests.support.servers.mongod import MongodSet

ORIGIN = "https://app.example"
CHUNKED = head(f"POST {EMBEDDINGS} HTTP/1.1", "Host: door", "Transfer-Encoding: chunked")


@pytest.fixture(scope="module")
def edge(mongod: MongodSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProcess]:
    with EdgeProcess(tmp_path_factory.mktemp("edge"), mongod.uri, **SHORT, cors_origins=ORIGIN) as edge:
        yield edge
        assert edge.stop() == 0
        assert not edge.complaints()


@pytest.fixture(scope="module")
def locked(mongod: MongodSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProcess]:
    """An edge that lets nobody in without a key."""
    with EdgeProcess(tmp_path_factory.mktemp("locked"), mongod.uri, **SHORT, allow_anonymous="false") as edge:
        yield edge
        assert edge.stop() == 0
        assert not edge.complaints()


def assert_is_error(answer: Answer, status: int) -> None:
    """The contract's error answer, complete."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    body = answer.json
    message = body["error"].pop("message")
    assert message and message.isprintable()
    assert body["error"].pop("type") and body["error"].pop("code") and body["error"].pop("param", "none")
    assert body == {"is_bifrost_error": False, "status_code": status, "error": {}, "extra_fields": {}}


@pytest.mark.parametrize("abuse", CATALOGUE, ids=str)
def test_a_row_of_the_catalogue_gets_its_answer_and_no_more_than_its_job(edge: EdgeProcess, abuse: Abuse) -> None:
    before = edge.jobs()
    answer = edge.exchange(abuse.request)
    assert answer.status == abuse.status, answer
    if answer.status >= 400:
        assert_is_error(answer, abuse.status)
    assert edge.jobs() - before == (answer.status == 202)


# Bodies that do not come as they should (rows 14 to 18)
def test_what_cannot_be_parsed_can_be_read_by_a_listed_origin_only(edge: EdgeProcess) -> None:
    broken = [
        edge.exchange(
            head(f"POST {EMBEDDINGS} HTTP/1.1", "Host: door", *origin, "Transfer-Encoding: chunked") + b"zz\r\n"
        )
        for origin in ([f"Origin: {ORIGIN}"], ["Origin: https://evil.example"], [])
    ]
    for answer in broken:
        assert_is_error(answer, 400)
        assert answer.headers["vary"] == "Origin"
    assert [answer.headers.get("access-control-allow-origin") for answer in broken] == [ORIGIN, None, None]


def test_a_body_that_is_too_large_is_not_asked_for(edge: EdgeProcess) -> None:
    with edge.raw() as raw:
        raw.send(head(f"POST {EMBEDDINGS} HTTP/1.1", "Host: door", "Content-Length: 1000001", "Expect: 100-continue"))
        assert raw.next_line().startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_is_refused_at_the_limit(edge: EdgeProcess) -> None:
    with edge.raw() as raw:
        raw.send(CHUNKED + b"".join(b"%x\r\n%b\r\n" % (100_000, bytes(100_000)) for _ in range(11)))
        assert_is_error(raw.answer(), 413)


@pytest.mark.parametrize(
    ("half", "more"),
    [(post(WELL + b" " * 999)[:-999], b" "), (CHUNKED + b"%x\r\n" % len(WELL) + WELL, b"\r\n1\r\n ")],
    ids=["length", "chunked"],
)
@pytest.mark.parametrize("then", ["FIN", "RST", "stall", "drip"])
def test_half_a_body_never_becomes_a_job_though_it_is_whole_json(
    edge: EdgeProcess, half: bytes, more: bytes, then: str
) -> None:
    before = edge.jobs()
    refused = edge.metric("coatcheck_guard_refusals_total")
    with edge.raw() as raw:
        raw.send(half)
        if then == "FIN":
            raw.socket.shutdown(socket.SHUT_WR)
        elif then == "RST":
            raw.reset()
        else:
            if then == "drip":
                raw.drip(more)
            assert_is_error(raw.answer(), 408)
    until(lambda: edge.metric("coatcheck_guard_refusals_total") > refused, "the refusal counted")
    assert edge.jobs() == before


# Heads that do not come (row 19)
@pytest.mark.parametrize("drip", [b"POST /v1/async/embeddings HTTP/1.1\r\n", b"\r\n"], ids=["head", "empty lines"])
def test_a_dripping_head_gets_408(edge: EdgeProcess, drip: bytes) -> None:
    with edge.raw() as raw:
        raw.drip(drip)
        assert_is_error(raw.answer(), 408)


def test_a_silent_connection_is_closed(edge: EdgeProcess) -> None:
    with edge.raw() as raw:
        assert raw.ended()


# Keys and tenants (rows 29 to 32, 36, 47)
@pytest.mark.parametrize(
    "header", [(), ("Authorization: Bearer sk-other",), ("Authorization: Basic eDp5",), ("Authorization: ;;",)]
)
def test_without_a_valid_key_nobody_is_asked_for_his_body(locked: EdgeProcess, header: tuple[str, ...]) -> None:
    with locked.raw() as raw:
        raw.send(
            head(f"POST {EMBEDDINGS} HTTP/1.1", "Host: door", "Content-Length: 9", "Expect: 100-continue", *header)
        )
        assert raw.next_line().startswith(b"HTTP/1.1 401 ")
        answer = raw.answer()
        assert_is_error(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_opens_what_it_may_and_no_more(locked: EdgeProcess) -> None:
    key = f"x-bf-vk: {locked.new_key(('openai/m',))}"
    assert locked.exchange(post(WELL, key)).status == 202
    refused = locked.exchange(post(WELL.replace(b"openai/m", b"openai/other"), key))
    assert_is_error(refused, 403)


def test_another_keys_job_looks_exactly_like_no_job(locked: EdgeProcess) -> None:
    mine, other = (f"x-bf-vk: {locked.new_key()}" for _ in range(2))
    location = locked.exchange(post(WELL, mine)).headers["location"]
    assert locked.exchange(get(location, mine)).status == 202
    unknown = location[:-4] + ("0000" if location[-4:] != "0000" else "1111")
    told = []
    for target in (location, unknown, f"{EMBEDDINGS}/nonsense"):
        for header in (other, "x-bf-vk: sk-bf-nobody", "x-unused: 1"):
            answer = locked.exchange(get(target, header, "x-request-id: same"))
            told.append((answer.status, answer.body, {**answer.headers, "date": ""}, list(answer.headers)))
    assert told[0][0] == 404
    assert all(each == told[0] for each in told)


def test_an_idempotency_key_makes_one_job_and_refuses_another_request(edge: EdgeProcess) -> None:
    first = edge.exchange(post(WELL, "Idempotency-Key: " + "k" * 255))
    again = edge.exchange(post(WELL, "Idempotency-Key: " + "k" * 255))
    assert (again.status, again.json["id"]) == (202, first.json["id"])
    assert_is_error(edge.exchange(post(WELL.replace(b'"a"', b'"b"'), "Idempotency-Key: " + "k" * 255)), 422)


# Many at once, and those who leave (rows 49, 60)
def test_a_thousand_pipelined_requests_are_answered_in_order(edge: EdgeProcess) -> None:
    with edge.raw() as raw:
        raw.send(b"".join(get("/livez", f"X-Request-Id: n{number}") for number in range(1000)))
        assert [raw.answer().headers["x-request-id"] for _ in range(1000)] == [f"n{n}" for n in range(1000)]


def test_clients_that_leave_at_once_leave_nothing_behind(edge: EdgeProcess) -> None:
    edge.exchange(get("/livez"))
    before, files = edge.jobs(), edge.descriptors()
    for _ in range(300):
        with edge.raw() as raw:
            raw.send(post(WELL))
            raw.reset()
    until(lambda: edge.descriptors() <= files + 5, "connections closed")
    answer = edge.exchange(post(WELL))
    assert answer.status == 202
    assert 1 <= edge.jobs() - before <= 301


# Results (row 62)
def test_a_range_or_a_condition_on_a_result_gets_all_of_it(edge: EdgeProcess) -> None:
    submitted = edge.exchange(post(WELL))
    edge.end(submitted.json["id"], b'{"data":[]}')
    for header in ("Range: bytes=0-3", "Range: bytes=9-1,x", "If-None-Match: *", "If-Modified-Since: x", "If-Match: x"):
        answer = edge.exchange(get(submitted.headers["location"], header))
        assert (answer.status, answer.json["result"]) == (200, {"data": []})
