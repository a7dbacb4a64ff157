"""What answers mean, and what is sent."""

import json
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck_client import ENDPOINTS, ApiError, Job, JobFailed, UnknownRequestType, WaitTimeout, endpoint_of
from coatcheck_client.job import from_ticket
from coatcheck_client.protocol import Reply, get_request, read_error, read_job, read_retry_after

EMBEDDINGS = endpoint_of("embedding")
PENDING = {"id": "i", "status": "pending", "created_at": "2026-07-25T10:39:58.120Z"}


def reply(status: int, body: object, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def test_a_submit_answer_is_a_pending_job_with_the_servers_hint() -> None:
    job = read_job(EMBEDDINGS, reply(202, PENDING, retry_after="2"))
    assert (job.id, job.status, job.ended, job.retry_after) == ("i", "pending", False, 2.0)
    assert job.created_at == datetime(2026, 7, 25, 10, 39, 58, 120000, tzinfo=UTC)
    assert job.ticket == "embeddings/i"


def test_a_completed_job_carries_its_result_and_times() -> None:
    end = {"status": "completed", "status_code": 200, "result": {"data": []}, "request_id": "r",
           "completed_at": "2026-07-25T10:40:01.004123456Z", "expires_at": "2026-07-25T11:40:01Z"}  # fmt: skip
    job = read_job(EMBEDDINGS, reply(200, {**PENDING, **end}))
    assert job.ended
    assert (job.result, job.request_id, job.status_code, job.error) == ({"data": []}, "r", 200, None)
    assert job.completed_at is not None
    assert job.completed_at.microsecond == 4123


def test_a_failed_job_is_an_http_200_and_carries_the_error() -> None:
    error = {"is_bifrost_error": False, "status_code": 429, "error": {"message": "slow down"}, "extra_fields": {}}
    job = read_job(EMBEDDINGS, reply(200, {**PENDING, "status": "failed", "status_code": 429, "error": error}))
    assert job.error == error
    assert str(JobFailed(job)) == "job embeddings/i failed with 429: slow down"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>welcome</html>", "Expecting value"),
        (b"[]", "not a JSON object"),
        (b"\xff", "utf-8"),
        (b'{"status":"pending"}', "no job id"),
        (b'{"id":"i","status":"cancelled"}', "unknown status 'cancelled'"),
        (b'{"id":"i","status":["pending"]}', "unknown status"),
        (b'{"id":"i","status":"pending","created_at":"noon"}', "created_at is not a time"),
    ],
)
def test_an_answer_that_is_no_job_is_an_api_error_and_not_a_crash(content: bytes, reason: str) -> None:
    with pytest.raises(ApiError, match=reason) as raised:
        read_job(EMBEDDINGS, reply(200, content, x_request_id="r-7"))
    assert raised.value.request_id == "r-7"


def test_an_error_answer_gives_status_message_and_request_id() -> None:
    body = {"is_bifrost_error": False, "status_code": 400, "error": {"message": "no input"}, "extra_fields": {}}
    error = read_error(reply(400, body, x_request_id="r-1", retry_after="3"))
    assert (error.status, error.message, error.request_id, error.retry_after) == (400, "no input", "r-1", 3.0)
    assert error.body == body
    assert str(error) == "400: no input (request r-1)"


def test_a_proxys_page_is_quoted_in_part() -> None:
    error = read_error(reply(502, b"<h1>Bad gateway</h1>" + b"x" * 10_000))
    assert error.message.startswith("<h1>Bad gateway</h1>")
    assert len(error.message) == 200


@given(st.binary(max_size=200), st.integers(300, 599))
def test_any_error_answer_can_be_read(content: bytes, status: int) -> None:
    assert read_error(reply(status, content)).status == status


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(
    st.sampled_from(["id", "status", "error", "message", "result", "created_at"]), c)))  # fmt: skip
def test_any_json_is_a_job_or_an_api_error(body: object) -> None:
    try:
        read_job(EMBEDDINGS, reply(200, body))
    except ApiError as error:
        assert error.status == 200


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0.0), ("7", 7.0), ("1.5", 1.5), ("-1", None), ("nan", None), ("inf", None), ("soon", None), ("", None)],
)
def test_retry_after_is_a_number_of_seconds_or_ignored(header: str, seconds: float | None) -> None:
    assert read_retry_after(reply(503, {}, retry_after=header)) == seconds


def test_retry_after_as_a_date_is_measured_by_the_servers_own_clock() -> None:
    late = {"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    assert read_retry_after(reply(503, {}, **late)) == 30.0
    assert read_retry_after(reply(503, {}, retry_after="Wed, 21 Oct 2015 07:28:30 GMT")) == 0.0


def test_a_job_id_cannot_leave_its_path() -> None:
    assert get_request(EMBEDDINGS, "../../x?y#z").path == "/v1/async/embeddings/..%2F..%2Fx%3Fy%23z"


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.request_type)
def test_a_request_type_has_four_names(endpoint) -> None:  # type: ignore[no-untyped-def]
    names = (endpoint.name, endpoint.request_type, f"/v1/{endpoint.name}", endpoint.path)
    assert {endpoint_of(name) for name in names} == {endpoint}


def test_an_unknown_request_type_suggests_the_nearest() -> None:
    with pytest.raises(UnknownRequestType, match="did you mean 'embeddings'"):
        endpoint_of("embedings")


@pytest.mark.parametrize(
    "ticket", ["chat/completions/i-1", "/v1/async/chat/completions/i-1", "https://h/p/v1/async/chat/completions/i-1"]
)
def test_a_ticket_may_be_short_a_path_or_a_url(ticket: str) -> None:
    job = from_ticket(ticket)
    assert (job.endpoint.request_type, job.id, job.status) == ("chat_completion", "i-1", "pending")
    assert from_ticket(job.ticket) == job


@pytest.mark.parametrize("ticket", ["", "i-1", "embeddings/", "nothing/i-1"])
def test_what_is_no_ticket_is_refused(ticket: str) -> None:
    with pytest.raises(ValueError, match=r"ticket|unknown request type"):
        from_ticket(ticket)


def test_errors_survive_pickling_so_they_can_leave_a_worker_process() -> None:
    job = Job("i", EMBEDDINGS, "failed", status_code=500, error={"error": {"message": "m"}})
    for error in (ApiError(400, "m", "r", {"a": 1}, 2.0), JobFailed(job), WaitTimeout(job), UnknownRequestType("x")):
        copy = pickle.loads(pickle.dumps(error))
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


def test_a_job_does_not_print_its_result() -> None:
    assert "secret" not in repr(Job("i", EMBEDDINGS, "completed", result="secret", envelope={"result": "secret"}))
